"""Peak memory of the engines against the number of steps, as Python's allocator counts it.

NumPy reports every array to ``tracemalloc``, so the counts are exact, and the same every time.
Python keeps freed tuples for later, half a kilobyte for each step, which would look like growth; a
full garbage collection gives them back, so there are many.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import isqrt
from typing import Any, NamedTuple

from lft_backends.backend import get_backend
from lft_ref import FineTuner, adjoint, forward_mode
from lft_validation.bench.growth import fit
from lft_validation.bench.problems import UNITS, Problem, quadratic, send

LENGTHS = (4, 16, 64, 256, 1024)  # squares, so that √K segments of √K steps come out even
FORWARD, ADJOINT, RECOMPUTING = "forward mode", "adjoint", "adjoint, recomputing"
D = {FORWARD: 16, ADJOINT: 64, RECOMPUTING: 64}
LONGEST = {FORWARD: 256, ADJOINT: 1024, RECOMPUTING: 1024}  # a step of forward mode takes long
NOISE = 1.05


class Memory(NamedTuple):
    """Peak = a constant + what grows like K^exponent."""

    engine: str
    d: int
    lengths: tuple[int, ...]
    peaks: tuple[int, ...]  # bytes above what there was before
    exponent: float
    kept: float = 0.0  # what each further step adds in the end / the size of its θ, h and c


def peak(run: Callable[[], object]) -> int:
    """Return the largest number of bytes that ``run`` had at one time, above what there was."""
    gc.collect()
    gc.freeze()  # what is there already need not be looked through again,
    gc.collect()  # and no longer counts when Python decides whether a full collection is due
    thresholds = gc.get_threshold()
    gc.set_threshold(50, 1, 1)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        run()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def exponent(lengths: Sequence[int], peaks: Sequence[int]) -> float:
    """Fit the part that grows: with lengths in a geometric series, differences lose the constant.

    Example:
        >>> round(exponent((10, 20, 40, 80), (1010, 1020, 1040, 1080)), 3)
        1.0
        >>> exponent((10, 20, 40, 80), (1000, 1001, 1000, 1000))
        0.0
    """
    if max(peaks) <= NOISE * min(peaks):
        return 0.0
    steps = [max(b - a, 1) for a, b in pairwise(peaks)]
    return fit(lengths[:-1], steps)[0]


def memory(lengths: Sequence[int] = ()) -> list[Memory]:
    """Measure every engine on the plain reference in float64; lengths in a geometric series."""
    backend = get_backend("numpy", "float64")
    lengths, found = lengths or LENGTHS, []
    for name, engine in _engines().items():
        some = [K for K in lengths if LONGEST[name] >= K]
        problems = [send(quadratic(D[name], K=K), backend) for K in some]
        engine(problems[0])  # what is made once and kept is not counted
        peaks = tuple(peak(partial(engine, problem)) for problem in problems)
        grown, kept = exponent(some, peaks), kept_by_each_step(D[name], some, peaks)
        found.append(Memory(name, D[name], tuple(some), peaks, grown, kept))
    return found


def kept_by_each_step(d: int, lengths: Sequence[int], peaks: Sequence[int]) -> float:
    """Return what the peak grows by with each further step / the size of θ, h and c, float64.

    Of the last two lengths. An engine that keeps every step has 1 or more.

    Example:
        >>> kept_by_each_step(2, (10, 20), (5000, 5000 + 10 * 2 * 21 * 8))
        1.0
    """
    added = (peaks[-1] - peaks[-2]) / (lengths[-1] - lengths[-2])
    return added / (d * (2 * UNITS + 1) * 8)


def _engines() -> dict[str, Callable[[Problem], Any]]:
    def run(engine: Callable[..., Any], problem: Problem, **extra: Any) -> Any:
        return engine(problem.params, FineTuner(), problem.task, problem.weights, **extra)

    return {
        FORWARD: lambda problem: run(forward_mode, problem),
        ADJOINT: lambda problem: run(adjoint, problem),
        RECOMPUTING: lambda problem: run(adjoint, problem, segment=isqrt(len(problem.weights))),
    }
