"""Interleaved timing: every round runs each contestant once.

So what else the machine does falls on all of them alike, and ratios stay honest.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

FEWEST = 3


class Times(NamedTuple):
    """Seconds of one contestant, one entry a round."""

    wall: np.ndarray
    cpu: np.ndarray  # of all threads of this process

    @property
    def median(self) -> float:
        """Median of the wall clock."""
        return float(np.median(self.wall))

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third quartile of the wall clock."""
        low, high = np.percentile(self.wall, (25, 75))
        return float(low), float(high)


class RunFailed(Exception):
    """One of the runs raised."""

    def __init__(self, index: int, reason: Exception) -> None:
        super().__init__(f"run {index} failed ({reason})")
        self.index, self.reason = index, reason


def interleave(
    runs: Sequence[Callable[[], object]],
    seconds: float,
    repeats: int,
    clear: Callable[[], None] | None = None,
) -> list[Times]:
    """Time all ``runs`` in rounds, each round beginning with another one.

    Stops after ``repeats`` rounds, or after so many ``seconds`` and at least three rounds.

    Args:
        runs: what is timed.
        seconds: of all rounds, untimed runs included.
        repeats: most rounds.
        clear: for runs whose libraries together keep more memory than there is: called before each
            run, which then runs once untimed, so that asking for memory anew is not what is timed.

    Raises:
        RunFailed: from the first exception of a run.
    """
    wall: list[list[float]] = [[] for _ in runs]
    cpu: list[list[float]] = [[] for _ in runs]
    begun = time.perf_counter()
    for turn in range(repeats):
        if turn >= FEWEST and time.perf_counter() - begun > seconds:
            break
        for place in range(len(runs)):
            index = (place + turn) % len(runs)
            try:
                if clear is not None:
                    clear()
                    runs[index]()
                w, c = once(runs[index])
            except Exception as error:
                raise RunFailed(index, error) from error
            wall[index].append(w)
            cpu[index].append(c)
    return [Times(np.asarray(w), np.asarray(c)) for w, c in zip(wall, cpu, strict=True)]


def once(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds of one call, by the wall clock and of the processor; no garbage collection in it."""
    gc.collect()
    gc.disable()
    try:
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        return time.perf_counter() - wall, time.process_time() - cpu
    finally:
        gc.enable()


def ratio(times: Times, base: Times) -> tuple[float, float, float]:
    """Median and quartiles of times / base, round by round."""
    low, middle, high = np.percentile(times.wall / base.wall, (25, 50, 75))
    return float(middle), float(low), float(high)
