"""Figures as files: the same bits for the same data."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from lft_validation.files import write_bytes


def save(figure: Any, path: Path, kind: str) -> Path:
    """Write a figure as ``png`` or ``svg``; return its path."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
    write_bytes(path, buffer.getvalue())
    return path
