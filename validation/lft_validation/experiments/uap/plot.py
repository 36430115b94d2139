"""Figures 2, A1, A2 and A3: what is measured against fine-tuning steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lft_validation.errors import UserError
from lft_validation.experiments.figures import COLOURS, DASHES, save, style
from lft_validation.experiments.uap.config import HAND, Config
from lft_validation.experiments.uap.metrics import known_mean, known_sd
from lft_validation.experiments.uap.report import Cell, Results, metric
from lft_validation.experiments.unions import NONE, parts

FIGURES = {
    "figure2": ("val", "success rate on D_val", 100.0),
    "figureA1": ("strength", "mean |θ| per pixel", 1.0),
    "figureA2": ("loss", "loss (12) on D_tr", 1.0),
}
COMPARED = ("LFT", "PGD")  # in Figure A3


def draw(
    config: Config, results: Results, folder: Path, wanted: tuple[str, ...] = tuple(FIGURES)
) -> list[Path]:
    """Write the wanted figures as PNG and SVG: rows are training sources, columns testing sources.

    Lines are means over the tasks of all seeds, LFT's band is ± one standard deviation over tasks.
    Hand-designed methods, which are trained on nothing, stand in every row.
    """
    written = []
    for setting in config.settings:
        suffix = "" if setting == config.settings[0] else "-zeroth"
        for name in (name for name in FIGURES if name in wanted):
            written += _figure(config, results, folder, setting, name, name + suffix)
        if "figureA3" in wanted:
            written += _figure_a3(config, results, folder, setting, "figureA3" + suffix)
    return written


def check_drawable(config: Config, figure: str) -> None:
    """Say what a figure lacks before its run starts.

    Raises:
        UserError: if Figure A3 was asked for, and there would be nothing to draw.
    """
    if figure != "figureA3":
        return
    if not set(COMPARED) <= set(config.methods):
        raise UserError(
            f"figureA3 compares {' with '.join(COMPARED)}, found --methods "
            f"{','.join(config.methods)}; leave --methods out"
        )
    if not single_sources(config):
        one = parts(config.testing[0])[0]
        raise UserError(
            f"figureA3 is of one testing source, found {', '.join(config.testing)} alone; use for "
            f"example --set testing={one}"
        )


def single_sources(config: Config) -> list[str]:
    """Return what is tested on that is no union."""
    return [t for t in config.testing if len(parts(t)) == 1]


def _figure_a3(
    config: Config, results: Results, folder: Path, setting: str, file: str
) -> list[Path]:
    """LFT of the first source against PGD: success at the left, mean |θ| at the right.

    As in the paper they are tested on a source that Φ was not trained on, if the run has one.
    """
    from matplotlib.figure import Figure

    training, single = config.training[0], single_sources(config)
    unseen = [t for t in single if t not in parts(training)]
    if not set(COMPARED) <= set(config.methods) or not single:
        return []
    where = (setting, training, (unseen or single)[0])
    only = replace(config, methods=COMPARED)
    with style(file):
        figure = Figure(figsize=(6.0, 2.6), layout="constrained")
        panels = figure.subplots(1, 2)
        for panel, name in zip(panels, ("figure2", "figureA1"), strict=True):
            _panel(panel, only, results, where, name)
            panel.set_ylabel(FIGURES[name][1] + (", %" if name == "figure2" else ""))
            panel.set_xlabel("fine-tuning step")
        panels[0].legend(frameon=False)
        return [save(figure, folder / f"{file}.{kind}", kind) for kind in ("png", "svg")]


def _figure(
    config: Config, results: Results, folder: Path, setting: str, name: str, file: str
) -> list[Path]:
    from matplotlib.figure import Figure

    shape = (len(config.training), len(config.testing))
    with style(file):
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
        mean = known_mean(curves, axis=0)
        style = {"color": COLOURS[method], "linestyle": DASHES.get(method, "-"), "linewidth": 1.3}
        panel.plot(steps, mean, label=method, zorder=3 if method == "LFT" else 2, **style)
        if method == "LFT":
            sd = known_sd(curves, axis=0)
            style = {"color": COLOURS[method], "alpha": 0.08, "linewidth": 0}
            panel.fill_between(steps, mean - sd, mean + sd, **style)
    panel.axvline(config.table_step, color="0.7", linewidth=0.7, linestyle=":")
    panel.set_title(f"{training} → {testing}", fontsize=8)
    panel.set_xlim(0, config.steps)
    if name == "figure2":
        panel.set_ylim(-2.0, 102.0)
    elif name == "figureA1":
        panel.set_ylim(0.0, min(panel.get_ylim()[1], 1.0))
    else:
        _keep_losses_readable(panel)


def _keep_losses_readable(panel: Any) -> None:
    """Cut off what ran away: more than three times above where a mean starts or ends."""
    lines = [
        np.asarray(line.get_ydata()) for line in panel.get_lines() if len(line.get_xdata()) > 2
    ]
    ends = [float(abs(y[i])) for y in lines for i in (0, -1) if np.isfinite(y[i])]
    low, high = panel.get_ylim()
    if ends:
        panel.set_ylim(low, min(high, 3.0 * max(sorted(ends)[: max(1, len(ends) - 1)])))
