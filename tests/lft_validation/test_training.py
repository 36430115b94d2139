"""Meta-training stops cleanly, goes on to the same bits, and says so when it diverges."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lft_backends.backend import get_backend
from lft_ref import adam
from lft_validation.errors import UserError
from lft_validation.experiments import training
from lft_validation.experiments.training import Diverged, Learner, LearnerState, decaying, train
from lft_validation.files import read_arrays, write_arrays
from lft_validation.jobs import map_here
from lft_validation.stopping import Stopped

BACKEND = get_backend("numpy")


class Monitor:
    """Stops after so many looks."""

    map = staticmethod(map_here)

    def __init__(self, stop_after: int = 10**9) -> None:
        self.left, self.reports = stop_after, []

    def report(self, done: float) -> None:
        self.reports.append(done)

    def check(self) -> bool:
        self.left -= 1
        return self.left <= 0


def noisy_learner(bad_batch: int = -1) -> Learner:
    optimizer = decaying(adam(0.1), 12)

    def init() -> LearnerState:
        flat = np.ones(3)
        return LearnerState(flat, optimizer.init(flat))

    def update(state: LearnerState, batch: int, over):
        g = state.flat + np.random.default_rng(batch).normal(size=3)
        step, adam_state = optimizer.update(g, state.adam)
        loss = np.asarray(np.nan if batch == bad_batch else float(np.sum(g * g)))
        return LearnerState(state.flat - step, adam_state), loss

    def trace(state: LearnerState, batch: int) -> str:
        assert np.isfinite(state.flat).all()
        return f"batch number {batch} is bad"

    return Learner(init, update, trace)


def far_from(target: float):
    return lambda flat: float(np.sum((flat - target) ** 2))


@pytest.mark.parametrize("judge", [None, far_from(0.9)], ids=["last", "best"])
@pytest.mark.parametrize("stops", [(1,), (5,), (2, 3, 4), (12,)])
def test_training_that_was_stopped_goes_on_to_the_same_bits(tmp_path, stops, judge):
    learner, last = noisy_learner()._replace(judge=judge), (12, tmp_path / "b", "me", BACKEND)
    whole = train(learner, 12, tmp_path / "a", "me", BACKEND, Monitor(), 2.0)
    for count in stops:
        with pytest.raises(Stopped):
            train(learner, *last, Monitor(count), 2.0)
    parts = train(learner, *last, Monitor(), 2.0)
    np.testing.assert_array_equal(whole, parts)
    a, b = ((tmp_path / x / "checkpoint.npz").read_bytes() for x in "ab")
    assert a == b


@pytest.mark.parametrize("batches", [1, 7, 20, 43, 90])
def test_the_best_of_what_is_judged_is_taken(tmp_path, batches):
    judged = []

    def judge(flat):
        judged.append(flat)
        return far_from(0.9)(flat) if len(judged) % 3 else float("nan")  # NaN is never the best

    learner = noisy_learner()._replace(judge=judge)
    found = train(learner, batches, tmp_path / "a", "me", BACKEND, Monitor(), 2.0)
    values = [far_from(0.9)(flat) for flat in judged]
    values[2::3] = [np.inf] * len(values[2::3])
    assert len(judged) == min(batches, 20)
    np.testing.assert_array_equal(found, judged[int(np.argmin(values))])
    last = train(noisy_learner(), batches, tmp_path / "b", "me", BACKEND, Monitor(), 2.0)
    np.testing.assert_array_equal(judged[-1], last)


def test_where_nothing_is_usable_the_last_is_taken(tmp_path):
    learner = noisy_learner()._replace(judge=lambda _: float("inf"))
    found = train(learner, 5, tmp_path / "a", "me", BACKEND, Monitor(), 2.0)
    last = train(noisy_learner(), 5, tmp_path / "b", "me", BACKEND, Monitor(), 2.0)
    np.testing.assert_array_equal(found, last)


def test_a_checkpoint_without_the_best_so_far_is_refused(tmp_path):
    with pytest.raises(Stopped):
        train(noisy_learner(), 12, tmp_path, "me", BACKEND, Monitor(3), 2.0)
    judging = noisy_learner()._replace(judge=far_from(0.9))
    with pytest.raises(UserError, match="lacks 'best'"):
        train(judging, 12, tmp_path, "me", BACKEND, Monitor(), 2.0)


def test_checkpoints_are_written_while_training(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    monitor = Monitor()
    train(noisy_learner(), 3, tmp_path, "me", BACKEND, monitor, 2.0)
    assert (tmp_path / "checkpoint.npz").exists()
    assert monitor.reports == [2.0, 4.0, 6.0]


def test_divergence_names_the_batch_and_keeps_the_last_good_state(tmp_path):
    told = (
        "meta-training diverged at task batch 5 of 12: batch number 4 is bad; the last good "
        f"checkpoint, from before this batch, is {tmp_path / 'checkpoint.npz'};"
    )
    with pytest.raises(Diverged, match=re.escape(told)):
        train(noisy_learner(bad_batch=4), 12, tmp_path, "me", BACKEND, Monitor(), 1.0)
    good = train(noisy_learner(), 4, tmp_path / "good", "me", BACKEND, Monitor(), 1.0)
    np.testing.assert_array_equal(np.load(tmp_path / "checkpoint.npz")["flat"], good)


def test_a_checkpoint_of_another_job_is_refused(tmp_path):
    train(noisy_learner(), 2, tmp_path, "me", BACKEND, Monitor(), 1.0)
    with pytest.raises(UserError, match="belongs to another run"):
        train(noisy_learner(), 2, tmp_path, "you", BACKEND, Monitor(), 1.0)


def test_a_checkpoint_of_another_size_is_refused(tmp_path):
    train(noisy_learner(), 2, tmp_path, "me", BACKEND, Monitor(), 1.0)
    path = tmp_path / "checkpoint.npz"
    arrays = read_arrays(path, "lft-checkpoint-1", "me")
    write_arrays(path, "lft-checkpoint-1", "me", arrays | {"mean": np.zeros(2)})
    with pytest.raises(UserError, match=r"mean must have shape \(3,\), found \(2,\)"):
        train(noisy_learner(), 2, tmp_path, "me", BACKEND, Monitor(), 1.0)
    write_arrays(path, "lft-checkpoint-1", "me", {k: v for k, v in arrays.items() if k != "flat"})
    with pytest.raises(UserError, match="lacks 'flat'"):
        train(noisy_learner(), 2, tmp_path, "me", BACKEND, Monitor(), 1.0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("flat", np.asarray(["a", "b", "c"]), "flat must hold real numbers, found <U1"),
        ("flat", np.zeros(3, dtype=int), "flat must hold real numbers, found int64"),
        ("flat", np.asarray([0.0, np.nan, 0.0]), "flat must hold finite numbers, found nan"),
        ("square", np.asarray([0.0, -2.0, 0.0]), r"square must not be negative, found -2\.0"),
        ("updates", np.asarray(np.nan), "updates must be a whole number, .* found nan"),
        ("updates", np.asarray(1), "at least one for each of 2 losses, found 1; delete it"),
        ("losses", np.asarray(0.0), r"losses must have shape \(1,\), found \(\)"),
        ("losses", np.zeros(9), "updates must be .* 9 losses, found 2"),
    ],
)
def test_a_checkpoint_that_holds_nonsense_is_refused(tmp_path, name, value, message):
    train(noisy_learner(), 2, tmp_path, "me", BACKEND, Monitor(), 1.0)
    path = tmp_path / "checkpoint.npz"
    arrays = read_arrays(path, "lft-checkpoint-1", "me")
    write_arrays(path, "lft-checkpoint-1", "me", arrays | {name: value})
    with pytest.raises(UserError, match=message):
        train(noisy_learner(), 4, tmp_path, "me", BACKEND, Monitor(), 1.0)


def test_a_checkpoint_with_more_losses_than_batches_is_refused(tmp_path):
    train(noisy_learner(), 4, tmp_path, "me", BACKEND, Monitor(), 1.0)
    with pytest.raises(UserError, match="has 4 losses of 2 batches"):
        train(noisy_learner(), 2, tmp_path, "me", BACKEND, Monitor(), 1.0)


def test_the_rate_decays_from_its_full_value_to_nearly_nothing():
    optimizer = decaying(adam(1.0), 10)
    state, steps = optimizer.init(np.zeros(1)), []
    for _ in range(11):
        step, state = optimizer.update(np.ones(1), state)
        steps.append(float(step[0]))
    assert steps[0] == pytest.approx(1.0)
    assert steps[5] == pytest.approx(0.5)
    assert steps[10] == pytest.approx(0.0, abs=1e-12)
    assert steps == sorted(steps, reverse=True)
