"""Ctrl-C and SIGTERM: a request to stop that every process of a run sees."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Stopped(Exception):
    """The job was asked to stop; it left a checkpoint."""


class Flag:
    """A request to stop, which all processes see.

    It is one byte without a lock: a signal may come while it is being read, and the handler would
    then wait for what it interrupts.
    """

    def __init__(self, context: Any) -> None:
        self._byte = context.RawValue("b", 0)

    def is_set(self) -> bool:
        """Say whether somebody has asked."""
        return bool(self._byte.value)

    def set(self) -> None:
        """Ask all to stop."""
        self._byte.value = 1


@contextlib.contextmanager
def stop_on_signal(stop: Any) -> Iterator[None]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop; a second one ends at once."""

    def ask(number: int, _frame: object) -> None:
        stop.set()
        signal.signal(number, signal.default_int_handler)

    def is_ours(number: int) -> bool:  # a shell's background jobs are told to ignore Ctrl-C
        return signal.getsignal(number) is not signal.SIG_IGN

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM) if is_ours(n)}
    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
