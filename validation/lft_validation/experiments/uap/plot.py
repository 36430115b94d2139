"""Figures 2 and A1: success rate and mean |θ| against fine-tuning steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lft_validation.experiments.figures import save
from lft_validation.experiments.uap.config import HAND, NONE, Config
from lft_validation.experiments.uap.report import Cell, Results, metric

COLOURS = {
    "LFT": "#d62728",
    "L2O": "#1f77b4",
    "L2O-train": "#17becf",
    "MAML": "#2ca02c",
    "PGD": "#8c564b",
    "SGD": "#7f7f7f",
    "Adam": "#bcbd22",
}
DASHES = {
    "L2O-train": (0, (4, 2)),
    "PGD": (0, (6, 2)),
    "SGD": (0, (1, 1.5)),
    "Adam": (0, (5, 1, 1, 1)),
}
FIGURES = {
    "figure2": ("val", "success rate on D_val", 100.0),
    "figureA1": ("strength", "mean |θ| per pixel", 1.0),
}


def draw(config: Config, results: Results, folder: Path) -> list[Path]:
    """Write both figures as PNG and SVG: rows are training sources, columns testing sources.

    Lines are means over the tasks of all seeds, LFT's band is ± one standard deviation over tasks.
    Hand-designed methods, which are trained on nothing, stand in every row.
    """
    written = []
    for setting in config.settings:
        suffix = "" if setting == config.settings[0] else "-zeroth"
        for name in FIGURES:
            written += _figure(config, results, folder, setting, name, name + suffix)
    return written


def _figure(
    config: Config, results: Results, folder: Path, setting: str, name: str, file: str
) -> list[Path]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shape = (len(config.training), len(config.testing))
    with mpl.rc_context({"svg.hashsalt": file, "font.size": 8, "axes.spines.top": False,
                         "axes.spines.right": False}):  # fmt: skip
        size = (max(2.7 * shape[1] + 0.5, 4.6), 2.3 * shape[0] + 1.0)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False)
        for row, training in zip(panels, config.training, strict=True):
            for panel, testing in zip(row, config.testing, strict=True):
                _panel(panel, config, results, (setting, training, testing), name)
            row[0].set_ylabel(FIGURES[name][1] + (", %" if name == "figure2" else ""))
        for panel in panels[-1]:
            panel.set_xlabel("fine-tuning step")
        lines = {
            label: handle
            for panel in panels.flat
            for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            [lines[m] for m in config.methods if m in lines],
            [m for m in config.methods if m in lines],
            loc="outside lower center", ncols=min(len(lines), 4), frameon=False,
        )  # fmt: skip
        return [save(figure, folder / f"{file}.{kind}", kind) for kind in ("png", "svg")]


def _panel(
    panel: Any, config: Config, results: Results, where: tuple[str, str, str], name: str
) -> None:
    setting, training, testing = where
    quantity, _, scale = FIGURES[name]
    steps = np.arange(config.steps + 1)
    for method in config.methods:
        cell = Cell(setting, NONE if method in HAND else training, method, testing)
        if cell not in results:
            continue
        curves = scale * np.concatenate(metric(results[cell], quantity))
        mean = np.nanmean(curves, axis=0)
        style = {"color": COLOURS[method], "linestyle": DASHES.get(method, "-"), "linewidth": 1.3}
        panel.plot(steps, mean, label=method, zorder=3 if method == "LFT" else 2, **style)
        if method == "LFT":
            sd = np.nanstd(curves, axis=0)
            style = {"color": COLOURS[method], "alpha": 0.08, "linewidth": 0}
            panel.fill_between(steps, mean - sd, mean + sd, **style)
    panel.axvline(config.table_step, color="0.7", linewidth=0.7, linestyle=":")
    panel.set_title(f"{training} → {testing}", fontsize=8)
    panel.set_xlim(0, config.steps)
    if name == "figure2":
        panel.set_ylim(-2.0, 102.0)
    else:
        top = panel.get_ylim()[1]
        panel.set_ylim(0.0, min(top, 1.0))
