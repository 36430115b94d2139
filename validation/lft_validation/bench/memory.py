"""Peak memory of the engines against the number of steps, as Python's allocator counts it.

NumPy reports every array to ``tracemalloc``, so the counts are exact, and the same every time.
"""

from __future__ import annotations

import inspect
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import isqrt
from typing import Any, NamedTuple

from lft_backends.backend import get_backend
from lft_ref import FineTuner, adjoint, forward_mode
from lft_validation.bench.growth import fit
from lft_validation.bench.problems import Problem, quadratic, send

LENGTHS = (64, 128, 256, 512, 1024)
FORWARD, ADJOINT, RECOMPUTING = "forward mode", "adjoint", "adjoint, recomputing"
# In forward mode large enough for the arrays to hide what Python itself allocates, some 20 kB.
D = {FORWARD: 16, ADJOINT: 64, RECOMPUTING: 64}


class Memory(NamedTuple):
    """Peak = a constant + what grows like K^exponent."""

    engine: str
    d: int
    lengths: tuple[int, ...]
    peaks: tuple[int, ...]  # bytes above what there was before
    exponent: float


def peak(run: Callable[[], object]) -> int:
    """Return the largest number of bytes that ``run`` had at one time, above what there was."""
    run()  # what is made once and kept is not counted
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        run()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def exponent(lengths: Sequence[int], peaks: Sequence[int]) -> float:
    """Fit the part that grows: with lengths in a geometric series, differences lose the constant.

    Example:
        >>> round(exponent((10, 20, 40, 80), (1010, 1020, 1040, 1080)), 3)
        1.0
        >>> exponent((10, 20, 40, 80), (1000, 1001, 1000, 1000))
        0.0
    """
    if max(peaks) <= 1.01 * min(peaks):
        return 0.0
    steps = [max(b - a, 1) for a, b in pairwise(peaks)]
    return fit(lengths[:-1], steps)[0]


def memory(lengths: Sequence[int] = LENGTHS) -> list[Memory]:
    """Measure every engine on the plain reference in float64; lengths in a geometric series."""
    backend = get_backend("numpy", "float64")
    found = []
    for name, engine in _engines().items():
        problems = [send(quadratic(D[name], K=K), backend) for K in lengths]
        peaks = tuple(peak(partial(engine, problem)) for problem in problems)
        found.append(Memory(name, D[name], tuple(lengths), peaks, exponent(lengths, peaks)))
    return found


def _engines() -> dict[str, Callable[[Problem], Any]]:
    def run(engine: Callable[..., Any], problem: Problem, **extra: Any) -> Any:
        return engine(problem.params, FineTuner(), problem.task, problem.weights, **extra)

    engines: dict[str, Callable[[Problem], Any]] = {
        FORWARD: lambda problem: run(forward_mode, problem),
        ADJOINT: lambda problem: run(adjoint, problem),
    }
    if "segment" in inspect.signature(adjoint).parameters:
        engines[RECOMPUTING] = lambda problem: run(
            adjoint, problem, segment=isqrt(len(problem.weights))
        )
    return engines
