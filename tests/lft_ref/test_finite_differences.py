"""Gradients against differences of the loss, which share no derivative with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.differentiate import derivative

from lft_ref import (
    Data,
    Identity,
    LogSign,
    Quadratic,
    Task,
    adjoint,
    flatten,
    forward_mode,
    maml_gradient,
    size,
    sum_over_tasks,
    unflatten,
    unroll,
    weights_last_step,
)
from lft_ref.forward_mode import forward_step, initial_forward_state
from lft_ref.params import all_columns
from tests.helpers import assert_close, examples
from tests.random_cases import ESTIMATORS, random_case, settings_of_cases

SMOOTH = ("quadratic", "squared_mean_tanh", "squared_sum_tanh_deep", "cross_entropy_sum_tanh")
ENGINES = (adjoint, forward_mode)
REACHES = (1e-1, 1e-2, 1e-3, 1e-4)  # steps along a unit direction in Φ, the largest first


class Line(NamedTuple):
    """A function along a line, how far from 0 it is smooth, and the size of what it adds up."""

    f: Callable[[float], float]
    reach: float
    size: float


def unit(seed, shape):
    v = np.random.default_rng(seed).normal(size=shape)
    return v / np.linalg.norm(v)


def moved(case, v, e):
    return unflatten(flatten(case.params) + e * v, case.params.m, case.params.n)


def path(case, v, e):
    return unroll(moved(case, v, e), case.tuner, case.task, len(case.weights), case.state_0)


def weighted_losses(case, v, e):
    losses = [np.sum(case.task.objective.value(x, case.task.val)) for x in path(case, v, e).theta]
    return [w * loss for w, loss in zip(case.weights, losses[1:], strict=True)]


def branches(case, v, e):
    """Sign of every g on the path, and the side of the kink of log/sign that it lies on."""
    if isinstance(case.tuner.cell.preprocess, Identity):
        return np.zeros(1)
    g = np.stack(path(case, v, e).g)
    return np.sign(g) * (1 + (np.abs(g) >= np.exp(-LogSign().p)))


def line_of(case, v):
    """The meta-loss (4) along v, as far as no gradient on the path meets a kink of log/sign."""
    here = branches(case, v, 0.0)
    for reach in REACHES:
        steps = np.linspace(-reach, reach, 9)
        if all((branches(case, v, e) == here).all() for e in steps):
            size_of_terms = sum(map(abs, weighted_losses(case, v, 0.0)))
            return Line(lambda e: sum(weighted_losses(case, v, e)), reach, float(size_of_terms))
    return None


def differences(line):
    """f'(0) from extrapolated central differences, and how far it is thought to be off."""
    tried = []
    for reach in (line.reach, line.reach / 10, line.reach / 100):  # smaller where f bends much
        found = derivative(
            np.vectorize(line.f), 0.0, initial_step=reach, maxiter=6,
            tolerances={"rtol": 1e-10, "atol": 0.0},
        )  # fmt: skip
        tried.append((float(found.error), float(found.df)))
        if found.error < 1e-8 * abs(found.df):
            break
    doubt, limit = min(tried)
    return limit, doubt


def assert_is_their_limit(found, slope, scale):
    """``slope`` is what differences give, to 1e-9 of ``scale`` or as far as they can be trusted."""
    limit, doubt = found
    error, bound = abs(slope - limit), 1e-9 * scale + 10 * doubt
    assert bound < 1e-6 * scale, "the differences themselves say little"
    assert error <= bound, f"central differences are off by {error:.3g} of {scale:.3g}"


def remainder_order(line, slope):
    """Order in ε at which |f(ε) − f(0) − ε f'(0)| vanishes; infinite if it is but rounding.

    The steps are an eighth of the reach and less, so that higher orders do not show.
    """
    steps = line.reach * 0.5 ** np.arange(3, 9)
    f_0 = line.f(0.0)
    rest = np.asarray([abs(line.f(e) - f_0 - e * slope) for e in steps])
    seen = rest > 1e-11 * line.size
    return np.polyfit(np.log(steps[seen]), np.log(rest[seen]), 1)[0] if seen.sum() > 2 else np.inf


@examples(40)
@given(changes=settings_of_cases(), objective=st.sampled_from(SMOOTH))
def test_meta_gradient_is_the_limit_of_differences(changes, objective):
    whole = changes | {"second_order": True, "truncate": None}
    case = random_case(objective=objective, **whole)
    v = unit(changes["seed"], size(changes["m"], changes["n"]))
    line = line_of(case, v)
    assume(line is not None)
    found = differences(line)
    for engine in ENGINES:
        grad = flatten(sum_over_tasks(engine(*case).grad))
        assert_is_their_limit(found, grad @ v, np.linalg.norm(grad))
    assert remainder_order(line, grad @ v) > 1.5
    assert remainder_order(line, grad @ v + 0.1 * np.linalg.norm(grad)) < 1.5  # a wrong one: 1


@examples(20)
@given(
    seed=st.integers(0, 2**32 - 1),
    objective=st.sampled_from(SMOOTH),
    estimator=st.sampled_from(ESTIMATORS),
    inner_steps=st.integers(1, 5),
    alpha=st.sampled_from([0.01, 0.03]),
)
def test_maml_gradient_is_the_limit_of_differences(seed, objective, estimator, inner_steps, alpha):
    case = random_case(seed, objective, estimator, K=inner_steps)
    task, how = case.task, case.tuner.estimator
    v = unit(seed, task.theta_0.shape)

    def adapted_loss(e):
        there = task._replace(theta_0=task.theta_0 + e * v)
        return float(maml_gradient(there, alpha, inner_steps, how).meta_loss)

    grad = maml_gradient(task, alpha, inner_steps, how).grad
    line, scale = Line(adapted_loss, REACHES[0], abs(adapted_loss(0.0))), np.linalg.norm(grad)
    assert_is_their_limit(differences(line), grad @ v, scale)
    assert remainder_order(line, grad @ v) > 1.5


def smooth_case(objective):
    """A case of three steps, a direction in Φ, and the meta-loss along it."""
    case = random_case(3, objective, m=1, with_state=True)
    v = unit(3, size(1, 2))
    return case, v, line_of(case, v)


@pytest.mark.parametrize("factor", [0.0, 0.9, -1.0])
def test_a_wrong_gradient_is_told_by_both(factor):
    case, v, line = smooth_case("squared_mean_tanh")
    slope = flatten(adjoint(*case).grad) @ v
    assert remainder_order(line, factor * slope) == pytest.approx(1.0, abs=0.2)
    with pytest.raises(AssertionError, match="central differences are off"):
        assert_is_their_limit(differences(line), factor * slope, abs(slope))


def test_the_gradient_without_second_order_terms_is_seen_to_be_incomplete():
    case, v, line = smooth_case("squared_sum_tanh_deep")
    incomplete = case._replace(tuner=case.tuner._replace(second_order=False))
    grad = flatten(adjoint(*incomplete).grad)
    with pytest.raises(AssertionError, match="central differences are off"):
        assert_is_their_limit(differences(line), grad @ v, np.linalg.norm(grad))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_G_and_its_transpose_agree_on_any_pair_of_directions(estimator):
    # With f(θ; D_val) = ‖θ − b‖²/(2d) and b = θ^(K) − d θ̄, the adjoint is fed any θ̄ we like.
    K = 4
    params, tuner, task, _, state, _ = random_case(
        1, "squared_mean_tanh", estimator, K=K, with_state=True
    )
    rng = np.random.default_rng(2)
    theta_bar, v = rng.normal(size=task.theta_0.shape), rng.normal(size=size(2, 2))
    d = len(theta_bar)

    class Judged(Quadratic):
        """D_tr is judged by the network loss, D_val by the quadratic."""

        def value(self, theta, data):
            return pick(data).value(theta, data)

        def grad(self, theta, data):
            return pick(data).grad(theta, data)

        def hvp(self, theta, data, v):
            return pick(data).hvp(theta, data, v)

    def pick(data):
        return task.objective if data is task.train else Quadratic()

    theta_K = unroll(params, tuner, task, K, state).theta[-1]
    val = Data(np.eye(d), theta_K - d * theta_bar)
    judged = Task(Judged(), task.train, val, task.theta_0, task.directions)
    backward = adjoint(params, tuner, judged, weights_last_step(K), state)

    at = initial_forward_state(params, task.theta_0, state, all_columns(2, 2))
    for k in range(K):
        at = forward_step(params, tuner, task, k, at)
    assert_close(flatten(backward.grad) @ v, theta_bar @ (at.G @ v), 1e-10)
