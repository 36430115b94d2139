"""One line about a wait that is long enough to wonder about: kernels are compiled on first use.

Numba says when it compiles anything, whichever kernel it is; kernels that it finds on the disk are
not compiled.
"""

from __future__ import annotations

import sys
import time
from functools import cache
from threading import Timer

from numba.core import event

PATIENCE = 1.0  # seconds of compiling before anything is said
OURS = "lft_backends.kernels."
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
        print(LINE, file=sys.stderr, flush=True)


@cache
def announce() -> None:
    """Explain compilations of this process from now on."""
    event.register("numba:compile", Announcer())  # type: ignore[no-untyped-call]
