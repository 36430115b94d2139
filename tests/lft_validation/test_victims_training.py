"""The training of a victim: its minibatches, and what is kept when it stops or runs away."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner

from lft_ref import NetworkLoss
from lft_validation import victims_training
from lft_validation.cli import main
from lft_validation.datasets import Dataset, load
from lft_validation.errors import CheckFailed, UserError
from lft_validation.victims_training import RECIPES, Recipe, minibatches, moved, train
from tests.lft_validation.image_files import images

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
SMALL = dataclasses.replace(RECIPES["digits"], epochs=1, batch=500)


def lft(*arguments):
    return CliRunner().invoke(main, ["victims", *map(str, arguments)])


def test_every_image_is_seen_once_an_epoch_in_an_order_that_changes():
    data = Dataset("x", "train", images(7, (1, 8, 8)), 255, "", False)
    recipe = Recipe("x", "small", batch=3)
    orders = []
    for epoch in (0, 1):
        batches = list(minibatches(recipe, data, epoch))
        assert [len(batch.y) for batch in batches] == [3, 3, 1]
        orders.append(np.concatenate([batch.y for batch in batches]).tolist())
        assert sorted(orders[-1]) == list(range(7))
        for batch in batches:
            np.testing.assert_array_equal(batch.x, data.scaled()[batch.y])
    assert orders[0] != orders[1]


def test_images_are_moved_and_mirrored_whole():
    pixels = np.zeros((200, 1, 8, 8), np.uint8)
    pixels[:, 0, 3, 2] = 9
    seen = moved(pixels, Recipe("x", shift=1, flip=True), np.random.default_rng(0))
    assert seen.shape == pixels.shape
    np.testing.assert_array_equal(seen.sum(axis=(1, 2, 3)), 9)
    where = {(int(i), int(j)) for i, j in np.argwhere(seen[:, 0].max(axis=0))}
    assert where == {(i, j) for i in (2, 3, 4) for j in (1, 2, 3, 4, 5, 6)}
    still = moved(pixels, Recipe("x"), np.random.default_rng(0))
    np.testing.assert_array_equal(still, pixels)


def weights_of(path):
    *_, last = path
    return last


def after(number, monkeypatch):
    """Press Ctrl-C in the gradient of a minibatch."""
    seen, grad = [], NetworkLoss.grad

    def interrupted(self, *arguments):
        seen.append(None)
        if len(seen) == number:
            raise KeyboardInterrupt
        return grad(self, *arguments)

    monkeypatch.setattr(NetworkLoss, "grad", interrupted)


@pytest.mark.parametrize("stops", [(2,), (4, 1, 3)])
def test_a_training_that_is_stopped_goes_on_to_the_same_bits(tmp_path, monkeypatch, stops):
    """Three minibatches in each of three epochs, images moved and mirrored."""
    recipe = dataclasses.replace(SMALL, epochs=3, shift=1, flip=True)
    data, file = load("digits", "train"), tmp_path / "checkpoint"
    whole = list(train(recipe, data))
    assert len(whole) == 9
    for number in stops:
        with monkeypatch.context() as patch:
            after(number, patch)
            with pytest.raises(KeyboardInterrupt):
                list(train(recipe, data, checkpoint=file))
    found = list(train(recipe, data, checkpoint=file))
    assert len(found) == 9
    np.testing.assert_array_equal(found[-1], whole[-1])
    with pytest.raises(UserError, match="belongs to another run"):
        next(train(dataclasses.replace(recipe, seed=9), data, checkpoint=file))


def test_a_training_that_is_left_or_killed_has_a_checkpoint(tmp_path, monkeypatch):
    data, file = load("digits", "train"), tmp_path / "checkpoint"
    path = train(SMALL, data, checkpoint=file)
    next(path)
    assert not file.exists()
    path.close()
    at_the_end = train(SMALL, data, checkpoint=file)
    rest = list(at_the_end)
    np.testing.assert_array_equal(rest[-1], weights_of(train(SMALL, data)))
    file.unlink()
    monkeypatch.setattr(victims_training, "CHECKPOINT_SECONDS", -1.0)
    path = train(SMALL, data, checkpoint=file)
    next(path)
    assert file.exists()  # whatever comes next


def test_the_command_stops_and_resumes(tmp_path, monkeypatch):
    arguments = ("train", "digits", "--epochs", 2, "--out", tmp_path / "mine.npz")
    assert lft(*arguments[:-1], tmp_path / "whole.npz").exit_code == 0
    assert lft(*arguments, "--resume").exit_code == 2
    with monkeypatch.context() as patch:
        after(30, patch)
        stopped = lft(*arguments)
    assert stopped.exit_code == 130
    assert "stopped; go on with the same command and --resume" in stopped.output
    assert not (tmp_path / "mine.npz").exists()
    again = lft(*arguments)
    assert again.exit_code == 2
    assert "is of a training that was stopped; add --resume" in again.output
    other = lft(*arguments, "--resume", "--seed", 7)
    assert other.exit_code == 2
    assert "belongs to another run" in other.output
    assert lft(*arguments, "--resume").exit_code == 0
    assert (tmp_path / "mine.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"mine.npz", "whole.npz"}


@pytest.mark.parametrize("updates", [10**15, 24])
def test_a_checkpoint_from_beyond_the_end_of_the_training_is_refused(tmp_path, updates):
    arguments = ("train", "digits", "--epochs", 1, "--out", tmp_path / "mine.npz")
    recipe, data = dataclasses.replace(RECIPES["digits"], epochs=1), load("digits", "train")
    file = tmp_path / "mine.npz.checkpoint"
    path = train(recipe, data, checkpoint=file)
    next(path)
    path.close()
    with np.load(file) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    with file.open("wb") as changed:
        np.savez(changed, **arrays | {"updates": np.asarray(updates)})
    result = lft(*arguments, "--resume")
    assert result.exit_code == 2, result.output
    said = f"updates must be at most 23, the minibatches of all epochs, found {updates}; delete it"
    assert said in " ".join(result.output.split())
    assert not (tmp_path / "mine.npz").exists()


def raising(error):
    def stop(*_):
        raise error

    return stop


@pytest.mark.parametrize(
    ("where", "error", "code", "words"),
    [
        ("victims_training.accuracy", KeyboardInterrupt(), 130, "stopped; go on with the same com"),
        ("victims.write_arrays", KeyboardInterrupt(), 130, "stopped; go on with the same command"),
        ("victims.write_arrays", OSError(28, "No space left on device"), 2,
         "mine.npz (No space left on device); the training is kept in "),
    ],
)  # fmt: skip
def test_a_training_at_its_end_is_not_lost(tmp_path, monkeypatch, where, error, code, words):
    arguments = ("train", "digits", "--epochs", 1, "--out", tmp_path / "mine.npz")
    assert lft(*arguments[:-1], tmp_path / "whole.npz").exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(f"lft_validation.{where}", raising(error))
        stopped = lft(*arguments)
    assert stopped.exit_code == code, stopped.output
    said = " ".join(stopped.output.split())
    assert words in said
    assert said.endswith("with the same command and --resume")
    assert not (tmp_path / "mine.npz").exists()
    assert (tmp_path / "mine.npz.checkpoint").exists()
    monkeypatch.setattr(victims_training, "_step", raising(AssertionError("trained again")))
    assert lft(*arguments, "--resume").exit_code == 0
    assert (tmp_path / "mine.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"mine.npz", "whole.npz"}


def test_a_training_that_is_stopped_before_it_starts_is_started_again(tmp_path, monkeypatch):
    monkeypatch.setattr(victims_training, "_start", raising(KeyboardInterrupt()))
    stopped = lft("train", "digits", "--out", tmp_path / "mine.npz")
    assert stopped.exit_code == 130
    assert "stopped; go on with the same command, from its start" in stopped.output


def test_training_that_diverges_says_so(monkeypatch):
    data = load("digits", "train")
    monkeypatch.setattr(
        victims_training, "network_from_draws", lambda network, _: np.full(network.size, np.nan)
    )
    with pytest.raises(CheckFailed, match="diverged in epoch 1 of 1, at minibatch 1 of "):
        list(train(SMALL, data))


def test_weights_that_are_not_finite_are_in_no_checkpoint(tmp_path, monkeypatch):
    data, file, step = load("digits", "train"), tmp_path / "checkpoint.npz", victims_training._step
    monkeypatch.setattr(victims_training, "CHECKPOINT_SECONDS", 0.0)

    def runs_away(loss, optimizer, state, batch):
        new = step(loss, optimizer, state, batch)
        return new._replace(flat=new.flat * (np.nan if new.adam.updates == 3 else 1.0))

    monkeypatch.setattr(victims_training, "_step", runs_away)
    with pytest.raises(CheckFailed, match="at minibatch 3 of "):
        list(train(SMALL, data, checkpoint=file))
    monkeypatch.setattr(victims_training, "_step", step)
    again, whole = list(train(SMALL, data, checkpoint=file)), list(train(SMALL, data))
    np.testing.assert_array_equal(again[-1], whole[-1])
    assert np.isfinite(again[0]).all()
