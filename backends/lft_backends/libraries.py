"""Optional libraries: there, missing, broken or too old, each in one sentence."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import re
from typing import Any

# What a library raises that is not whole, or not what it says.
BROKEN = (ImportError, AttributeError, NameError, TypeError, SyntaxError, SystemExit)


class Unavailable(RuntimeError):
    """What is known but cannot be used here; the message ends with what mends it."""


def import_library(module: str, remedy: str, oldest: str = "", has: tuple[str, ...] = ()) -> Any:
    """Import an optional library.

    Args:
        module: what to import.
        remedy: the command that installs it.
        oldest: the oldest version that will do; empty for any.
        has: names that it must have; a library that was installed in part may lack them.

    Raises:
        Unavailable: if it is missing, does not import, is too old, or lacks a name.
    """
    if not is_there(module):
        raise Unavailable(f"{module} is not installed; install it with: {remedy}")
    try:
        library = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # a broken library may raise anything at all
        raise unusable(module, "does not import", error) from error
    if oldest:
        check_version(module, str(getattr(library, "__version__", "0")), oldest, remedy)
    for name in has:
        if not hasattr(library, name):
            place = getattr(library, "__file__", None) or "an unknown place"
            raise Unavailable(
                f"{module} is installed but has no {name} ({place}); {_again(module)}"
            )
    return library


def unusable(module: str, failing: str, error: BaseException, remedy: str = "") -> Unavailable:
    """Return what to say of an installed library that fails: why, and what mends it.

    Args:
        module: the library.
        failing: what it does not do.
        error: what it raised.
        remedy: what mends it, unless a variable of the environment is to blame; empty for
            installing it again.
    """
    what, reason = f"{module} is installed but {failing}", one_line(error)
    if variables := _blamed(module, reason, error):
        what += f" where {', '.join(f'{name}={os.environ[name]}' for name in variables)}"
        remedy = f"unset {' and '.join(variables)}, or give another value"
    return Unavailable(f"{what} ({reason}); {remedy or _again(module)}")


def one_line(error: BaseException, most: int = 200) -> str:
    """Return the start of what an error says, or what kind it is."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def _again(module: str) -> str:
    packages = importlib.metadata.packages_distributions().get(module, [module])
    return f"install it again with: pip install --force-reinstall {' '.join(packages)}"


def _blamed(module: str, reason: str, error: BaseException) -> list[str]:
    """Return the environment variables of a library that it may have failed for.

    Those that it names; else, where it refuses a value, those that are about the same thing, or
    all that there are.
    """
    own = sorted(name for name in os.environ if name.startswith(f"{module.upper()}_"))
    named = [name for name in own if name in reason]
    if named or not isinstance(error, ValueError):
        return named
    alike = [name for name in own if name.rpartition("_")[2].lower() in reason.lower()]
    return alike or own


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
