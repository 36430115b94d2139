from __future__ import annotations

import math

import numpy as np
import pytest

from lft_ref import adam, clip_by_norm, fine_tune, learned, sgd, unroll
from tests.helpers import assert_close
from tests.random_cases import random_case


def test_sgd_is_the_learning_rate_times_the_gradient():
    optimizer = sgd(0.5)
    state = optimizer.init(np.zeros(2))
    delta, state = optimizer.update(np.array([2.0, -4.0]), state)
    np.testing.assert_array_equal(delta, [1.0, -2.0])
    assert state == ()


def test_adam_by_hand():
    alpha, beta1, beta2, epsilon = 0.1, 0.8, 0.95, 1e-3
    optimizer = adam(alpha, beta1, beta2, epsilon)
    gradients = [[1.0, -2.0], [0.5, 3.0], [-1.0, 0.0], [4.0, 1e-3]]
    state = optimizer.init(np.zeros(2))
    for t in range(1, 5):
        delta, state = optimizer.update(np.array(gradients[t - 1]), state)
        for i in range(2):
            # The moments written out as weighted sums over all gradients so far.
            past = [(t - 1 - s, gradients[s][i]) for s in range(t)]
            mean = (1 - beta1) * sum(beta1**age * g for age, g in past) / (1 - beta1**t)
            square = (1 - beta2) * sum(beta2**age * g**2 for age, g in past) / (1 - beta2**t)
            want = alpha * mean / (math.sqrt(square) + epsilon)
            assert delta[i] == pytest.approx(want, rel=1e-13)
    assert state.updates == 4


def test_first_update_of_adam_has_the_size_of_the_learning_rate():
    optimizer = adam(1e-3)
    delta, _ = optimizer.update(np.array([1e-4, -1e4]), optimizer.init(np.zeros(2)))
    np.testing.assert_allclose(delta, [1e-3, -1e-3], rtol=2e-4)


def test_adam_leaves_the_state_it_was_given_alone():
    optimizer = adam(0.1)
    before = optimizer.init(np.zeros(2))
    optimizer.update(np.ones(2), before)
    assert before.updates == 0
    assert not before.mean.any()
    assert not before.square.any()


@pytest.mark.parametrize("m", [1, 2])
def test_learned_goes_the_way_of_the_unroll(m):
    params, tuner, task, *_ = random_case(0, "squared_mean_tanh", m=m)
    path = unroll(params, tuner, task, 6)
    seen = []
    theta = fine_tune(
        learned(params, tuner.cell),
        lambda theta: task.objective.grad(theta, task.train),
        task.theta_0,
        steps=6,
        monitor=lambda k, theta: seen.append((k, theta)),
    )
    np.testing.assert_array_equal(theta, path.theta[-1])
    assert [k for k, _ in seen] == list(range(7))
    for (_, got), want in zip(seen, path.theta, strict=True):
        np.testing.assert_array_equal(got, want)


def test_fine_tune_with_no_steps_returns_the_start():
    start = np.ones(3)
    assert fine_tune(sgd(0.1), lambda theta: theta, start, steps=0) is start


@pytest.mark.parametrize("optimizer", [sgd(0.3), adam(0.05)])
def test_hand_designed_optimizers_find_the_minimum(optimizer):
    target = np.array([1.0, -2.0])
    theta = fine_tune(optimizer, lambda theta: theta - target, np.zeros(2), steps=400)
    assert_close(theta, target, 1e-3)


def test_clipping_scales_what_is_too_long_and_leaves_the_rest():
    g = np.array([3.0, -4.0])
    assert_close(clip_by_norm(g, 1.0), g / 5.0, 1e-15)
    np.testing.assert_array_equal(clip_by_norm(g, 5.0), g)
    np.testing.assert_array_equal(clip_by_norm(g, 7.0), g)
    np.testing.assert_array_equal(clip_by_norm(0.0 * g, 1.0), 0.0 * g)


@pytest.mark.parametrize(("dtype", "size"), [("float32", 1e30), ("float64", 1e250)])
def test_what_is_too_long_to_be_squared_is_clipped_too(dtype, size):
    g = np.asarray([[3.0, -4.0], [0.3, 0.4]], dtype) * np.asarray([[size], [1.0]], dtype)
    wanted = np.asarray([[0.6, -0.8], [0.3, 0.4]])
    assert_close(clip_by_norm(g, 1.0, axis=-1), wanted, 1e-6)
    assert_close(clip_by_norm(g[0], 1.0), wanted[0], 1e-6)


def test_clipping_along_an_axis_is_clipping_every_row_by_itself():
    rows = np.random.default_rng(0).normal(size=(2, 3, 5)) * np.logspace(-3, 3, 6).reshape(2, 3, 1)
    got = clip_by_norm(rows, 1.0, axis=-1)
    for row, clipped in zip(rows.reshape(6, 5), got.reshape(6, 5), strict=True):
        np.testing.assert_array_equal(clipped, clip_by_norm(row, 1.0))
    assert np.max(np.linalg.norm(got, axis=-1)) == pytest.approx(1.0)
