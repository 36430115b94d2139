"""Victims are trained to the same bits, and come back from their files or are refused."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pytest
from click.testing import CliRunner

from lft_validation.cli import main
from lft_validation.datasets import Dataset, load
from lft_validation.datasets_formats import Images
from lft_validation.errors import UserError
from lft_validation.files import read_arrays, write_arrays
from lft_validation.victims import (
    KIND,
    accuracy,
    load_victim,
    network,
    save_victim,
    shipped,
)
from lft_validation.victims_training import RECIPES, Recipe

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")


def lft(*arguments):
    return CliRunner().invoke(main, ["victims", *map(str, arguments)])


def test_the_same_command_gives_the_same_bits_and_another_seed_others(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        result = lft("train", "digits", "--epochs", 1, "--seed", seed, "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
        assert "of 360 test images right" in result.output
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c
    victim = load_victim(tmp_path / "a")
    assert victim.about["seed"] == 3
    assert victim.about["train_sha256"] == load("digits", "train").checksum


def test_the_largest_seed_comes_back_from_the_file(tmp_path):
    file, seed = tmp_path / "mine.npz", 2**64 - 1
    assert lft("train", "digits", "--epochs", 1, "--seed", seed, "--out", file).exit_code == 0
    assert load_victim(file).about["seed"] == seed


def test_a_perceptron_is_trained_as_a_victim_of_another_architecture(tmp_path):
    file = tmp_path / "mine.npz"
    assert lft("train", "digits", "--network", "mlp", "--epochs", 2, "--out", file).exit_code == 0
    victim = load_victim(file)
    assert victim.about["network"] == "mlp"
    assert victim.weights.size == 64 * 32 + 32 + 32 * 10 + 10
    assert victim.about["accuracy"] > 0.5
    with pytest.raises(ValueError, match=r"no network 'mlp' for images of shape \(1, 9, 9\)"):
        network("mlp", (1, 9, 9))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("imagenet",), "unknown data 'imagenet'; choose one of mnist, cifar10"),
        (("digits", "--epochs", 0), "epochs must be at least 1, found 0"),
        (("digits", "--learning-rate", 2), "learning_rate must lie between 0 and 1, found 2.0"),
        (("digits", "--seed", -1), "seed must not be negative, found -1"),
        (("digits", "--seed", 2**64), f"seed must be less than 2^64, found {2**64}; use a"),
        (("digits", "--data-dir", "/no"), "--data-dir is '/no', which is no folder; give one that"),
        (("digits", "--data-dir", "."), "found --data-dir . and digits, which comes with scikit-"),
        (("digits", "--out", "."), "--out . is a folder; give a file in it"),
        (
            ("digits", "--network", "vgg"),
            "--network must be one of lenet5, small, mlp, found 'vgg'",
        ),
        (("digits", "--network", "lenet5"), "LeNet-5 takes images of shape"),
    ],
)
def test_wrong_usage_is_refused(arguments, message):
    result = lft("train", *arguments)
    assert result.exit_code == 2
    assert message in result.output


# Files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "weights",
            np.full(1898, np.nan, "float32"),
            "weights must hold finite numbers, found nan",
        ),
        ("weights", np.zeros(3, "float32"), r"weights must have shape \(1898,\), found \(3,\)"),
        ("weights", None, "lacks 'weights'; give another file, or train"),
        ("network", np.asarray("vgg"), "no network 'vgg' for images"),
        ("activation", np.asarray("gelu"), "activation must be 'relu' or 'tanh', found 'gelu'"),
        ("recipe", np.asarray("{"), "is not a victim of ours"),
        pytest.param(
            "recipe", np.asarray("[" * 100_000), "is not a victim of ours", id="nested without end"
        ),
        ("accuracy", np.asarray("good"), "accuracy must be a number, found good"),
        ("accuracy", np.asarray(1e9), "accuracy must be from 0 to 1, found 1000000000.0; g"),
        ("accuracy", np.asarray(-0.1), r"accuracy must be from 0 to 1, found -0\.1"),
        ("shape", np.asarray([1, 8]), r"shape must have shape \(3,\)"),
        ("shape", np.asarray(["1", "8", "8"]), "shape must hold whole numbers"),
        ("shape", np.asarray([1.0, np.nan, 8.0]), "shape must hold whole numbers"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, name, value, message):
    path = tmp_path / "victim.npz"
    save_victim(path, load_victim("digits"))
    arrays = read_arrays(path, KIND)
    arrays[name] = value
    write_arrays(path, KIND, "", {k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(UserError, match=message):
        load_victim(path)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match=r"no victim 'cat'; give a file, or one of: .*digits"):
        load_victim("cat")


def test_networks_fit_their_images():
    with pytest.raises(ValueError, match=r"no network 'small' for images of shape \(1, 28, 28\)"):
        network("small", (1, 28, 28))


# Those in the package -----------------------------------------------------------------------------

WANTED = {"digits": 0.93, "mnist": 0.985, "cifar10": 0.62,
          "digits-mlp": 0.9, "mnist-mlp": 0.96, "cifar10-mlp": 0.4}  # fmt: skip


@pytest.mark.parametrize("name", shipped())
def test_shipped_victims_are_small_and_say_that_they_are_good_enough(name):
    victim = load_victim(name)
    assert victim.weights.dtype == np.float32
    assert victim.weights.nbytes < 400_000
    assert victim.about["accuracy"] >= WANTED[name]
    recipe = Recipe(**json.loads(victim.about["recipe"]))
    wanted = RECIPES[victim.about["source"]]
    if name.endswith("-mlp"):
        wanted = dataclasses.replace(wanted, network="mlp")
    assert recipe == wanted


def test_the_shipped_digits_victim_is_as_accurate_as_it_says():
    victim, data = load_victim("digits"), load("digits", "test")
    assert accuracy(victim.network, victim.weights, data) == pytest.approx(
        victim.about["accuracy"], abs=1.5 / 360
    )


def test_accuracy_counts_the_largest_logit():
    data = Dataset("x", "test", Images(np.zeros((3, 1, 8, 8), np.uint8), np.asarray([0, 1, 1])),
                   255, "", False)  # fmt: skip
    small = network("small", (1, 8, 8))
    weights = np.zeros(small.size, np.float32)
    weights[-9] = 1.0  # the bias of class 1
    assert accuracy(small, weights, data) == pytest.approx(2 / 3)


@pytest.mark.skipif("LFT_DATA" not in os.environ, reason="LFT_DATA is not set: no real data")
@pytest.mark.parametrize("name", [name for name in shipped() if "digits" not in name])
def test_shipped_victims_are_as_accurate_as_they_say_on_real_images(name):
    victim = load_victim(name)
    data = load(victim.about["source"], "test")
    if data.checksum != victim.about["test_sha256"]:
        pytest.skip("these are not the test images of the recorded accuracy")
    found = accuracy(victim.network, victim.weights, data)
    assert found == pytest.approx(victim.about["accuracy"], abs=1e-3)


def test_list_and_show_say_what_there_is(tmp_path):
    result = lft("list")
    assert result.exit_code == 0
    assert max(len(line) for line in result.output.splitlines()) <= 80
    for name in shipped():
        assert name in result.output
    assert set(json.loads(lft("list", "--json", "-").output)["victims"]) == set(shipped())
    result = lft("show", "digits")
    assert "train_sha256" in result.output
    assert json.loads(lft("show", "digits", "--json", "-").output)["source"] == "digits"
    assert lft("show", "nobody").exit_code == 2
