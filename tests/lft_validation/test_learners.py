"""Learners take groups of tasks: of other shapes in one meta-batch, or by turns."""

from __future__ import annotations

import numpy as np
import pytest

from lft_backends.backend import get_backend
from lft_ref import Data, FirstOrder, Quadratic, Task
from lft_validation.experiments.learners import (
    Algorithm1,
    MAMLSettings,
    learned_learner,
    learned_rule,
    make_tuner,
    maml_learner,
    shared,
)

BACKEND = get_backend("numpy")
SETTINGS = Algorithm1(
    batches=4, steps=4, unroll=2, weighting="every", lstm_units=3, learning_rate=0.01, clip=1.0
)
MAML = MAMLSettings(batches=4, inner_steps=2, alpha=0.1, learning_rate=0.01, decay=True, clip=1.0)


def tasks(count: int, d: int, seed: int) -> Task:
    rng = np.random.default_rng(seed)
    train, val = (Data(rng.normal(size=(count, 6, d)), rng.normal(size=(count, 6))) for _ in "12")
    return Task(Quadratic(), train, val, rng.normal(size=(count, d)))


def one_by_one(task: Task) -> list[Task]:
    def at(data: Data, i: int) -> Data:
        return Data(data.x[i : i + 1], data.y[i : i + 1])

    return [
        Task(task.objective, at(task.train, i), at(task.val, i), task.theta_0[i : i + 1])
        for i in range(len(task.theta_0))
    ]


def learner(groups):
    return learned_learner(SETTINGS, make_tuner(BACKEND, "log_sign", 0.1), BACKEND, 0, groups)


def trained(method, batches: int = 4):
    state, losses = method.init(), []
    for batch in range(batches):
        state, loss = method.update(state, batch)
        losses.append(float(loss))
    return state.flat, losses


def test_a_meta_batch_may_hold_tasks_of_several_shapes():
    mixed, losses = trained(learner(lambda batch: [tasks(2, 5, batch), tasks(1, 9, 50 + batch)]))
    small, _ = trained(learner(lambda batch: [tasks(2, 5, batch)]))
    large, _ = trained(learner(lambda batch: [tasks(1, 9, 50 + batch)]))
    assert np.isfinite(losses).all()
    assert not np.array_equal(mixed, small)
    assert not np.array_equal(mixed, large)


def test_shapes_may_take_turns():
    found, _ = trained(learner(lambda batch: [tasks(2, (5, 9)[batch % 2], batch)]))
    same, _ = trained(learner(lambda batch: [tasks(2, (5, 9)[batch % 2], batch)]))
    np.testing.assert_array_equal(found, same)


def test_groups_add_up_like_one_batch():
    whole, loss = trained(learner(lambda batch: [tasks(3, 5, batch)]), 1)
    parts, same = trained(learner(lambda batch: one_by_one(tasks(3, 5, batch))), 1)
    np.testing.assert_allclose(parts, whole, rtol=1e-9)
    assert same == pytest.approx(loss)


def maml(groups, settings=MAML):
    start = np.linspace(-1, 1, 5)
    return maml_learner(settings, FirstOrder(), BACKEND, lambda: start, groups)


def from_theta(task: Task, theta) -> Task:
    return task._replace(theta_0=shared(theta, len(task.theta_0), BACKEND))


def test_maml_takes_congruous_groups():
    whole, loss = trained(maml(lambda batch, theta: [from_theta(tasks(3, 5, batch), theta)]))
    parts, same = trained(
        maml(lambda batch, theta: [from_theta(t, theta) for t in one_by_one(tasks(3, 5, batch))])
    )
    np.testing.assert_allclose(parts, whole, rtol=1e-9)
    assert same == pytest.approx(loss)


def test_first_order_maml_goes_another_way():
    exact, _ = trained(maml(lambda batch, theta: [from_theta(tasks(3, 5, batch), theta)]))
    first, _ = trained(
        maml(
            lambda batch, theta: [from_theta(tasks(3, 5, batch), theta)],
            MAML._replace(second_order=False),
        )
    )
    assert np.abs(exact - first).max() > 1e-4


def test_a_learned_rule_serves_optimizees_of_any_size():
    tuner = make_tuner(BACKEND, "identity", 0.1)
    settings = SETTINGS._replace(lstm_units=2)
    flat = learned_learner(settings, tuner, BACKEND, 0, lambda _: []).init().flat
    rule = learned_rule(tuner, BACKEND, 2, flat)
    for d in (3, 7):
        theta = np.ones((2, d))
        delta, _ = rule.update(theta, rule.init(theta))
        assert delta.shape == (2, d)
