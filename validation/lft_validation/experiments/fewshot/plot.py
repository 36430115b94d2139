"""Accuracy and loss against fine-tuning steps (Figure 3), and accuracy against shots (Table A1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lft_validation.experiments.fewshot.claims import Cell, Results, metric
from lft_validation.experiments.fewshot.config import HAND, Config, measured_steps, without
from lft_validation.experiments.fewshot.metrics import NAMES
from lft_validation.experiments.fewshot.tables import images
from lft_validation.experiments.figures import COLOURS, DASHES, save, style
from lft_validation.experiments.unions import NONE, parts
from lft_validation.stats import mean_interval, pooled

BANDS = ("LFT", "L2O")  # whose standard deviation is shown, as in the paper


def draw(config: Config, results: Results, folder: Path) -> list[Path]:
    """Write the figures as PNG and SVG.

    Lines are means over the tasks of all seeds; the bands of LFT and L2O are ± one standard
    deviation over tasks. Hand-designed methods, which are trained on nothing, stand in every panel.
    """
    written = _curves(config, results, folder, "accuracy", config.table)
    written += _curves(config, results, folder, "loss", f"{config.table}-loss")
    if len(config.shots) > 1:
        written += _over_shots(config, results, folder)
    return written


def _style(method: str) -> dict[str, Any]:
    return {"color": COLOURS[method], "linestyle": DASHES.get(method, "-"), "linewidth": 1.3,
            "label": method, "zorder": 3 if method == "LFT" else 2}  # fmt: skip


def _canvas(shape: tuple[int, int]) -> tuple[Any, Any]:
    """Return a figure and its panels, all on the same axes."""
    from matplotlib.figure import Figure

    size = (max(2.7 * shape[1] + 0.5, 5.2), 2.3 * shape[0] + 1.0)
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(*shape, sharex=True, sharey=True, squeeze=False)


def _legend(config: Config, figure: Any, panels: Any) -> None:
    lines = {
        label: handle
        for panel in panels.flat
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    known = [method for method in config.methods if method in lines]
    figure.legend([lines[m] for m in known], known, loc="outside lower center",
                  ncols=len(known) if len(known) < 6 else 4, frameon=False)  # fmt: skip


def _grid(config: Config) -> list[list[tuple[str, str, int]]]:
    """Panels by row: a training (or a number of shots) against what is tested on."""
    singles = [u for u in config.testing if len(parts(u)) == 1] or list(config.testing)
    if len(config.shots) > 1 and len(config.training) * len(singles) == 1:
        return [[(config.training[0], singles[0], k) for k in config.shots]]
    return [[(training, testing, k) for testing in singles]
            for training in config.training for k in config.shots]  # fmt: skip


def _curves(config: Config, results: Results, folder: Path, of: str, name: str) -> list[Path]:
    """Draw one of :data:`metrics.NAMES` against steps: a panel for each training and testing."""
    grid = _grid(config)
    with style(name):
        figure, panels = _canvas((len(grid), len(grid[0])))
        for row, line in zip(panels, grid, strict=True):
            for panel, where in zip(row, line, strict=True):
                _lines(panel, config, results, where, of)
                _frame(panel, config, where, of)
                (_scale_accuracy if of == "accuracy" else _scale_loss)(panel, config)
            row[0].set_ylabel(f"test {of}{', %' if of == 'accuracy' else ''}")
        for panel in panels[-1]:
            panel.set_xlabel("fine-tuning step")
        _legend(config, figure, panels)
        return [save(figure, folder / f"{name}.{kind}", kind) for kind in ("png", "svg")]


def _lines(
    panel: Any, config: Config, results: Results, where: tuple[str, str, int], of: str
) -> None:
    training, testing, shots = where
    scale = 100.0 if of == "accuracy" else 1.0
    for method in config.methods:
        cell = Cell(NONE if method in HAND else training, method, testing, shots)
        if cell not in results:
            continue
        curves = scale * np.concatenate([c[NAMES.index(of)] for c in results[cell]])
        mean, sd = curves.mean(axis=0), curves.std(axis=0)
        panel.plot(measured_steps(config), mean, **_style(method))
        if method in BANDS and of == "accuracy":
            band = {"color": COLOURS[method], "alpha": 0.08, "linewidth": 0}
            panel.fill_between(measured_steps(config), mean - sd, mean + sd, **band)


def _frame(panel: Any, config: Config, where: tuple[str, str, int], of: str) -> None:
    """Title and steps; what does not apply is said in the corner that has no lines."""
    training, testing, shots = where
    if absent := [m["method"] for m in without(config)
                  if (m["training"], m["testing"]) == (training, testing)]:  # fmt: skip
        corner = {"x": 0.98, "y": 0.02, "ha": "right", "va": "bottom"}
        if of == "loss":
            corner = {"x": 0.03, "y": 0.98, "ha": "left", "va": "top"}
        panel.text(s=f"{', '.join(absent)}: n/a", transform=panel.transAxes, fontsize=7,
                   color="0.4", **corner)  # fmt: skip
    title = f"{training} → {testing}"
    panel.set_title(f"{title}, {images(shots)}" if len(config.shots) > 1 else title, fontsize=8)
    panel.set_xlim(0, config.steps)


def _scale_accuracy(panel: Any, config: Config) -> None:
    panel.axhline(100.0 / config.ways, color="0.7", linewidth=0.7, linestyle=":")  # guessing
    panel.set_ylim(max(100.0 / config.ways - 15.0, 0.0), 101.0)


def _scale_loss(panel: Any, config: Config) -> None:
    panel.axhline(np.log(config.ways), color="0.7", linewidth=0.7, linestyle=":")  # guessing
    panel.set_yscale("log")


def _over_shots(config: Config, results: Results, folder: Path) -> list[Path]:
    """Accuracy against shots, of the first training and testing, with intervals over tasks."""
    name = f"{config.table}-shots"
    with style(name):
        figure, panels = _canvas((1, 1))
        panel, width = panels[0][0], np.arange(len(config.shots))
        for index, method in enumerate(config.methods):
            training = NONE if method in HAND else config.training[0]
            cells = [Cell(training, method, config.testing[0], k) for k in config.shots]
            if not all(cell in results for cell in cells):
                continue
            by_seed = [metric(config, results[c], config.table_step, "accuracy") for c in cells]
            at = [pooled(a, len(parts(config.testing[0]))) for a in by_seed]
            mean = np.asarray([100.0 * np.concatenate(a).mean() for a in at])
            ends = [mean_interval(*a) for a in at]
            error = np.abs(100.0 * np.asarray(ends).T - mean)
            x = width + 0.06 * (index - len(config.methods) / 2)
            panel.errorbar(x, mean, yerr=error, marker="o", markersize=3, capsize=2,
                           **_style(method))  # fmt: skip
        panel.set_xticks(width, [str(k) for k in config.shots])
        panel.axhline(100.0 / config.ways, color="0.7", linewidth=0.7, linestyle=":")
        panel.set_title(f"{config.training[0]} → {config.testing[0]}", fontsize=8)
        panel.set_xlabel("shots")
        panel.set_ylabel("test accuracy, %")
        _legend(config, figure, panels)
        return [save(figure, folder / f"{name}.{kind}", kind) for kind in ("png", "svg")]
