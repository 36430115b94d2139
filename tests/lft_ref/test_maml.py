from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft_ref import Data, FirstOrder, Quadratic, Task, maml_gradient
from lft_validation.autodiff_oracle import oracle_maml
from tests.helpers import assert_close, examples, relative_error
from tests.measuring import measured_once
from tests.random_cases import ESTIMATORS, OBJECTIVES, random_case


@pytest.mark.parametrize("objective", measured_once(OBJECTIVES))
def test_exact_and_first_order_maml_agree_with_the_oracle(objective):
    @examples(15)
    @given(
        seed=st.integers(0, 2**32 - 1),
        estimator=st.sampled_from(ESTIMATORS),
        K=st.integers(1, 4),
        batch=st.sampled_from([(), (2,), (2, 1)]),
        antithetic=st.booleans(),
        second_order=st.booleans(),
        alpha=st.sampled_from([1e-3, 5e-3]),  # small enough that no loss runs away
    )
    def check(seed, estimator, K, batch, antithetic, second_order, alpha):
        case = random_case(seed, objective, estimator, K=K, batch=batch, antithetic=antithetic)
        arguments = (case.task, alpha, K, case.tuner.estimator, second_order)
        got, want = maml_gradient(*arguments), oracle_maml(*arguments)
        for a, b in zip(got, want, strict=True):
            assert_close(a, b)

    check()


def test_one_step_on_a_quadratic_by_hand():
    rng = np.random.default_rng(0)
    train, val = (Data(rng.normal(size=(4, 3)), rng.normal(size=4)) for _ in range(2))
    theta, alpha = rng.normal(size=3), 0.1
    H = train.x.T @ train.x / 4
    theta_1 = theta - alpha * train.x.T @ (train.x @ theta - train.y) / 4
    val_grad = val.x.T @ (val.x @ theta_1 - val.y) / 4
    task = Task(Quadratic(), train, val, theta)
    got = maml_gradient(task, alpha, 1)
    assert_close(got.theta, theta_1, 1e-14)
    assert_close(got.grad, (np.eye(3) - alpha * H) @ val_grad, 1e-14)
    assert_close(maml_gradient(task, alpha, 1, second_order=False).grad, val_grad, 1e-14)


def test_the_gradient_is_the_default_estimator():
    case = random_case(1)
    got, want = maml_gradient(case.task, 0.1, 2), maml_gradient(case.task, 0.1, 2, FirstOrder())
    assert_close(got.grad, want.grad, 0.0)


def test_first_order_maml_differs_from_exact_maml():
    task = random_case(2, "squared_mean_tanh").task
    exact, approximate = (maml_gradient(task, 0.1, 3, second_order=s).grad for s in (True, False))
    assert relative_error(approximate, exact) > 1e-2


@pytest.mark.parametrize("second_order", [True, False])
@pytest.mark.parametrize("objective", ["quadratic", "squared_sum_relu", "cross_entropy_sum_tanh"])
def test_one_initialisation_is_shared_by_a_batch_of_tasks(objective, second_order):
    batch = random_case(3, objective, batch=(4,)).task
    shared = batch._replace(theta_0=batch.theta_0[0])
    got = maml_gradient(shared, 0.1, 3, second_order=second_order)
    assert got.meta_loss.shape == (4,)
    assert got.grad.shape == got.theta.shape == batch.theta_0.shape
    want = oracle_maml(shared, 0.1, 3, second_order=second_order)
    for a, b in zip(got, want, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("tasks", [2, 3])
def test_a_shared_initialisation_has_directions_of_each_task(tasks):
    """Also where there are as many directions as tasks, and one could be taken for the other."""
    case = random_case(3, "squared_sum_tanh", batch=(tasks,), estimator="gaussian", K=2)
    rng, theta = np.random.default_rng(0), case.task.theta_0[0]
    u = rng.normal(size=(2, 3, *case.task.theta_0.shape))
    own = case.task._replace(theta_0=np.stack([theta] * tasks), directions=u)
    estimator = case.tuner.estimator
    got = maml_gradient(own._replace(theta_0=theta), 0.1, 2, estimator)
    for a, b in zip(got, oracle_maml(own, 0.1, 2, estimator), strict=True):
        assert_close(a, b)
