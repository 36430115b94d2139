"""Peak memory of the engines against the number of steps, as Python's allocator counts it.

NumPy reports every array to ``tracemalloc``, so the counts are exact, and the same every time.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lft_backends.backend import get_backend
from lft_ref import FineTuner, adjoint, forward_mode
from lft_validation.bench.growth import fit
from lft_validation.bench.problems import quadratic, send

LENGTHS = (16, 32, 64, 128, 256)
D = {"forward mode": 16, "adjoint": 512}
ENGINES: dict[str, Callable[..., Any]] = {"forward mode": forward_mode, "adjoint": adjoint}


class Memory(NamedTuple):
    """Peak ∝ K^exponent."""

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


def memory(lengths: Sequence[int] = LENGTHS) -> list[Memory]:
    """Measure every engine on the plain reference in float64."""
    backend = get_backend("numpy", "float64")
    found = []
    for name, engine in ENGINES.items():
        problems = [send(quadratic(D[name], K=K), backend) for K in lengths]
        peaks = [
            peak(lambda p=p, e=engine: e(p.params, FineTuner(), p.task, p.weights))  # type: ignore[misc]
            for p in problems
        ]
        found.append(Memory(name, D[name], tuple(lengths), tuple(peaks), fit(lengths, peaks)[0]))
    return found
