"""Compare the engines for the meta-gradient on built-in tasks, and with central differences."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lft_backends.draws import Stage, stream
from lft_ref import LSTMParams, adjoint, flatten, forward_mode, unflatten, unroll
from lft_validation.cases import Case, margins
from lft_validation.comparison import gradient_differences
from lft_validation.gradcheck_tasks import ESTIMATORS, PREPROCESSINGS, TASKS, Setting, build

DIRECTIONS = 3  # in the space of Φ
CENTRAL_STEPS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
CENTRAL_TOLERANCE = 1e-6  # what differences in float64 can promise
TOLERANCE = 1e-8


class Row(NamedTuple):
    """Relative differences of the meta-gradient, each array of Φ on its own scale."""

    setting: Setting
    forward_adjoint: float
    forward_autodiff: float
    adjoint_autodiff: float
    central: float | None  # best step size; None where central differences say nothing
    worst_array: str  # of Φ
    near_kink: bool

    def agrees(self, tolerance: float = TOLERANCE) -> bool:
        """Return whether all differences are small enough."""
        engines = (self.forward_adjoint, self.forward_autodiff, self.adjoint_autodiff)
        return max(engines) <= tolerance and (self.central or 0.0) <= CENTRAL_TOLERANCE


def settings() -> list[Setting]:
    """Return all combinations of task, estimator, preprocessing and second order."""
    words = itertools.product(TASKS, ESTIMATORS, PREPROCESSINGS, (True, False))
    return [Setting(*each) for each in words]


def check_all(seed: int) -> Iterator[Row]:
    """Check every setting, one after the other."""
    for index, setting in enumerate(settings()):
        yield check_one(setting, build(setting, seed, index), seed, index)


def check_one(setting: Setting, case: Case, seed: int, index: int) -> Row:
    """Compute one meta-gradient in every way, and compare."""
    from lft_validation.autodiff_oracle import oracle

    forward, back, auto = (
        engine(case.params, case.tuner, case.task, case.weights).grad
        for engine in (forward_mode, adjoint, oracle)
    )
    pairs = ((forward, back), (forward, auto), (back, auto))
    apart = [gradient_differences(*pair) for pair in pairs]
    worst = max(apart[0], key=lambda name: max(errors[name] for errors in apart))
    near_kink = margins(case).near_kink
    # Without ∂g/∂θ the engines compute no derivative of the meta-loss, on purpose.
    smooth = setting.second_order and not near_kink
    central = central_difference(case, back, seed, index) if smooth else None
    engines = [max(errors.values()) for errors in apart]
    return Row(setting, engines[0], engines[1], engines[2], central, worst, near_kink)


def central_difference(case: Case, grad: LSTMParams, seed: int, index: int) -> float:
    """Compare ⟨∇, v⟩ with central differences along random unit vectors v, relative to ‖∇‖.

    The smallest difference over :data:`CENTRAL_STEPS` counts: large steps are inexact, small ones
    lose digits, and a wrong gradient is wrong at all of them.
    """
    flat = flatten(grad)
    rng = stream(seed, Stage.CASE, index, step=1)
    vs = rng.standard_normal((DIRECTIONS, flat.shape[-1]))
    vs = vs / np.linalg.norm(vs, axis=-1, keepdims=True)
    by_step = [max(abs(_slope(case, v, eps) - flat @ v) for v in vs) for eps in CENTRAL_STEPS]
    return float(min(by_step) / np.linalg.norm(flat))


def _slope(case: Case, v: np.ndarray, eps: float) -> float:
    """(L(Φ + εv) − L(Φ − εv)) / 2ε."""
    above, below = (_meta_loss(case, sign * eps * v) for sign in (1.0, -1.0))
    return (above - below) / (2.0 * eps)


def _meta_loss(case: Case, shift: np.ndarray) -> float:
    """Σ_k w_k f(θ^(k); D_val) at a shifted Φ."""
    m, n = case.params.m, case.params.n
    params = unflatten(flatten(case.params) + shift, m, n)
    theta = np.stack(unroll(params, case.tuner, case.task, case.K).theta[1:])
    return float(np.asarray(case.weights) @ case.task.objective.value(theta, case.task.val))
