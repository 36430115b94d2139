"""A report as a figure: error by step and term, the Taylor curve, and the V of the differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lft_validation.errors import UserError
from lft_validation.gradcheck.check import Report
from lft_validation.gradcheck.methods import Methods
from lft_validation.gradcheck.terms import BACKWARD, BLOCKS, MAML, VALUES

ROWS = (*VALUES, *BLOCKS, "∂g/∂θ", "carry", "G", "H", "∇_k", *BACKWARD, *MAML)
LEAST = 1e-17  # exact agreement is drawn as this


def plot(report: Report, file: Path) -> None:
    """Write the figure; the ending of the file says in which format.

    Raises:
        UserError: if the file cannot be written, or its ending is of no format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 7.5), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.25, 1.0))
    _heat_map(figure, figure.add_subplot(grid[:, 0]), report)
    _taylor(figure.add_subplot(grid[0, 1]), report.methods)
    _central(figure.add_subplot(grid[1, 1]), report.methods)
    figure.suptitle(report.label, fontsize=11)
    try:
        figure.savefig(file, dpi=120)
    except (OSError, ValueError) as error:
        raise UserError(
            f"--plot {file} cannot be written ({error}); choose a file such as report.png"
        ) from error


def _heat_map(figure: Any, ax: Any, report: Report) -> None:
    errors = {(f.term, f.step): f for f in report.findings}
    steps = sorted({k for _, k in errors})
    terms = [t for t in ROWS if any((t, k) in errors for k in steps)]
    image = np.full((len(terms), len(steps)), np.nan)
    for i, term in enumerate(terms):
        for j, k in enumerate(steps):
            if (term, k) in errors:
                error = errors[term, k].error
                image[i, j] = np.log10(min(max(error, LEAST), 1.0)) if error == error else 0.0
                if errors[term, k].at_fault(report.tolerance):
                    ax.plot(j, i, "x", color="tab:blue", markersize=8, markeredgewidth=2.5)
    shown = ax.imshow(image, aspect="auto", cmap="inferno", vmin=-17.0, vmax=0.0)
    ax.set_xticks(range(len(steps)), [str(k) for k in steps])
    ax.set_yticks(range(len(terms)), terms)
    ax.set_xlabel("step k")
    ax.set_title("relative error of each term (×: wrong by itself)", fontsize=10)
    bar = figure.colorbar(shown, ax=ax, label="log₁₀ of the relative error")
    bar.ax.axhline(np.log10(report.tolerance), color="white", linewidth=2)


def _taylor(ax: Any, methods: Methods) -> None:
    ax.set_title("Taylor remainder |f(ε) − f(0) − ε f'(0)|", fontsize=10)
    if methods.taylor is None:
        _nothing(ax)
        return
    steps, rest = (np.asarray(a) for a in methods.taylor)
    ax.loglog(steps, np.maximum(rest, LEAST), "o-", label=_order(methods))
    top = rest[0] if rest[0] > 0.0 else 1.0
    ax.loglog(steps, top * (steps / steps[0]) ** 2, "--", color="0.5", label="order 2: right")
    ax.loglog(steps, top * steps / steps[0], ":", color="0.5", label="order 1: wrong")
    ax.set_xlabel("ε, along a random unit direction in Φ")
    ax.legend(fontsize=8)


def _order(methods: Methods) -> str:
    return "measured" if methods.order is None else f"measured, order {methods.order:.2f}"


def _central(ax: Any, methods: Methods) -> None:
    ax.set_title("central differences against ∇_Φ", fontsize=10)
    if methods.central is None:
        _nothing(ax)
        return
    errors = np.maximum(np.asarray(methods.central.errors), LEAST)
    ax.loglog(methods.central.steps, errors, "o-")
    best = int(np.argmin(errors))
    ax.plot(methods.central.steps[best], errors[best], "o", color="tab:red", label="best step")
    ax.set_xlabel("ε, along a random unit direction in Φ")
    ax.set_ylabel("relative error")
    ax.set_ylim(1e-14, 10.0)
    ax.legend(fontsize=8)


def _nothing(ax: Any) -> None:
    ax.text(0.5, 0.5, "says nothing here", ha="center", va="center", transform=ax.transAxes)
    ax.set_axis_off()
