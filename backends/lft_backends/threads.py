"""Threads for kernels that leave Python alone: a few, in this process, and started once."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

MOST = 256  # threads of the pool
# The first that is set decides; workers of a job that runs in several processes have them at 1.
VARIABLES = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def threads() -> int:
    """Return how many threads kernels may use: as the environment says, or one a core."""
    for name in VARIABLES:
        if os.environ.get(name, "").isdecimal():
            return max(1, int(os.environ[name]))
    return cores()


def cores() -> int:
    """Return the number of cores that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def share_out(pieces: int, work: Callable[[int, int], object], count: int) -> None:
    """Call ``work(first, last)`` on ``count`` ranges that make up 0 … pieces, side by side.

    The calling thread does the first range itself. An error of any range is raised.
    """
    count = max(1, min(count, pieces))
    edges = [pieces * i // count for i in range(count + 1)]
    pool = _pool(os.getpid()) if count > 1 else None
    others = [pool.submit(work, a, b) for a, b in pairwise(edges[1:])] if pool else []
    work(edges[0], edges[1])
    for other in others:
        other.result()


@cache
def _pool(_process: int) -> ThreadPoolExecutor:
    """Return the pool of this process: after a fork, its parent's threads are not there.

    It starts a thread only when all others are busy.
    """
    return ThreadPoolExecutor(MOST, thread_name_prefix="lft")
