"""Is a training loop right? Each update is judged from the reference's own starting point.

In exact arithmetic all contestants train the same Φ: in float64 they agree to 1e-15 after 200
steps. In float32 they do not, whoever is right. The attack loss is piecewise linear, so a
difference of 1e-6 in θ now and then lands on another piece: another winner of a pooling, a ReLU
that is open here and shut there, another sign of a pixel. From there on the two paths part, and
after some ten steps more the meta-gradients differ by percents. So everybody makes every update
from where the float64 reference made it; from one point to the next there is no time to part.

What one of these kinks still does is left out by medians: over the updates, since few of them meet
a kink, and for θ and the cells over coordinates, since a kink moves few of them. A mistake in the
program shows in all updates; in a meta-gradient, which is a sum over coordinates, it shows even if
it is one of few coordinates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lft_backends.backend import get_backend
from lft_backends.draws import Stage, stream
from lft_validation.bench import ours
from lft_validation.bench.contestant import Contestant, Point, Update
from lft_validation.bench.problems import SEED, Problem

ROUNDINGS = 100.0  # as for one unroll


class TrainingJudge(NamedTuple):
    """Where each update starts, what it must find, and how far rounding alone may lead away."""

    starts: Sequence[Point]
    right: Sequence[Update]
    bound: float

    def error(self, contestant: Contestant) -> float:
        """Make every update; return the largest error of all quantities, relative."""
        assert contestant.update is not None
        return difference([contestant.update(start) for start in self.starts], self.right)


def judge(
    problem: Problem,
    dtype: str,
    measure: str = "training",
    earlier: TrainingJudge | None = None,
) -> TrainingJudge:
    """Train in float64, then measure what errors of one rounding do to each update.

    Arguments as for :func:`lft_validation.bench.compare.judge`; the host judges every device.
    """
    reference = ours.training("judge", problem, get_backend("numpy", "float64"), measure)
    update, eps = reference.update, float(np.finfo(dtype).eps)
    assert update is not None
    if earlier is None:
        starts, right = _trained(problem, update)
    else:
        starts, right = earlier.starts, earlier.right
    shaken = [update(_rounded(start, number, eps)) for number, start in enumerate(starts)]
    return TrainingJudge(starts, right, ROUNDINGS * max(difference(shaken, right), eps))


def _trained(
    problem: Problem, update: Callable[[Point], Update]
) -> tuple[Sequence[Point], Sequence[Update]]:
    """Where each update starts, and what it finds."""
    starts, right = [ours.beginning(problem)], list[Update]()
    for _ in range(problem.updates):
        right.append(update(starts[-1]))
        starts.append(right[-1].end)
    return starts[:-1], right


def difference(found: Sequence[Update], right: Sequence[Update]) -> float:
    """The largest of all quantities' errors, each a median over updates; infinite if not finite."""
    errors = np.asarray([_errors(*pair) for pair in zip(found, right, strict=True)])
    worst = float(np.max(np.median(errors, axis=0)))
    return worst if np.isfinite(worst) else float("inf")


def _errors(found: Update, right: Update) -> list[float]:
    """Errors of the loss, the meta-gradient, Φ and Adam's moments; and of θ, h and c."""
    whole = [(found.result.value, right.result.value), (found.result.flat, right.result.flat)]
    whole += zip(found.end[:3], right.end[:3], strict=True)
    return [_error(np.linalg.norm, *pair) for pair in whole] + [
        _error(_typical, *pair) for pair in zip(found.end[4:], right.end[4:], strict=True)
    ]


def _error(size, found, right) -> float:  # type: ignore[no-untyped-def]
    missing = float(size(np.ravel(np.asarray(found) - right)))
    return missing / max(float(size(np.ravel(right))), 1e-300)


def _typical(a: np.ndarray) -> float:
    return float(np.median(np.abs(a)))


def _rounded(point: Point, number: int, eps: float) -> Point:
    rng = stream(SEED, Stage.BENCH, task=2, step=number)
    arrays: list[Any] = [
        a if isinstance(a, int) else a * (1.0 + eps * rng.uniform(-1.0, 1.0, a.shape))
        for a in point
    ]
    return Point(*arrays)
