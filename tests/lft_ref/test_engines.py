"""Forward mode (Statement 1), adjoint and autodiff are three ways to one number."""

from __future__ import annotations

import tracemalloc
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft_ref import (
    Data,
    FineTuner,
    Quadratic,
    Task,
    adjoint,
    flatten,
    forward_mode,
    from_draws,
    memory_bytes,
    size,
    sum_over_tasks,
    unroll,
)
from lft_ref.forward_mode import forward_step, initial_forward_state
from lft_ref.params import all_columns, column_blocks
from lft_validation.autodiff_oracle import oracle, oracle_GH
from tests.helpers import assert_close, assert_same_gradient, assert_same_result, examples
from tests.measuring import measured_once
from tests.random_cases import ESTIMATORS, OBJECTIVES, random_case, settings_of_cases


@pytest.mark.parametrize("objective", measured_once(OBJECTIVES))
def test_forward_mode_and_adjoint_agree_with_the_oracle(objective):
    @examples(8 if objective in ("convolution", "attack_tanh", "attack_relu") else 35)
    @given(settings=settings_of_cases(), rows_per_block=st.sampled_from([None, 1, 2, 5, 100]))
    def check(settings, rows_per_block):
        case = random_case(objective=objective, **settings)
        want = oracle(*case)
        assert_same_result(adjoint(*case), want)
        assert_same_result(forward_mode(*case, rows_per_block=rows_per_block), want)

    check()


@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("m", [1, 2])
def test_engines_agree_for_every_estimator_preprocessing_and_order(estimator, m, second_order):
    case = random_case(
        7, "squared_mean_tanh", estimator, m=m, second_order=second_order, with_state=True
    )
    want = oracle(*case)
    assert_same_result(adjoint(*case), want)
    assert_same_result(forward_mode(*case), want)


@pytest.mark.parametrize(
    ("objective", "estimator"),
    [
        ("squared_sum_tanh_deep", "first_order"),
        ("squared_mean_tanh", "gaussian"),
        ("quadratic", "sphere"),
        ("linear", "coordinate"),
    ],
)
def test_G_and_H_are_the_jacobians_of_the_unroll(objective, estimator):
    K = 3
    params, tuner, task, _, state_0, _ = random_case(3, objective, estimator, K=K, with_state=True)
    G, H = oracle_GH(params, tuner, task, K, state_0)
    columns = all_columns(params.m, params.n)
    at = initial_forward_state(params, task.theta_0, state_0, columns)
    for k in range(K):
        at = forward_step(params, tuner, task, k, at)
    assert_close(at.G, G)
    assert_close(at.H, H)


def test_G_and_H_start_from_zero():
    params, _, task, *_ = random_case(0)
    at = initial_forward_state(params, task.theta_0, None, all_columns(params.m, params.n))
    assert at.G.shape == (3, size(2, 2))
    assert at.H.shape == (3, 4, size(2, 2))
    assert not at.G.any()
    assert not at.H.any()
    assert not at.state.h.any()


def test_a_block_of_columns_holds_those_columns_of_G_and_H():
    params, tuner, task, *_ = random_case(5, n=3, K=2)
    parts = []
    for columns in [all_columns(2, 3), *column_blocks(2, 3, rows=4)]:
        at = initial_forward_state(params, task.theta_0, None, columns)
        for k in range(2):
            at = forward_step(params, tuner, task, k, at, columns)
        parts.append(at)
    whole, *blocks = parts
    assert_close(np.concatenate([b.G for b in blocks], axis=-1), whole.G, 1e-15)
    assert_close(np.concatenate([b.H for b in blocks], axis=-1), whole.H, 1e-15)


@pytest.mark.parametrize("mu", [1e-2, 1e-3, 1e-4])
def test_engines_agree_at_small_smoothing_within_the_rounding_of_the_estimate(mu):
    # f(θ + μu) − f(θ) carries errors of a few ε, which (6) divides by μ; log/sign divides by |g|.
    case = random_case(8, "squared_mean_tanh", "gaussian", mu=mu)
    want = oracle(*case)
    path = unroll(*case[:3], K=3)
    smallest = min(float(np.abs(g).min()) for g in path.g)
    assert smallest > 1e-2  # well above the kink at e^-10
    rounding = 100 * np.finfo(float).eps * float(np.max(want.val_loss)) / (mu * smallest)
    assert_same_gradient(adjoint(*case).grad, want.grad, rounding)
    assert_same_gradient(forward_mode(*case).grad, want.grad, rounding)
    # Both hand-written engines are fed the same estimate, bit for bit.
    assert_same_gradient(forward_mode(*case).grad, adjoint(*case).grad, 1e-11)


def test_long_unrolls_agree():
    case = random_case(2, "quadratic", K=25, n=5, d=4, output_scale=0.1)
    want = oracle(*case)
    assert_same_result(adjoint(*case), want)
    assert_same_result(forward_mode(*case), want)


def test_a_batch_gives_what_its_tasks_give_alone():
    case = random_case(4, "squared_sum_relu", "gaussian", batch=(3,), with_state=True)
    params, tuner, task, weights, state_0, _ = case
    together = adjoint(*case)
    for i in range(3):
        alone = task._replace(
            train=type(task.train)(*(a[i] for a in task.train)),
            val=type(task.val)(*(a[i] for a in task.val)),
            theta_0=task.theta_0[i],
            directions=task.directions[:, :, i],
        )
        state = type(state_0)(*(a[i] for a in state_0))
        one = adjoint(params, tuner, alone, weights, state)
        assert_close(together.theta[i], one.theta, 1e-12)
        for a, b in zip(together.grad, one.grad, strict=True):
            assert_close(a[i], b, 1e-12)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_sum_over_tasks_adds_the_tasks_gradients(batch):
    case = random_case(8, batch=batch)
    grad = adjoint(*case).grad
    total = sum_over_tasks(grad)
    assert total.W_x.shape == case.params.W_x.shape
    assert_close(flatten(total), np.reshape(flatten(grad), (-1, size(2, 2))).sum(axis=0), 1e-14)


def test_truncation_at_or_beyond_K_changes_nothing_and_below_it_does():
    case = random_case(9, K=4)
    full = adjoint(*case)
    for truncate in (4, 9):
        assert_same_result(adjoint(*case[:5], truncate=truncate), full, 1e-15)
        assert_same_result(forward_mode(*case[:5], truncate=truncate), full, 1e-12)
    with pytest.raises(AssertionError, match="gradients differ"):
        assert_same_gradient(adjoint(*case[:5], truncate=2).grad, full.grad, 1e-3)


def test_truncation_every_t_steps_is_the_sum_over_separate_unrolls():
    case = random_case(10, K=6, with_state=True)
    params, tuner, task, weights, state, _ = case
    total = 0.0
    for first in (0, 2, 4):
        part = adjoint(params, tuner, task, weights[first : first + 2], state)
        total = total + flatten(part.grad)
        task, state = task._replace(theta_0=part.theta), part.state
    for engine in (adjoint, forward_mode):
        assert_close(flatten(engine(*case[:5], truncate=2).grad), total, 1e-12)


def test_the_second_order_term_matters():
    case = random_case(12, "squared_sum_tanh_deep")
    without = case._replace(tuner=case.tuner._replace(second_order=False))
    with pytest.raises(AssertionError, match="gradients differ"):
        assert_same_gradient(adjoint(*without).grad, oracle(*case).grad, 1e-3)


def test_memory_estimate_grows_with_tasks_coordinates_and_precision_and_shrinks_with_blocks():
    whole = memory_bytes(d=7, m=2, n=3)
    assert memory_bytes(d=14, m=2, n=3) == memory_bytes(d=7, m=2, n=3, tasks=2) == 2 * whole
    assert memory_bytes(d=7, m=2, n=3, itemsize=4) == whole // 2
    by_rows = [memory_bytes(d=7, m=2, n=3, rows_per_block=rows) for rows in (1, 3, 6, 99)]
    assert by_rows == sorted(by_rows)
    assert by_rows[0] < whole
    assert by_rows[-2:] == [whole, whole]  # m + n + 1 = 6 rows are all of them


@pytest.mark.parametrize("rows_per_block", [None, 3])
def test_memory_estimate_is_the_measured_peak_within_a_quarter(rows_per_block):
    params, tuner, task, weights, *_ = random_case(0, d=60, n=8)
    arguments = (params, tuner, task, weights)
    forward_mode(*arguments, rows_per_block=rows_per_block)  # what is made once is not counted
    tracemalloc.start()
    try:
        forward_mode(*arguments, rows_per_block=rows_per_block)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    estimate = memory_bytes(d=60, m=2, n=8, rows_per_block=rows_per_block)
    assert peak == pytest.approx(estimate, rel=0.25)


@pytest.mark.parametrize("engine", [adjoint, forward_mode])
def test_an_empty_batch_of_tasks_gives_empty_results(engine):
    params, tuner, task, weights, *_ = random_case(0, batch=(2,))
    none = task._replace(
        theta_0=task.theta_0[:0],
        train=type(task.train)(*(a[:0] for a in task.train)),
        val=type(task.val)(*(a[:0] for a in task.val)),
    )
    result = engine(params, tuner, none, weights)
    assert result.meta_loss.shape == (0,)
    assert result.grad.W_h.shape == (0, *params.W_h.shape)


def test_steps_that_do_not_count_cost_no_validation_gradient():
    class Counting(NamedTuple):
        """A quadratic that notes how many θ its validation gradient is asked for."""

        asked: list[int]
        val: Data

        def value(self, theta, data):
            return Quadratic().value(theta, data)

        def grad(self, theta, data):
            if data is self.val:
                self.asked.append(theta.shape[0])
            return Quadratic().grad(theta, data)

        def hvp(self, theta, data, v):
            return Quadratic().hvp(theta, data, v)

    rng = np.random.default_rng(0)
    train, val = (Data(rng.normal(size=(4, 3)), rng.normal(size=4)) for _ in range(2))
    params = from_draws(rng.uniform(-1, 1, size(2, 3)), 2, 3)
    task = Task(Counting([], val), train, val, rng.normal(size=3))
    for weights, asked in (((0.0, 0.0, 2.0), 1), ((1.0, 0.0, 3.0), 2), ((1.0, 1.0, 1.0), 3)):
        found = adjoint(params, FineTuner(), task, weights)
        assert task.objective.asked.pop() == asked
        expected = forward_mode(params, FineTuner(), task, weights)
        np.testing.assert_allclose(flatten(found.grad), flatten(expected.grad), rtol=1e-9)
    nothing = adjoint(params, FineTuner(), task, (0.0, 0.0))
    np.testing.assert_array_equal(flatten(nothing.grad), 0.0)
