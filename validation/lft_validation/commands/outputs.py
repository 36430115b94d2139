"""Files and folders that a command will write: refused before anything is computed."""

from __future__ import annotations

import json
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
        _refuse_stdout(option.opts[0], Path(value))
        _check_folder(option.opts[0], Path(value), Path(value))
    return value


def _refuse_stdout(option: str, path: Path) -> None:
    """Where ``-`` does not mean stdout, nobody wants a file of that name."""
    if str(path) == "-":
        raise UserError(f"{option} takes no - for stdout, as --json does; give a name")


def report_file(context: click.Context, option: click.Parameter, value: Any) -> Any:
    """Check a JSON file that is to be written, maybe over an earlier one; a click callback."""
    writable_file(context, option, value)
    if value not in (None, "-") and Path(value).exists() and not _holds_json(Path(value)):
        raise UserError(
            f"{option.opts[0]} {value} is there and is no earlier report; choose another file"
        )
    return value


def _holds_json(file: Path) -> bool:
    try:
        with file.open("rb") as content:
            first = content.read(1)
            if first != b"{":
                return not first  # nothing is lost with an empty file
            json.loads(first + content.read())
    except (OSError, ValueError, RecursionError):
        return False
    return True


def check_different(**files: Path | str | None) -> None:
    """Check that no two options name the same file to be written.

    Args:
        files: by option; None, or ``-`` for stdout, is no file.

    Raises:
        UserError: naming both.
    """
    seen: dict[Path, str] = {}
    for option, file in files.items():
        if file is None or str(file) == "-":
            continue
        if other := seen.get(Path(file).resolve()):
            raise UserError(f"--{other} and --{option} are both {file}; give two files")
        seen[Path(file).resolve()] = option


def check_file(option: str, path: Path) -> None:
    """Find out whether a file could be written.

    Raises:
        UserError: if not, or if a link, a pipe or a device would be replaced.
    """
    _refuse_stdout(option, path)
    if path.is_dir():
        raise UserError(f"{option} {path} is a folder; give a file in it")
    if path.is_symlink() or (path.exists() and not path.is_file()):
        stdout = ", or - for stdout" * (option == "--json")
        raise UserError(
            f"{option} {path} is a link, a pipe or a device, which would be replaced; give a plain "
            f"file{stdout}"
        )
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
