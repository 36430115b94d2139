"""The figure: gap and bound against batch size, log-log, one panel for each family and Φ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lft_validation.experiments.figures import save, style
from lft_validation.experiments.theorem1.config import Config

LOST = "its upper limit, where 0 is not excluded"
COLOURS = {"gap": "#d62728", "single": "#1f77b4", "bound": "#222222", "slope": "0.6"}


def draw(config: Config, summary: dict[str, Any], folder: Path) -> list[Path]:
    """Write theorem1 as PNG and SVG; the first seed is shown."""
    from matplotlib.figure import Figure

    shown = [s for s in summary["series"] if s["seed"] == config.seeds[0]]
    families = list(config.families)
    columns = max(sum(s["family"] == family for s in shown) for family in families)
    with style("theorem1"):
        size = (2.5 * columns + 0.6, 2.5 * len(families) + 0.7)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(families), columns, sharex=True, sharey="row", squeeze=False)
        for row, family in zip(panels, families, strict=True):
            own = [s for s in shown if s["family"] == family]
            for panel, series in zip(row, own, strict=False):
                _panel(panel, config, series)
            for panel in row[len(own) :]:
                panel.set_axis_off()
            row[0].set_ylabel("difference of meta-gradients")
        shown_lines = {
            label: handle
            for panel in panels.flat
            for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            list(shown_lines.values()),
            list(shown_lines),
            loc="outside lower center",
            ncols=min(columns, 3),
            frameon=False,
        )
        return [save(figure, folder / f"theorem1.{kind}", kind) for kind in ("png", "svg")]


def _panel(panel: Any, config: Config, series: dict[str, Any]) -> None:
    wide = max(config.val_sizes)
    rows = [row for row in series["grid"] if row["D_val"] == wide]
    sizes = np.asarray([row["D_tr"] for row in rows])
    line = {"marker": ".", "linewidth": 1.2}
    label = f"right side of (11), D_val = {wide}"
    bounds = [row["bound"] for row in rows]
    panel.plot(sizes, bounds, color=COLOURS["bound"], label=label, **line)
    single = [row["single"]["value"] for row in rows]
    label = f"gap of single draws, RMS, D_val = {wide}"
    panel.plot(sizes, single, color=COLOURS["single"], label=label, **line)
    _gap(panel, series["gap_by_train_size"])
    panel.set(xscale="log", yscale="log")
    panel.set_title(f"{series['family']}, {series['phi']} Φ", fontsize=8)
    panel.set_xlabel("|D_tr|")
    panel.tick_params(labelbottom=True)


def _gap(panel: Any, rows: list[dict[str, Any]]) -> None:
    """The gap where it is told from 0, with its interval; elsewhere an upper limit."""
    colour = COLOURS["gap"]
    told = [row for row in rows if row["resolved"]]
    sizes, values = ([row[name] for row in told] for name in ("D_tr", "value"))
    errors = [
        [row["value"] - row["low"] for row in told],
        [row["high"] - row["value"] for row in told],
    ]
    style = {"color": colour, "marker": ".", "linewidth": 1.2, "capsize": 2}
    panel.errorbar(sizes, values, errors, label="gap of expected gradients", **style)
    lost = [row for row in rows if not row["resolved"]]
    if lost:
        at, limits = ([row[name] for row in lost] for name in ("D_tr", "high"))
        panel.plot(at, limits, color=colour, marker="v", linestyle="none", markersize=4, label=LOST)
    if told:
        first = np.asarray(sizes[0]), values[0]
        x = np.asarray([row["D_tr"] for row in rows])
        guide = {"color": COLOURS["slope"], "linestyle": ":", "linewidth": 0.9}
        panel.plot(x, first[1] * first[0] / x, label="slope −1", **guide)
