"""A meta-batch that diverged is traced to the step, the update and the tasks where it did."""

from __future__ import annotations

import numpy as np
import pytest

from lft_backends.backend import get_backend
from lft_ref import Data, FirstOrder, Quadratic, Task, adam, unflatten, unroll
from lft_validation.experiments.divergence import Unroll, in_unrolls
from lft_validation.experiments.learners import (
    Algorithm1,
    MAMLSettings,
    learned_learner,
    make_tuner,
    maml_learner,
    shared,
)
from lft_validation.experiments.training import LearnerState

BACKEND = get_backend("numpy")
STEPS, K, d = 12, 4, 3


@pytest.fixture(autouse=True)
def quiet():
    """As jobs compute: numbers are judged by their results."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        yield


def tasks(scales: tuple[float, ...], seed: int = 0) -> Task:
    """Quadratics; ``scales`` blows up D_val of one task or the other."""
    rng, s = np.random.default_rng(seed), np.asarray(scales)
    train, val = (Data(rng.normal(size=(len(s), 6, d)), rng.normal(size=(len(s), 6))) for _ in "12")
    val = Data(val.x * s[:, None, None], val.y)
    return Task(Quadratic(), train, val, rng.normal(size=(len(s), d)))


def learner(groups, learning_rate: float, weighting: str = "every"):
    settings = Algorithm1(
        batches=5,
        steps=STEPS,
        unroll=K,
        weighting=weighting,
        lstm_units=2,
        learning_rate=learning_rate,
        clip=1.0,
    )
    return learned_learner(settings, make_tuner(BACKEND, "identity", 0.1), BACKEND, 0, groups)


def finite_steps(task: Task, flat) -> list[bool]:
    """Which of the first K losses on D_val are finite in all tasks, from the unroll alone."""
    path = unroll(unflatten(flat, 1, 2), make_tuner(BACKEND, "identity", 0.1), task, K)
    losses = [task.objective.value(theta, task.val) for theta in path.theta[1:]]
    return [bool(np.isfinite(loss).all()) for loss in losses]


@pytest.mark.parametrize("weighting", ["every", "last"])
def test_the_first_bad_loss_is_named_with_step_update_and_tasks(weighting):
    groups = [tasks((1.0, 1.0), 1), tasks((1.0, 1e154), 2)]  # the last one's loss may overflow
    method = learner(lambda _: groups, 0.01, weighting)
    state = method.init()
    scale = 10.0 ** np.arange(0, 12, 0.02)  # of Φ's last layer, until step 1 is right and 3 is not
    flats = [np.concatenate([state.flat[:-3], s * state.flat[-3:]]) for s in scale]
    seen = [(flat, finite_steps(groups[1], flat)) for flat in flats]
    flat, good = next((flat, good) for flat, good in seen if good[0] and not good[2])
    first = good.index(False) + 1
    assert first > 1
    found = method.trace(LearnerState(flat, adam(0.01).init(flat)), 0)
    expected = f"the loss of fine-tuning step {first} of 12 (update 1 of 3 of Φ) is the first that"
    assert found == f"{expected} is not finite (inf, in 1 of 4 tasks)"


def test_an_update_that_is_too_long_is_seen_in_the_next_unroll():
    method = learner(lambda _: [tasks((1.0, 1.0))], 1e300)
    new, loss = method.update(method.init(), 0)
    assert not np.isfinite(loss)
    found = method.trace(method.init(), 0)
    assert found.startswith("the loss of fine-tuning step 5 of 12 (update 2 of 3 of Φ) is the")
    assert not np.isfinite(new.flat).all()


def met(params=1.0, losses=1.0, grads=1.0) -> Unroll:
    return Unroll(np.full(2, params), [np.ones((K, 1)), np.full((K, 2), losses)], [np.ones(2),
                  np.full(2, grads)])  # fmt: skip


@pytest.mark.parametrize(
    ("unrolls", "last", "told"),
    [
        ([met(), met(grads=np.inf)], np.nan, ("the losses of fine-tuning steps 5 to 8 of 8 are "
         "finite, but their gradient for Φ is not")),
        ([met(grads=np.nan), met(losses=np.nan)], np.nan, ("the losses of fine-tuning steps 1 to 4 "
         "of 8 are finite, but their gradient for Φ is not")),
        ([met(), met(params=np.inf, losses=np.nan)], np.nan, ("Φ is not finite after its update on "
         "fine-tuning steps 1 to 4 of 8")),
        ([met(), met()], np.inf, ("Φ is not finite after its update on fine-tuning steps 5 to 8 of "
         "8")),
        ([met(), met(losses=-np.inf)], 1.0, ("the loss of fine-tuning step 5 of 8 (update 2 of 2 "
         "of Φ) is the first that is not finite (-inf, in 2 of 3 tasks)")),
        ([met(), met()], 1.0, "run once more, it met no number that is not finite"),
    ],
)  # fmt: skip
def test_gradients_and_updates_are_told_from_losses(unrolls, last, told):
    assert in_unrolls(unrolls, np.full(2, last)) == told


def maml(alpha: float, groups, steps: int = 3):
    settings = MAMLSettings(5, steps, alpha, learning_rate=0.01, decay=True, clip=1.0)
    return maml_learner(settings, FirstOrder(), BACKEND, lambda: np.ones(d), groups)


def first_bad_step(task: Task, alpha: float) -> int:
    """Where gradient descent from ones loses its finite losses."""
    theta, first = np.ones(task.theta_0.shape), 0
    while np.isfinite(task.objective.value(theta, task.val)).all():
        theta, first = theta - alpha * task.objective.grad(theta, task.train), first + 1
    return first


@pytest.mark.parametrize("steps", [3, 5])
def test_the_inner_step_of_maml_is_named(steps):
    task = tasks((1.0, 1.0, 1.0))
    grid = 10.0 ** np.arange(50, 100, 0.1)  # the largest rate with which step 2 is still right
    alpha = next(a for a in reversed(grid) if first_bad_step(task, a) == 3)
    assert first_bad_step(task, 2 * alpha) == 2
    method = maml(alpha, lambda _, flat: [task._replace(theta_0=shared(flat, 3, BACKEND))], steps)
    assert not np.isfinite(method.update(method.init(), 0)[1])
    expected = f"the loss of inner step 3 of {steps} is the first that is not finite ("
    assert method.trace(method.init(), 0).startswith(expected)


def test_an_update_of_mamls_start_that_is_not_finite_is_told_from_its_losses():
    method = maml(0.01, lambda _, flat: [tasks((1.0,))._replace(theta_0=shared(flat, 1, BACKEND))])
    told = "the losses of inner steps 0 to 3 are finite, but the update of θ is not"
    assert method.trace(method.init(), 0) == told
