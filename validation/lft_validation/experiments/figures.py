"""Figures as files: the same bits for the same data."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from lft_validation.files import write_bytes

DPI = 160
COLOURS = {  # of methods, the same in all figures
    "LFT": "#d62728",
    "L2O": "#1f77b4",
    "L2O-train": "#17becf",
    "MAML": "#2ca02c",
    "MAML-tuned": "#9467bd",
    "FOMAML": "#98df8a",
    "PGD": "#8c564b",
    "SGD": "#7f7f7f",
    "Adam": "#bcbd22",
}
DASHES = {
    "L2O-train": (0, (4, 2)),
    "MAML-tuned": (0, (6, 2)),
    "FOMAML": (0, (4, 2)),
    "PGD": (0, (6, 2)),
    "SGD": (0, (1, 1.5)),
    "Adam": (0, (5, 1, 1, 1)),
}


def style(name: str, font_size: int = 8) -> Any:
    """Return matplotlib's settings while a figure is drawn; its name seeds the ids in an SVG."""
    import matplotlib as mpl

    return mpl.rc_context({
        "svg.hashsalt": name, "font.size": font_size, "axes.spines.top": False,
        "axes.spines.right": False,
    })  # fmt: skip


def save(figure: Any, path: Path, kind: str) -> Path:
    """Write a figure as ``png`` or ``svg``; return its path.

    It is laid out once: what is drawn after its first file is fitted in no more.
    """
    if figure.get_layout_engine() is not None:
        figure.set_dpi(DPI)
        figure.draw_without_rendering()
        figure.set_layout_engine(None)  # most of the time of a file would go into it, every time
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=DPI, metadata={"Date": None} if kind == "svg" else None)
    write_bytes(path, buffer.getvalue())
    return path
