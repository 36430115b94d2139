"""Figures as files: the same bits for the same data."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from lft_validation.files import write_bytes

DPI = 160


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
