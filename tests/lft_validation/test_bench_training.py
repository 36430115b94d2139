"""The judge of training: kinks are forgiven, and every mistake in the loop is caught."""

from __future__ import annotations

import numpy as np
import pytest

from lft_backends.backend import get_backend
from lft_ref import FineTuner, adam, flatten, initial_meta_state, train_on
from lft_validation.bench import ours, training
from lft_validation.bench.problems import CLIP, LEARNING_RATE, attack


@pytest.fixture(scope="module")
def problem():
    return attack("digits", K=4, updates=3)


@pytest.fixture(scope="module")
def judge(problem):
    return training.judge(problem, "float32")


def _found(problem, dtype="float32"):
    return ours.training("", problem, get_backend("numpy", dtype), "training")


def test_the_reference_trains_as_algorithm_1_does(problem):
    task, weights = problem.task, problem.weights
    optimizer = adam(LEARNING_RATE)
    start = initial_meta_state(problem.params, optimizer)
    meta, _ = train_on(start, FineTuner(), [task], weights, 12, optimizer, CLIP)
    contestant = _found(problem, "float64")
    found = contestant.read(contestant.run())
    np.testing.assert_array_equal(found.flat, flatten(meta.params))
    judge = training.judge(problem, "float64")
    np.testing.assert_array_equal(judge.right[-1].end.flat, flatten(meta.params))
    assert judge.error(contestant) == 0.0
    assert judge.bound < 1e-12


def test_float32_is_right_to_within_its_rounding(problem, judge):
    assert judge.bound < 1e-4
    assert 0.0 < judge.error(_found(problem)) <= judge.bound


def _without_carrying(contestant):
    """The cells of each update start anew."""

    def update(point):
        return contestant.update(point._replace(h=0.0 * point.h, c=0.0 * point.c))

    return contestant._replace(update=update)


PLANTS = {
    "clipped at 2": lambda patch: patch.setattr(ours, "CLIP", 2.0),
    "1 % longer steps": lambda patch: patch.setattr(ours, "LEARNING_RATE", 1.01 * LEARNING_RATE),
    "another momentum": lambda patch: patch.setattr(ours, "adam", lambda a: adam(a, beta1=0.89)),
    "another second moment": lambda patch: patch.setattr(
        ours, "adam", lambda a: adam(a, beta2=0.99)
    ),
    "a large ε": lambda patch: patch.setattr(ours, "adam", lambda a: adam(a, epsilon=1e-3)),
    "a later update's bias correction": lambda patch: patch.setattr(
        ours.AdamState, "__new__", lambda cls, n, *rest: tuple.__new__(cls, (n + 1, *rest))
    ),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_mistake_in_the_update_of_phi_is_caught(monkeypatch, problem, judge, plant):
    PLANTS[plant](monkeypatch)
    assert judge.error(_found(problem)) > judge.bound


@pytest.mark.parametrize(
    "change",
    [{"l1": 0.1201}, {"box": (-0.45, 0.5)}, {"clip": False}],
    ids=["λ", "box", "clipping"],
)
def test_a_mistake_in_the_loss_is_caught(problem, judge, change):
    objective = problem.task.objective._replace(**change)
    wrong = problem._replace(task=problem.task._replace(objective=objective))
    assert judge.error(_found(wrong)) > judge.bound


def test_a_mistake_in_what_is_carried_on_is_caught(problem, judge):
    assert judge.error(_without_carrying(_found(problem))) > judge.bound
    right = [*judge.right]
    for field in training.Point._fields:
        if field != "updates":
            off = [
                u._replace(end=u.end._replace(**{field: 1.001 * getattr(u.end, field)}))
                for u in right
            ]
            assert training.difference(off, right) > judge.bound, field


def test_one_kink_is_forgiven_but_nothing_that_is_not_finite(judge):
    right = [*judge.right]
    theta = right[0].end.theta.copy()
    theta[..., :9] += 1.0  # the pixels below one filter
    gradient = right[1].result._replace(flat=1.1 * right[1].result.flat)
    kinked = [
        right[0]._replace(end=right[0].end._replace(theta=theta)),
        right[1]._replace(result=gradient),
        right[2],
    ]
    assert training.difference(kinked, right) == 0.0
    lost = right[0].result._replace(value=float("nan"))
    assert training.difference([right[0]._replace(result=lost), *right[1:]], right) == float("inf")
