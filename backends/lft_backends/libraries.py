"""Optional libraries: there, missing, broken or too old, each in one sentence."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
from typing import Any


class Unavailable(RuntimeError):
    """What is known but cannot be used here; the message ends with what mends it."""


def import_library(module: str, remedy: str, oldest: str = "") -> Any:
    """Import an optional library.

    Args:
        module: what to import.
        remedy: the command that installs it.
        oldest: the oldest version that will do; empty for any.

    Raises:
        Unavailable: if it is missing, does not import, or is too old.
    """
    if not is_there(module):
        raise Unavailable(f"{module} is not installed; install it with: {remedy}")
    try:
        library = importlib.import_module(module)
    except Exception as error:  # a broken library may raise anything at all
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        packages = importlib.metadata.packages_distributions().get(module, [module])
        again = f"pip install --force-reinstall {' '.join(packages)}"
        raise Unavailable(
            f"{module} is installed but does not import ({reason}); install it again with: {again}"
        ) from error
    if oldest:
        check_version(module, str(getattr(library, "__version__", "0")), oldest, remedy)
    return library


def check_version(module: str, found: str, oldest: str, remedy: str) -> None:
    """Raise :class:`Unavailable` if a version is older than the oldest that will do."""
    if _numbers(found) < _numbers(oldest):
        update = remedy.replace("pip install", "pip install -U", 1)
        raise Unavailable(
            f"{module} {found} is too old, {oldest} or newer is needed; update it with: {update}"
        )


def is_there(module: str) -> bool:
    """Say whether a library is installed, whole or not, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # half-removed packages
        return False


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]
