from __future__ import annotations

import numpy as np
import pytest

from lft_ref import FineTuner, flatten, unroll
from lft_ref.unroll import directions_at, fine_tune_step
from lft_validation.autodiff_restatement import estimate, rnn_step
from tests.helpers import assert_close
from tests.random_cases import ESTIMATORS, random_case


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("m", [1, 2])
def test_unroll_is_equation_3_step_by_step(estimator, m):
    params, tuner, task, _, state, _ = random_case(
        0, "squared_mean_tanh", estimator, K=4, m=m, with_state=True
    )
    path = unroll(params, tuner, task, 4, state)
    theta, (h, c) = task.theta_0, state
    for k in range(4):
        u = None if task.directions is None else task.directions[k]
        g = estimate(tuner.estimator, task.objective, theta, task.train, u)
        delta, h, c = rnn_step(flatten(params), m, params.n, tuner.cell, g, h, c)
        theta = theta - delta
        assert_close(path.g[k], g, 1e-11)
        assert_close(path.theta[k + 1], theta, 1e-11)
        assert_close(path.state[k + 1].h, h, 1e-11)
        assert_close(path.state[k + 1].c, c, 1e-11)


def test_trajectory_starts_at_theta_0_and_holds_one_entry_more_than_steps():
    params, tuner, task, *_ = random_case(1)
    path = unroll(params, tuner, task, 5)
    assert (len(path.theta), len(path.state), len(path.g)) == (6, 6, 5)
    assert path.theta[0] is task.theta_0
    assert not path.state[0].h.any()


def test_the_fine_tuner_sees_the_training_data_only():
    params, tuner, task, *_ = random_case(2)
    other = unroll(params, tuner, task._replace(val=task.train), 3)
    assert_close(other.theta[-1], unroll(params, tuner, task, 3).theta[-1], 0.0)


def test_an_unroll_goes_on_from_theta_and_state():
    params, tuner, task, *_ = random_case(3, estimator="gaussian", K=5)
    whole = unroll(params, tuner, task, 5)
    first = unroll(params, tuner, task, 2)
    rest = task._replace(theta_0=first.theta[-1], directions=task.directions[2:])
    second = unroll(params, tuner, rest, 3, first.state[-1])
    np.testing.assert_array_equal(second.theta[-1], whole.theta[-1])
    np.testing.assert_array_equal(second.state[-1].c, whole.state[-1].c)


def test_each_step_has_its_own_directions_and_first_order_has_none():
    _, _, task, *_ = random_case(4, estimator="gaussian")
    np.testing.assert_array_equal(directions_at(task, 2), task.directions[2])
    assert directions_at(task._replace(directions=None), 2) is None


def test_one_step_returns_the_gradient_that_it_used():
    params, tuner, task, _, state, _ = random_case(5, with_state=True)
    theta, _, g = fine_tune_step(
        params, tuner, task.objective, task.train, task.theta_0, state, None
    )
    assert_close(g, task.objective.grad(task.theta_0, task.train), 0.0)
    assert_close(theta, unroll(params, tuner, task, 1, state).theta[1], 0.0)


def test_second_order_is_kept_unless_dropped_on_purpose():
    assert FineTuner().second_order
