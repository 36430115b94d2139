"""Learners take groups of tasks: of other shapes in one meta-batch, or by turns."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from lft_backends.backend import get_backend
from lft_ref import Data, FirstOrder, Quadratic, Task
from lft_validation.experiments.groups import Group
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


def learner(groups, settings=SETTINGS):
    return learned_learner(settings, make_tuner(BACKEND, "log_sign", 0.1), BACKEND, 0, groups)


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


def named(d: int, seed: int, first: int, last: int) -> Task:
    """Some of five tasks, from plain settings."""
    parts = one_by_one(tasks(5, d, seed))[first:last]
    train, val = (Data(*map(np.concatenate, zip(*data, strict=True)))
                  for data in zip(*((t.train, t.val) for t in parts), strict=True))  # fmt: skip
    return Task(Quadratic(), train, val, np.concatenate([t.theta_0 for t in parts]))


def directions(d: int, seed: int, first: int, last: int, steps: range) -> np.ndarray:
    """Directions of (6), keyed by step and task."""
    return np.stack(
        [np.random.default_rng((seed, k)).normal(size=(3, 5, d))[:, first:last, :] for k in steps]
    )


def elsewhere(function, items):
    """What goes to a worker and comes back is copied, and loses its place in memory."""
    for item in items:
        arguments = pickle.loads(pickle.dumps(item))  # noqa: S301 - our own
        yield pickle.loads(pickle.dumps(function(*arguments)))  # noqa: S301 - our own


def test_tasks_are_clipped_before_they_are_added_up_however_they_are_grouped():
    limit = 1e-3  # every task's gradient is longer
    each = SETTINGS._replace(task_clip=limit, clip=1e9)
    whole, _ = trained(learner(lambda batch: [tasks(3, 5, batch)], each), 1)
    parts, _ = trained(learner(lambda batch: one_by_one(tasks(3, 5, batch)), each), 1)
    np.testing.assert_allclose(parts, whole, rtol=1e-9)
    summed, _ = trained(
        learner(lambda batch: [tasks(3, 5, batch)], SETTINGS._replace(clip=limit)), 1
    )
    assert np.abs(whole - summed).max() > 1e-4
    alone, _ = trained(learner(lambda batch: [tasks(1, 5, batch)], each))
    as_sum, _ = trained(learner(lambda batch: [tasks(1, 5, batch)], SETTINGS._replace(clip=limit)))
    np.testing.assert_allclose(alone, as_sum, rtol=1e-9)


@pytest.mark.parametrize("task_clip", [0.0, 1e-3])
@pytest.mark.parametrize("mu", [None, 0.1])
def test_groups_worked_elsewhere_have_the_same_bits_as_tasks_here(mu, task_clip):
    tuner, cuts = make_tuner(BACKEND, "log_sign", 0.1, mu), [(0, 2), (2, 4), (4, 5)]
    settings = SETTINGS._replace(task_clip=task_clip)
    draw = None if mu is None else directions

    def groups(batch):
        return [Group(named, (7, batch, *cut), draw) for cut in cuts]

    def whole(batch):
        u = [None if draw is None else draw(7, batch, *cut, range(4)) for cut in cuts]
        made = [named(7, batch, *cut) for cut in cuts]
        return [t._replace(directions=d) for t, d in zip(made, u, strict=True)]

    sent, here = (learned_learner(settings, tuner, BACKEND, 0, g) for g in (groups, whole))
    state, same = sent.init(), here.init()
    for batch in range(3):
        state, loss = sent.update(state, batch, elsewhere)
        same, expected = here.update(same, batch)
        assert loss == expected
        np.testing.assert_array_equal(state.flat, same.flat)


def test_tasks_that_are_arrays_are_not_sent():
    def refuse(function, items):
        raise AssertionError("sent")

    method = learner(lambda batch: [tasks(2, 5, batch)])
    assert np.isfinite(method.update(method.init(), 0, refuse)[1])


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
