"""How time grows with d, K, n and the number of tasks: exponents fitted on logarithms.

What is fitted is processor time of all threads, the least of several rounds that take the sizes in
turns: other work on the machine makes waiting longer, and all sizes alike slower, but leaves the
ratios of these numbers alone. For d and K the smallest size is large enough for Python's calls to
take no share of the time, and for what the unroll keeps (θ, g, h and c of each step, 4 (2n + 2) d K
bytes in float32: 23 MB and more) to be beyond a core's own caches at every size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from lft_backends.backend import BackendUnavailable, get_backend
from lft_validation.bench.contestant import Contestant
from lft_validation.bench.ours import NAMES, unroll
from lft_validation.bench.problems import Problem, quadratic
from lft_validation.bench.timing import interleave

SIZES = {
    "d": (32768, 65536, 131072, 262144),
    "K": (8, 16, 32, 64),
    "n": (5, 10, 20, 40),
    "tasks": (4, 8, 16, 32, 64),
}
MAKE: dict[str, Callable[[int], Problem]] = {
    "d": quadratic,
    "K": lambda K: quadratic(32768, K=K),
    "n": lambda n: quadratic(8192, n=n),
    "tasks": lambda tasks: quadratic(2048, tasks=tasks),
}
WHERE = {
    "d": "K = 20, n = 10",
    "K": "d = 32,768, n = 10",
    "n": "d = 8,192, K = 20",
    "tasks": "d = 2,048, K = 20",
}


class Growth(NamedTuple):
    """Seconds ∝ size^exponent, with the 95 % interval of the fit."""

    axis: str
    name: str
    dtype: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]  # of all threads' processor time, the least of each size
    exponent: float
    low: float
    high: float


def fit(sizes: Sequence[int], seconds: Sequence[float]) -> tuple[float, float, float]:
    """Least squares on logarithms: the exponent and its 95 % interval (Student's t).

    Raises:
        ValueError: for fewer than three sizes: two points leave nothing to judge the fit by.

    Example:
        >>> [round(x, 3) for x in fit((1, 2, 4, 8), (3.0, 6.0, 12.0, 24.0))]
        [1.0, 1.0, 1.0]
    """
    if len(sizes) < 3:
        raise ValueError(f"a fit needs at least three sizes, found {len(sizes)}")
    from scipy.stats import t as student

    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(seconds, float))
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
    half = float(student.ppf(0.975, len(sizes) - 2) * np.sqrt(max(covariance[0, 0], 0.0)))
    return float(slope), float(slope) - half, float(slope) + half


def growth(
    axis: str, dtype: str, seconds: float, repeats: int, sizes: Sequence[int] | None = None
) -> list[Growth]:
    """Measure one axis for every backend of the processor that works here."""
    chosen = tuple(sizes or SIZES[axis])
    problems = [MAKE[axis](size) for size in chosen]
    found = []
    for backend in ("numpy", "numba"):
        try:
            ops = get_backend(backend, dtype)
        except BackendUnavailable:
            continue  # the tables of cases say why
        entries: list[Contestant] = [unroll(NAMES[backend], p, ops, "adjoint") for p in problems]
        entries[0].run()
        times = interleave([entry.run for entry in entries], seconds, repeats)
        best = tuple(float(t.cpu.min()) for t in times)
        found.append(Growth(axis, NAMES[backend], dtype, chosen, best, *fit(chosen, best)))
    return found
