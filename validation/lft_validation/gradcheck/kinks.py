"""Points where a derivative has no meaning: kinks of ReLU, log/sign, |·|, max, clip."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from lft_ref import AttackLoss, LogSign, NetworkLoss, ZerothOrder
from lft_validation.cases import LOG_SIGN_MARGIN
from lft_validation.gradcheck.entries import coordinate
from lft_validation.gradcheck.kinks_images import of_attack, of_network
from lft_validation.gradcheck.problem import Array, Problem
from lft_validation.gradcheck.terms import Trace

PROBE = 1e-6  # how far from θ a kink of one's own loss is looked for, relative to |θ_i| or 1


class Kink(NamedTuple):
    """A kink that is so near that rounding, or a small step, may cross it."""

    what: str
    where: str
    step: int
    distance: float

    def sentence(self) -> str:
        """Say where it is."""
        return f"{self.what} at {self.where}, step {self.step} (distance {self.distance:.0e})"


def kinks(problem: Problem, trace: Trace) -> list[Kink]:
    """Return every kink that the path of a problem comes too near to."""
    found = [*_log_sign(problem, trace), *_of_our_losses(problem, trace)]
    if not found and not isinstance(problem.task.objective, NetworkLoss | AttackLoss):
        found = list(_of_the_loss(problem, trace))
    return found


def _log_sign(problem: Problem, trace: Trace) -> Iterator[Kink]:
    preprocess = problem.tuner.cell.preprocess
    if not isinstance(preprocess, LogSign):
        return
    for k in range(1, problem.K + 1):
        distance = np.abs(np.abs(trace["g", k]) * math.exp(preprocess.p) - 1.0)
        for i in np.flatnonzero(distance < LOG_SIGN_MARGIN):
            name = f"g of {coordinate(problem, int(i))}"
            yield Kink("the threshold e^-p of log/sign", name, k, float(distance[i]))


def _of_our_losses(problem: Problem, trace: Trace) -> Iterator[Kink]:
    """Kinks of our networks and of (12), on D_tr before a step and on D_val after it."""
    f, task = problem.task.objective, problem.task
    if not isinstance(f, NetworkLoss | AttackLoss):
        return
    for k in range(1, problem.K + 1):
        before = trace["start", k][:, 0]
        places = [("D_tr", before, task.train), ("D_val", before - trace["Γ", k], task.val)]
        if isinstance(problem.tuner.estimator, ZerothOrder) and task.directions is not None:
            ahead = before + problem.tuner.estimator.mu * task.directions[k - 1]
            places += [("D_tr + μu", at, task.train) for at in ahead]
        for data_name, theta, data in places:
            if isinstance(f, AttackLoss):
                near = of_attack(f, theta, data)
            else:
                near = of_network(f.network, theta, data.x)
            for what, where, distance in near:
                yield Kink(what, f"{where} of {data_name}", k, distance)


def _of_the_loss(problem: Problem, trace: Trace) -> Iterator[Kink]:
    """Kinks of a loss that cannot be looked into: its slope jumps along a coordinate.

    f(θ + ε) − 2 f(θ) + f(θ − ε) is of order ε² where f is smooth and of order ε across a kink.
    """
    f, task = problem.task.objective, problem.task
    for k in range(1, problem.K + 1):
        theta = trace["start", k][:, 0]
        for data in (task.train, task.val):
            for i in range(problem.d):
                e = PROBE * max(1.0, abs(float(theta[i])))
                jump, slope = _slope_jump(lambda at, data=data: f.value(at, data), theta, i, e)
                if jump > 1e-3 * max(slope, 1e-12):
                    name = coordinate(problem, i)
                    yield Kink("the loss (|·|, max, ReLU, …)", name, k, e)
            if data is task.train and task.train is task.val:
                break


def _slope_jump(f: Any, theta: Array, i: int, e: float) -> tuple[float, float]:
    """How much the slope along θ_i jumps, beyond what curvature explains, and the slope."""
    shift = e * np.eye(len(theta))[i]
    middle = float(f(theta))

    def second(factor: float) -> float:
        return float(f(theta + factor * shift)) - 2.0 * middle + float(f(theta - factor * shift))

    rounding = 16.0 * np.finfo(float).eps * max(abs(middle), 1e-300)
    near, far = abs(second(1.0)), abs(second(10.0))
    slope = abs(float(f(theta + 10.0 * shift)) - float(f(theta - 10.0 * shift))) / (20.0 * e)
    # A kink's share grows tenfold with the step, curvature's a hundredfold.
    is_kink = near > rounding and far < 50.0 * near and far > 2.0 * rounding
    return (near / e if is_kink else 0.0), slope
