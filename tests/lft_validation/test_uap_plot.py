"""Figures 2 and A1 to A3: what was drawn is what was measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lft_validation.experiments.uap import plot
from lft_validation.experiments.uap.config import FIRST, Config, applicable, make_config
from lft_validation.experiments.uap.metrics import NAMES
from lft_validation.experiments.uap.report import Cell
from lft_validation.experiments.unions import NONE

METHODS = ("LFT", "L2O", "MAML", "PGD")
QUANTITIES = {"figure2": ("val", 100.0), "figureA1": ("strength", 1.0), "figureA2": ("loss", 1.0)}
STEPS = np.arange(21)


@pytest.fixture
def config() -> Config:
    changes = {"methods": METHODS, "settings": (FIRST,), "seeds": (0, 1), "test_tasks": 8}
    return make_config("paper", changes | {"steps": 20, "table_step": 10})


@pytest.fixture
def results(config) -> dict[Cell, list[np.ndarray]]:
    """Two seeds for every cell that applies, all of them different; one task has no success."""
    rng, found = np.random.default_rng(0), {}
    for method in METHODS:
        for training in (NONE,) if method == "PGD" else config.training:
            for testing in config.testing:
                if applicable(training, method, testing):
                    seeds = rng.uniform(0.1, 0.9, (2, len(NAMES), config.test_tasks, STEPS.size))
                    seeds[1, NAMES.index("val"), 3] = np.nan
                    found[Cell(FIRST, training, method, testing)] = list(seeds)
    return found


@pytest.fixture
def drawn(config, results, tmp_path, monkeypatch) -> dict[str, Any]:
    """All figures by name, as they are when they would be written."""
    figures: dict[str, Any] = {}
    monkeypatch.setattr(plot, "save", lambda figure, path, _: figures.update({path.stem: figure}))
    plot.draw(config, results, tmp_path, (*QUANTITIES, "figureA3"))
    return figures


def expected(
    results: dict[Cell, list[np.ndarray]], cell: Cell, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over the tasks of both seeds."""
    quantity, scale = QUANTITIES[name]
    tasks = scale * np.concatenate([c[NAMES.index(quantity)] for c in results[cell]])
    return np.nanmean(tasks, axis=0), np.nanstd(tasks, axis=0)


def assert_shows(panel: Any, results: Any, where: tuple[str, str], name: str) -> set[str]:
    """Every line and LFT's band are those of their cell; return the methods."""
    training, testing = where
    assert panel.get_title() == f"{training} → {testing}"
    lines = {line.get_label(): line for line in panel.get_lines() if len(line.get_xdata()) > 2}
    for method, line in lines.items():
        cell = Cell(FIRST, NONE if method == "PGD" else training, method, testing)
        mean, sd = expected(results, cell, name)
        np.testing.assert_array_equal(line.get_xdata(), STEPS)
        np.testing.assert_allclose(line.get_ydata(), mean, rtol=1e-12)
        assert line.get_color() == plot.COLOURS[method]
        if method == "LFT":
            (band,) = panel.collections
            found = {tuple(point) for point in band.get_paths()[0].vertices.round(9)}
            for edge in (mean - sd, mean + sd):
                assert {*zip(STEPS, edge.round(9), strict=True)} <= found
    (mark,) = (line for line in panel.get_lines() if len(line.get_xdata()) == 2)
    assert set(mark.get_xdata()) == {10}
    return set(lines)


@pytest.mark.parametrize("name", QUANTITIES)
def test_every_panel_shows_the_means_of_its_training_and_testing(name, config, results, drawn):
    panels = iter(drawn[name].axes)
    for training in config.training:
        for testing in config.testing:
            shown = assert_shows(next(panels), results, (training, testing), name)
            assert shown == {
                m for m in METHODS
                if Cell(FIRST, NONE if m == "PGD" else training, m, testing) in results
            }  # fmt: skip
    assert next(panels, None) is None
    legend = [text.get_text() for text in drawn[name].legends[0].get_texts()]
    assert legend == list(METHODS)


def test_figure_a3_shows_success_and_strength_where_lft_was_not_trained(results, drawn):
    for panel, name in zip(drawn["figureA3"].axes, ("figure2", "figureA1"), strict=True):
        assert assert_shows(panel, results, ("mnist", "cifar10"), name) == {"LFT", "PGD"}
