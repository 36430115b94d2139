"""The meta-gradient against differences of the meta-loss, which share no derivative with it."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from lft_ref import (
    Data,
    LogSign,
    Quadratic,
    Task,
    adjoint,
    flatten,
    forward_mode,
    maml_gradient,
    size,
    unflatten,
    unroll,
    weights_last_step,
)
from lft_ref.forward_mode import forward_step, initial_forward_state
from lft_ref.params import all_columns
from tests.helpers import (
    assert_close,
    assert_is_derivative,
    central_difference_errors,
    taylor_slope,
)
from tests.random_cases import ESTIMATORS, random_case

SMOOTH = ("quadratic", "squared_mean_tanh", "squared_sum_tanh_deep", "cross_entropy_sum_tanh")
ENGINES = (adjoint, forward_mode)
REACH = 2e-2  # the largest step that a difference takes along a unit direction in Φ


def moved(case, v, e):
    return unflatten(flatten(case.params) + e * v, case.params.m, case.params.n)


def meta_loss(case, v, e):
    path = unroll(moved(case, v, e), case.tuner, case.task, len(case.weights), case.state_0)
    losses = [case.task.objective.value(theta, case.task.val) for theta in path.theta[1:]]
    return sum(w * loss for w, loss in zip(case.weights, losses, strict=True))


def branches(case, v, e):
    """Sign of every g on the path, and the side of the kink of log/sign that it lies on."""
    path = unroll(moved(case, v, e), case.tuner, case.task, len(case.weights), case.state_0)
    g = np.stack(path.g)
    return np.sign(g) * (1 + (np.abs(g) >= np.exp(-LogSign().p))), np.abs(g).min()


@functools.cache
def smooth_case(objective, estimator, m):
    """The first random case that keeps off every kink of log/sign, with a direction v in Φ."""
    for seed in range(200):
        case = random_case(seed, objective, estimator, m=m, with_state=True, output_scale=0.3)
        v = np.random.default_rng(seed).normal(size=size(m, 2))
        v /= np.linalg.norm(v)
        here, smallest = branches(case, v, 0.0)
        steps = np.linspace(-REACH, REACH, 9)
        if smallest > 0.03 and all((branches(case, v, e)[0] == here).all() for e in steps):
            return case, v
    raise AssertionError(f"no smooth case of {objective}, {estimator} among 200")


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("objective", SMOOTH)
def test_meta_gradient_is_the_limit_of_central_differences(objective, estimator, m):
    case, v = smooth_case(objective, estimator, m)
    for engine in ENGINES:
        slope = flatten(engine(*case).grad) @ v
        assert_is_derivative(lambda e: meta_loss(case, v, e), slope)


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("objective", SMOOTH)
def test_taylor_remainder_of_the_meta_loss_is_of_second_order(objective, estimator, m):
    case, v = smooth_case(objective, estimator, m)
    for engine in ENGINES:
        slope = flatten(engine(*case).grad) @ v
        order = taylor_slope(lambda e: meta_loss(case, v, e), slope, REACH)
        assert order == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize("factor", [0.0, 0.9, -1.0])
def test_taylor_remainder_of_a_wrong_gradient_is_of_first_order(factor):
    case, v = smooth_case("squared_mean_tanh", "first_order", 2)
    slope = factor * (flatten(adjoint(*case).grad) @ v)
    order = taylor_slope(lambda e: meta_loss(case, v, e), slope, REACH)
    assert order == pytest.approx(1.0, abs=0.2)
    with pytest.raises(AssertionError, match="central differences"):
        assert_is_derivative(lambda e: meta_loss(case, v, e), slope)


def test_the_gradient_without_second_order_terms_is_seen_to_be_incomplete():
    case, v = smooth_case("squared_sum_tanh_deep", "first_order", 2)
    incomplete = case._replace(tuner=case.tuner._replace(second_order=False))
    slope = flatten(adjoint(*incomplete).grad) @ v
    assert min(central_difference_errors(lambda e: meta_loss(case, v, e), slope)) > 1e-2


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


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("objective", SMOOTH)
def test_maml_gradient_is_the_limit_of_central_differences(objective, estimator):
    case = random_case(0, objective, estimator)
    task = case.task
    v = np.random.default_rng(1).normal(size=task.theta_0.shape)
    v /= np.linalg.norm(v)

    def adapted_loss(e):
        there = task._replace(theta_0=task.theta_0 + e * v)
        return maml_gradient(there, 0.1, 3, case.tuner.estimator).meta_loss

    slope = maml_gradient(task, 0.1, 3, case.tuner.estimator).grad @ v
    assert_is_derivative(adapted_loss, slope)
    if objective != "quadratic" or estimator == "first_order":
        assert taylor_slope(adapted_loss, slope) == pytest.approx(2.0, abs=0.2)
