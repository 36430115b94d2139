"""Somebody else's Python file: loaded by its path, and every failure in it told in one sentence."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from lft_validation.errors import UserError

FORM = "write path/to/file.py:name or package.module:name"


def load(spec: str) -> Any:
    """Return the object that ``file.py:name`` or ``package.module:name`` names.

    The file is run as Python runs any module that is imported, with the rights of the caller.

    Raises:
        UserError: if the file or the name does not exist, or importing it fails.
    """
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise UserError(f"{spec!r} names no object; {FORM}")
    module = _from_file(Path(place)) if _is_path(place) else _from_module(place)
    if not hasattr(module, name):
        have = ", ".join(n for n in vars(module) if not n.startswith("_")) or "nothing"
        raise UserError(f"{place} has no {name!r}; it has {have[:200]}")
    return getattr(module, name)


def _is_path(place: str) -> bool:
    return place.endswith(".py") or "/" in place or "\\" in place


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(f"{path} is no file; check the path, or {FORM}")
    spec = importlib.util.spec_from_file_location(f"_lft_gradcheck_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is no Python file; give it the ending .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles look their module up there
    sys.path.insert(
        0, str(path.parent.resolve())
    )  # as for a script: its neighbours can be imported
    try:
        with user_code(f"importing {path}"):
            spec.loader.exec_module(module)
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(path.parent.resolve()))
    return module


def _from_module(name: str) -> ModuleType:
    with user_code(f"importing {name}"):
        return importlib.import_module(name)


@contextlib.contextmanager
def user_code(doing: str) -> Iterator[None]:
    """Turn what goes wrong in somebody else's code into one sentence with file, line and exception.

    Raises:
        UserError: in place of any exception.
    """
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        place = _place(error)
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        words = " ".join(said.split())[:300]
        what = f"{type(error).__name__}: {words}" if words else type(error).__name__
        raise UserError(f"{doing} failed with {what} ({place})") from error


def _place(error: BaseException) -> str:
    """File and line that an exception comes from: the last one that is not a library's."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not _is_library(f.filename)]
    if not own:
        return "not in your file; check the name"
    return f"{own[-1].filename}, line {own[-1].lineno}"


def _is_library(filename: str) -> bool:
    here = str(Path(__file__).parents[1])
    return filename.startswith(("<", here)) or "site-packages" in filename or _standard(filename)


def _standard(filename: str) -> bool:
    return str(Path(filename).parent).startswith(str(Path(contextlib.__file__).parent))
