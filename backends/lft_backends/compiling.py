"""Kernels are compiled on first use and kept on the disk: who waits is told so, once.

Numba says when it compiles anything, whichever kernel it is. What it finds on the disk it takes if
the kernel's own file has not changed; but kernels hold code of other files too, so all are compiled
again when any file has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import time
from functools import cache
from pathlib import Path
from threading import Timer
from typing import Any

from numba.core import event

from lft_backends.kernel_cache import not_kept

PATIENCE = 1.0  # seconds of compiling before anything is said
OURS = "lft_backends.kernels."
SOURCES = Path(__file__).parent / "kernels"
STAMP = "lft-kernels.sha256"
LINE = "compiling fused kernels, once: 10 to 40 s, then they are kept on the disk ..."


class Announcer(event.Listener):
    """Listens to compilations, and explains them once they have taken long in all."""

    def __init__(self) -> None:
        self.depth = 0  # one kernel's compilation holds those of the functions it calls
        self.spent = self.began = 0.0
        self.said = False
        self.timer: Timer | None = None

    def on_start(self, event: event.Event) -> None:
        """Wait with the explanation: most compilations are short."""
        self.depth += 1
        module = str(event.data["dispatcher"].py_func.__module__)
        if self.depth > 1 or self.said or not module.startswith(OURS):
            return
        self.began = time.monotonic()
        self.timer = Timer(max(PATIENCE - self.spent, 0.0), self._explain)
        self.timer.daemon = True
        self.timer.start()

    def on_end(self, event: event.Event) -> None:
        """Add up the time of all kernels."""
        self.depth -= 1
        if self.depth == 0 and self.timer is not None:
            self.timer.cancel()
            self.timer = None
            self.spent += time.monotonic() - self.began

    def _explain(self) -> None:
        self.said = True
        if not not_kept.said:
            print(LINE, file=sys.stderr, flush=True)


@cache
def prepare(kept: str | None) -> None:
    """Explain compilations of this process from now on, and drop kernels of other sources.

    Args:
        kept: the folder where Numba keeps compiled kernels; None where there is no place for it.
    """
    if kept is not None:
        forget_stale(Path(kept), SOURCES)
    register: Any = event.register  # Numba has no types
    register("numba:compile", Announcer())


def forget_stale(kept: Path, sources: Path) -> None:
    """Remove compiled kernels, unless a stamp beside them says that they are of these sources."""
    files = sorted(sources.glob("*.py"))
    stamp = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    with contextlib.suppress(OSError):  # nothing can be kept there
        kept.mkdir(parents=True, exist_ok=True)
        if (kept / STAMP).exists() and (kept / STAMP).read_text() == stamp:
            return
        for file in files:
            for compiled in kept.glob(f"{file.stem}.*.nb[ic]"):
                compiled.unlink(missing_ok=True)
        (kept / STAMP).write_text(stamp)
