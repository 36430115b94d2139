"""What tests of runs share."""

from __future__ import annotations

import pytest

DRAW = (
    "figure4.main.draw",
    "fewshot.main.draw",
    "theorem1.main.draw",
    "uap.main.draw",
    "uap.main.picture",
    "uap.beyond_report.draw",
)


@pytest.fixture
def undrawn(monkeypatch):
    """Runs end without their figures, which are most of the work of a tiny one."""
    for name in DRAW:
        monkeypatch.setattr(f"lft_validation.experiments.{name}", lambda *_: [])
