"""Victims that users train for sources that have none in the package: Table 1 and beyond it."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("sklearn")  # the digits

from lft_validation.cli import main
from lft_validation.errors import UserError
from lft_validation.experiments.uap import beyond
from lft_validation.experiments.uap.config import make_config
from lft_validation.experiments.uap.run import JobKey, job_key, record
from lft_validation.experiments.uap.tasks import KEYS, pinned, victim_of
from lft_validation.victims import load_victim, save_victim, shipped
from lft_validation.victims_training import RECIPES
from tests.lft_validation import image_files
from tests.lft_validation.image_files import images, write_idx

TINY = (
    "--preset", "smoke", "--workers", "1", "--meta-tasks", "2", "--test-tasks", "4",
    "--lstm-units", "3", "--steps", "4", "--unroll", "2", "--order", "first",
    "--set", "table_step=3", "--long-steps", "10", "--methods", "LFT,Adam",
)  # fmt: skip


def stripes(count, shape, seed=0):
    """Images that are told apart at once: of class c two rows are bright."""
    found = images(count, shape, seed)
    pixels = found.pixels // 8
    for image, label in zip(pixels, found.labels, strict=True):
        image[:, 2 * label + 4 : 2 * label + 6] = 255
    return found._replace(pixels=pixels)


def lft(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)], catch_exceptions=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Tiny files of both sources, and victims trained on them."""
    place = tmp_path_factory.mktemp("place")
    data, victims = place / "data", place / "victims"
    for seed, prefix in enumerate(("train", "t10k")):
        write_idx(data / "fashion-mnist", prefix, stripes(80, (1, 28, 28), seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_files, "images", stripes)
        image_files.write_svhn(data / "svhn", train=80, test=40)
    for source in ("fashion-mnist", "svhn"):
        for network in ("lenet5", "mlp"):
            name = source + ("-mlp" if network == "mlp" else "")
            result = lft("victims", "train", source, "--network", network, "--epochs", 40,
                         "--data-dir", data, "--out", victims / f"{name}.npz")  # fmt: skip
            assert result.exit_code == 0, result.output
    return place


def given(place, *names):
    return [part for n in names for part in ("--victim", f"{n}={place / 'victims' / n}.npz")]


def test_victims_of_sources_without_one_are_trained(place):
    for source, shape in (("fashion-mnist", (1, 28, 28)), ("svhn", (3, 32, 32))):
        victim = load_victim(place / "victims" / f"{source}.npz")
        assert victim.about["source"] == source
        assert victim.about["shape"] == shape
        assert victim.about["train_images"] == 80
        assert victim.about["accuracy"] > 0.9
        assert not victim.about["official"]


@pytest.mark.usefixtures("undrawn")
def test_perturbations_are_followed_on_sources_with_victims_of_ones_own(
    place, tmp_path, monkeypatch
):
    monkeypatch.setattr(beyond, "find", lambda source: None)  # no others are here
    names = ("fashion-mnist", "fashion-mnist-mlp", "svhn", "svhn-mlp")
    result = lft("reproduce", "table1-beyond", *TINY, *given(place, *names),
                 "--data-dir", place / "data", "--out", tmp_path / "run")  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    unseen = {row["source"] for row in rows if row["unseen"] and row["method"] == "LFT"}
    assert unseen == {"fashion-mnist", "svhn"}
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert len(config["victims"]) == 4
    checks = [config["data"][s][k] for s in ("fashion-mnist", "svhn")
              for k in ("victim_sha256", "other_victim_sha256")]  # fmt: skip
    assert len(set(checks)) == 4
    assert all(len(check) == 64 for check in checks)


def test_table_1_itself_is_run_on_such_a_source(place, tmp_path):
    on = ("--set", 'training=["fashion-mnist"]', "--set", 'testing=["fashion-mnist"]')
    result = lft("reproduce", "table1", *TINY, *on, *given(place, "fashion-mnist"),
                 "--data-dir", place / "data", "--out", tmp_path / "run")  # fmt: skip
    assert result.exit_code == 0, result.output
    (lft_row, _) = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    assert lft_row["testing"] == "fashion-mnist"


def test_a_victim_of_ones_own_takes_the_place_of_the_packages_and_is_another_job(tmp_path):
    for name in "ab":
        trained = lft("victims", "train", "digits", "--epochs", 1, "--out", tmp_path / name)
        assert trained.exit_code == 0
    files = ((), (f"digits={tmp_path / 'a'}",), (f"digits={tmp_path / 'b'}",))
    configs = [make_config("smoke", {"victims": some}) for some in files]
    weights = [victim_of(config, "digits").weights for config in configs]
    assert not np.array_equal(weights[0], weights[1])
    key = JobKey("first order", "digits", "LFT", 0)
    keys = [job_key(config, key) for config in configs]
    assert keys[0] != keys[1] == keys[2]  # wherever the file lies


@pytest.mark.parametrize(("name", "value"), [("activation", "tanh"), ("pooling", "average")])
def test_the_same_weights_in_another_network_are_another_victim_and_another_job(
    tmp_path, name, value, monkeypatch
):
    monkeypatch.setattr(beyond, "find", lambda source: None)
    ours, keys, sums, beyond_keys = load_victim("digits"), set(), set(), set()
    for i, about in enumerate((ours.about, ours.about | {name: value})):
        save_victim(tmp_path / "mine.npz", ours._replace(about=about))
        for other in (ours.about, ours.about | {name: value}):
            save_victim(tmp_path / f"{i}.npz", ours._replace(about=other))
            files = (f"digits={tmp_path / 'mine.npz'}", f"digits-mlp={tmp_path / f'{i}.npz'}")
            config = make_config("smoke", {"victims": files})
            key = JobKey("first order", "digits", "LFT", 0)
            keys.add(job_key(config, key))
            sums.add(pinned(config).victim_sums)
            beyond_keys.add(beyond.beyond_key(config, key))
    assert (len(keys), len(sums), len(beyond_keys)) == (2, 4, 4)


def test_a_run_records_the_weights_and_the_network_of_its_victims(tmp_path):
    ours = load_victim("digits")
    found = record(make_config("smoke", {}), "digits")
    assert found["victim_sha256"] == hashlib.sha256(ours.weights.tobytes()).hexdigest()
    assert found["victim_settings"] == {
        "network": "small", "shape": [1, 8, 8], "activation": "relu", "pooling": "max"
    }  # fmt: skip


def test_a_file_is_read_whatever_its_name(tmp_path, monkeypatch):
    assert "digits" in shipped()
    ours = load_victim("digits")
    monkeypatch.chdir(tmp_path)
    save_victim(tmp_path / "digits", ours._replace(weights=2 * ours.weights))
    config = make_config("smoke", {"victims": ("digits=digits",)})
    np.testing.assert_array_equal(victim_of(config, "digits").weights, 2 * ours.weights)


@pytest.mark.parametrize(
    ("what", "arguments", "sentence"),
    [
        ("table1", ("--victim", "svhn"), "victims must be NAME=FILE, such as svhn=svhn.npz"),
        ("table1", ("--victim", "svhn="), "victims must be NAME=FILE"),
        ("table1", ("--victim", "cat=x.npz"), "names of victims must be some of mnist, cifar10"),
        ("table1", ("--victim", "svhn=x.npz", "--victim", "svhn=y.npz"), "each once"),
        ("table1", ("--victim", "svhn=x.npz"), "--victim svhn is not used: this run trains and"),
        ("table1", ("--victim", "digits-mlp=x.npz"), "not used: only table1-beyond shows pertur"),
        ("figureA4", ("--victim", "digits-mlp=x.npz"), "run lft reproduce table1-beyond"),
        ("table1", ("--victim", "digits=no.npz"), "digits=no.npz cannot be read: no.npz does not"),
        ("table1", ("--set", "testing=svhn"), "no victim for svhn is in the package"),
        ("table1-beyond", ("--victim", "svhn=x.npz"), "--victim svhn needs --victim svhn-mlp=FILE"),
        ("table1-beyond", ("--victim", "svhn-mlp=x.npz"), "needs --victim svhn=FILE beside it"),
        ("figure4", ("--victim", "svhn=x.npz"), "--victim does not apply to figure4"),
    ],
)
def test_wrong_usage_is_refused(tmp_path, what, arguments, sentence):
    result = lft("reproduce", what, "--preset", "smoke", *arguments, "--out", tmp_path / "run")
    assert result.exit_code == 2, result.output
    assert sentence in " ".join(result.output.split())
    assert not (tmp_path / "run").exists()


def test_a_victim_of_another_source_is_refused(place):
    config = make_config("smoke", {"victims": (f"svhn={place / 'victims' / 'fashion-mnist.npz'}",)})
    with pytest.raises(UserError, match="was trained on fashion-mnist; train one with: lft vict"):
        victim_of(config, "svhn")


def test_a_victim_that_guesses_is_refused(place, tmp_path):
    victim = load_victim(place / "victims" / "svhn.npz")
    save_victim(tmp_path / "bad.npz", victim._replace(about=victim.about | {"accuracy": 0.11}))
    config = make_config("smoke", {"victims": (f"svhn={tmp_path / 'bad.npz'}",)})
    with pytest.raises(UserError, match="is right on 11% of the test images, little better than"):
        victim_of(config, "svhn")


def test_every_source_that_victims_are_trained_on_has_a_key():
    assert set(RECIPES) == set(KEYS)
    assert {name.removesuffix("-mlp") for name in shipped()} <= set(KEYS)
