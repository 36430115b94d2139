"""Files and folders that a command will write: refused before anything is computed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from lft_validation.errors import UserError

FIGURES = (".png", ".svg", ".pdf")


def writable_file(_context: click.Context, option: click.Parameter, value: Any) -> Any:
    """Check a file that is to be written; a click callback."""
    if value not in (None, "-"):
        check_file(option.opts[0], Path(value))
    return value


def figure_file(context: click.Context, option: click.Parameter, value: Any) -> Any:
    """Check a figure that is to be written; a click callback."""
    if value is not None and Path(value).suffix not in FIGURES:
        raise UserError(f"{option.opts[0]} must end in {', '.join(FIGURES)}, found {value}")
    return writable_file(context, option, value)


def writable_folder(_context: click.Context, option: click.Parameter, value: Any) -> Any:
    """Check a folder that is to be written into, made if it is not there; a click callback."""
    if value is not None:
        _check_folder(option.opts[0], Path(value), Path(value))
    return value


def check_file(option: str, path: Path) -> None:
    """Find out whether a file could be written.

    Raises:
        UserError: if not.
    """
    if path.is_dir():
        raise UserError(f"{option} {path} is a folder; give a file in it")
    _check_folder(option, path, path.parent)


def _check_folder(option: str, path: Path, folder: Path) -> None:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent  # it will be made
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{option} {path} cannot be written ({error.strerror}: {folder}); choose another place"
        ) from error
