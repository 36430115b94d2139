"""What tests of runs share."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import import_module
from types import SimpleNamespace

import pytest

from lft_validation import runs

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
def nowhere(monkeypatch, tmp_path):
    """Images lie neither under LFT_DATA nor in the user's cache."""
    monkeypatch.delenv("LFT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def undrawn(monkeypatch):
    """Runs end without their figures, which are most of the work of a tiny one."""
    names = [f"lft_validation.{name}" for name in DRAW]
    for name in names:  # first: a module that is imported later would keep what stands in
        import_module(name.rpartition(".")[0])
    for name in names:
        monkeypatch.setattr(name, lambda *_: [])


@pytest.fixture
def noon(monkeypatch):
    """All default folders are made in one second; its name."""
    clock = SimpleNamespace(now=lambda _: datetime(2026, 1, 1, 12, tzinfo=UTC))
    monkeypatch.setattr(runs, "datetime", clock)
    return "20260101-120000"
