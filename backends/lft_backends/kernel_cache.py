"""Compiled kernels on the disk: a damaged file or a full disk costs a compilation, and no more.

Numba keeps what it compiles in files that it trusts, and ends the program where it cannot write
them. Here a kernel is compiled again instead, and who has to wait each time is told why, once.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any

from numba.core import caching, dispatcher

_dispatcher: Any = dispatcher  # Numba has no types
_caching: Any = caching
_patching = Lock()


class _Notice:
    """Says on stderr that kernels are not kept: once in a process, whichever kernel it is."""

    def __init__(self) -> None:
        self.said = False

    def __call__(self, reason: str) -> None:
        if not self.said:
            self.said = True
            print(
                f"fused kernels are compiled but not kept ({reason}), so the next process compiles "
                "them again; set NUMBA_CACHE_DIR to a folder that has room and can be written",
                file=sys.stderr,
                flush=True,
            )


not_kept = _Notice()


class KernelCache(caching.FunctionCache):
    """Numba's cache of one kernel, which never ends the program."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the kernel for a signature; None, to have it compiled, where that fails."""
        numbas: Any = super()
        try:
            return numbas.load_overload(sig, target_context)
        except OSError as error:
            self._leave(error)
        except Exception:  # noqa: BLE001 - unpickling a damaged file may raise anything
            self._drop()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a kernel, if that can be done."""
        numbas: Any = super()
        try:
            numbas.save_overload(sig, data)
        except Exception as error:  # noqa: BLE001 - it is compiled, and of use
            self._leave(error)

    def _drop(self) -> None:
        """Remove all files of this kernel: an index of others could name a damaged one."""
        try:
            for file in Path(self.cache_path).glob(f"{self._impl.filename_base}.*nb[ic]"):
                file.unlink(missing_ok=True)
        except OSError as error:
            self._leave(error)

    def _leave(self, error: Exception) -> None:
        """Read and write no more of this kernel."""
        numbas: Any = super()
        numbas.disable()
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        not_kept(f"{self.cache_path}: {reason or type(error).__name__}")


def _cache_of(function: Callable[..., Any]) -> Any:
    make: Any = KernelCache
    try:
        return make(function)
    except (RuntimeError, OSError):  # no place for it, neither beside the code nor at home
        home = Path(function.__code__.co_filename).parent / "__pycache__"
        not_kept(f"neither {home} nor the user's cache folder can be written")
        return _caching.NullCache()


@contextlib.contextmanager
def keeping() -> Iterator[None]:
    """Give kernels that are imported meanwhile a cache of ours, and others their own."""
    with _patching:
        theirs, _dispatcher.FunctionCache = _dispatcher.FunctionCache, _cache_of
        try:
            yield
        finally:
            _dispatcher.FunctionCache = theirs
