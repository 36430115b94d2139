"""What tests of runs share."""

from __future__ import annotations

import pytest

DRAW = (
    "attack_picture.draw",
    "experiments.fewshot.main.draw",
    "experiments.figure4.main.draw",
    "experiments.theorem1.main.draw",
    "experiments.uap.beyond_report.draw",
    "experiments.uap.main.draw",
    "experiments.uap.main.picture",
)


@pytest.fixture
def undrawn(monkeypatch):
    """Runs end without their figures, which are most of the work of a tiny one."""
    for name in DRAW:
        monkeypatch.setattr(f"lft_validation.{name}", lambda *_: [])
