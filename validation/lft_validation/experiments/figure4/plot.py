"""The figure: test MSE against fine-tuning steps, first order and zeroth order side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lft_validation.experiments.figure4.config import Config
from lft_validation.experiments.figure4.report import Results
from lft_validation.experiments.figures import COLOURS, DASHES, save, style


def draw(config: Config, results: Results, folder: Path) -> list[Path]:
    """Write figure4 (trained horizon) and figure4-long (beyond it) as PNG and SVG.

    Beyond the trained horizon some fine-tuners diverge on some tasks, and a mean would show those
    alone: figure4-long has medians. Bands belong to LFT.
    """
    written = _figure(config, results, folder, "figure4", long=False)
    if config.long_steps > config.steps:
        written += _figure(config, results, folder, "figure4-long", long=True)
    return written


def _figure(config: Config, results: Results, folder: Path, name: str, long: bool) -> list[Path]:
    from matplotlib.figure import Figure

    with style(name, font_size=9):
        figure = Figure(figsize=(4.2 * len(config.settings), 3.6), layout="constrained")
        panels = figure.subplots(1, len(config.settings), sharey=True, squeeze=False)[0]
        for panel, setting in zip(panels, config.settings, strict=True):
            _panel(panel, config, results, setting, long)
        panels[0].set_ylabel(f"test MSE ({'median' if long else 'mean'} over tasks)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=min(len(labels), 4 * len(panels)),
            frameon=False,
        )
        return [save(figure, folder / f"{name}.{kind}", kind) for kind in ("png", "svg")]


def _panel(panel: Any, config: Config, results: Results, setting: str, long: bool) -> None:
    for method in config.methods:
        curves = results[setting, method]
        mse = np.concatenate(curves.long if long else curves.short)
        middle = np.median(mse, axis=0) if long else mse.mean(axis=0)
        style = {"color": COLOURS[method], "linestyle": DASHES.get(method, "-"), "linewidth": 1.4}
        top = 3 if method == "LFT" else 2
        panel.plot(np.arange(middle.size), middle, label=method, zorder=top, **style)
        if method == "LFT":
            low, high = _spread(mse, long)
            style = {"color": COLOURS[method], "alpha": 0.08, "linewidth": 0}
            panel.fill_between(np.arange(middle.size), low, high, **style)
    if long:
        panel.axvline(config.steps, color="0.6", linewidth=0.8, linestyle=":")
        panel.annotate(
            "trained horizon",
            (config.steps, 0.94),
            xytext=(3, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color="0.4",
            fontsize=7,
        )
    panel.set_title(setting)
    panel.set_xlabel("fine-tuning step")
    panel.set_xlim(0, config.long_steps if long else config.steps)
    panel.set_ylim(0.0, 6.0)


def _spread(mse: np.ndarray, long: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean ± standard deviation over tasks, or the quartiles around the median."""
    if long:
        return np.percentile(mse, 25, axis=0), np.percentile(mse, 75, axis=0)
    mean, sd = mse.mean(axis=0), mse.std(axis=0)
    return np.maximum(mean - sd, 0.0), mean + sd
