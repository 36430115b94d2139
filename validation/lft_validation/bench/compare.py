"""Right before fast: a contestant is timed only if it finds what the float64 reference finds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lft_backends.draws import Stage, stream
from lft_ref import LSTMParams
from lft_validation.bench.contestant import Contestant, Result
from lft_validation.bench.ours import expected
from lft_validation.bench.problems import SEED, Problem

TRIALS = 3
ROUNDINGS = 100.0  # an unroll rounds some thousand times, at random, where a trial rounds once


class Judge(NamedTuple):
    """The right result, and how far rounding alone may lead away from it, relative."""

    right: Result
    bound: float

    def error(self, contestant: Contestant) -> float:
        """Run a contestant; return the larger of its value's and its gradient's error."""
        found = contestant.read(contestant.run())
        return difference(found, self.right)


def difference(found: Result, right: Result) -> float:
    """Relative to the value, and to the gradient's length; infinite for what is not finite."""
    value = abs(found.value - right.value) / max(abs(right.value), 1e-300)
    length = float(np.linalg.norm(right.flat))
    gradient = float(np.linalg.norm(found.flat - right.flat)) / max(length, 1e-300)
    error = max(0.0 if found.value == right.value else value, gradient)
    return error if np.isfinite(error) else float("inf")


def judge(
    problem: Problem,
    dtype: str,
    measure: str,
    device: str = "cpu",
    earlier: Judge | None = None,
) -> Judge:
    """Measure the problem's own condition: what errors of one rounding in θ^(0) and Φ do to it.

    In float64, so nothing of the judged precision enters but the size of its rounding.

    Args:
        problem: what is computed.
        dtype: the precision that is judged.
        measure: ``adjoint`` or ``forward``.
        device: what the contestants compute on.
        earlier: the judge of another precision, whose right result is this one's too.
    """
    right = expected(problem, measure, device) if earlier is None else earlier.right
    eps = float(np.finfo(dtype).eps)
    moved = [difference(expected(_rounded(problem, trial, eps), measure, device), right)
             for trial in range(TRIALS)]  # fmt: skip
    return Judge(right, ROUNDINGS * max(*moved, eps))


def _rounded(problem: Problem, trial: int, eps: float) -> Problem:
    rng = stream(SEED, Stage.BENCH, task=1, step=trial)

    def shaken(a: np.ndarray) -> np.ndarray:
        return np.asarray(a * (1.0 + eps * rng.uniform(-1.0, 1.0, np.shape(a))))

    task = problem.task._replace(theta_0=shaken(problem.task.theta_0))
    return problem._replace(params=LSTMParams(*map(shaken, problem.params)), task=task)
