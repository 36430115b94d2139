"""`lft attack`: one perturbation from a few images, with a shipped Φ; files, table, bad input."""

from __future__ import annotations

import json
import tracemalloc
from functools import partial

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lft_backends.backend import get_backend
from lft_ref import Data
from lft_validation.attack import attempt, how_trained, memory_bytes
from lft_validation.attack_images import AttackImages, Wanted, from_source
from lft_validation.cli import main
from lft_validation.commands.attack import _tuner_for
from lft_validation.tuners import load_tuner, save_tuner, tuner_about
from lft_validation.victims import load_victim, logits, save_victim


def lft(*arguments):
    return CliRunner().invoke(main, ["attack", *map(str, arguments)])


def predicted(victim, x):
    return np.argmax(logits(victim.network, victim.weights, x.astype(np.float32)), axis=-1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One attack on the digits with all methods."""
    folder = tmp_path_factory.mktemp("attack") / "out"
    arguments = ("--source", "digits", "--classes", "3,8", "--method", "lft,adam,sgd,pgd")
    result = lft(*arguments, "--steps", 60, "--out", folder)
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_one_command_without_options_ends_in_a_picture_of_attacked_digits(tmp_path):
    result = lft("--steps", 5, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "out" / "attack.png") as picture:
        assert min(picture.size) > 300
    assert "victim digits, 5 steps" in result.output


@pytest.mark.usefixtures("undrawn")
def test_without_a_source_the_images_are_of_the_victims_own(tmp_path, monkeypatch):
    none, out = tmp_path / "none", tmp_path / "out"
    none.mkdir()
    for place in ("LFT_DATA", "XDG_CACHE_HOME"):
        monkeypatch.setenv(place, str(none))
    for victim in ("mnist", "cifar10-mlp"):
        result = lft("--victim", victim, "--out", out)
        source = load_victim(victim).about["source"]
        assert f"no {source} in {none}" in " ".join(result.output.split())
    file = tmp_path / "mine.npz"
    save_victim(file, load_victim("digits"))
    result = lft("--victim", file, "--steps", 1, "--out", out)
    assert result.output.splitlines()[0].startswith("digits, classes ")


def test_the_saved_perturbation_does_what_the_numbers_say(run):
    folder, _ = run
    report = json.loads((folder / "attack.json").read_text())
    victim = load_victim("digits")
    wanted = Wanted((3, 8), 2, 4, 0)
    images = from_source("digits", victim, wanted)
    with np.load(folder / "perturbation.npz") as saved:
        for made in report["attempts"]:
            theta = saved[made["method"]]
            assert theta.shape == (1, 8, 8)
            moved = np.clip(images.unseen.x + theta, -0.5, 0.5)
            said = predicted(victim, moved)
            assert said.tolist() == made["predicted_unseen"]
            rate = np.mean(said != images.unseen.y)  # all are right without θ
            assert made["at_the_end"]["val"] == pytest.approx(rate)
            assert made["at_the_end"]["strength"] == pytest.approx(np.abs(theta).mean(), rel=1e-5)
            assert made["largest"] == pytest.approx(np.abs(theta).max(), rel=1e-6)


def test_the_given_images_are_fooled_by_the_trained_fine_tuner(run):
    report = json.loads((run[0] / "attack.json").read_text())
    (lft_made,) = [a for a in report["attempts"] if a["method"] == "lft"]
    assert lft_made["by_step"]["train"][0] < 1.0
    assert lft_made["at_the_end"]["train"] == 1.0
    assert lft_made["at_the_end"]["val"] >= 0.5


def test_the_table_fits_80_columns_and_names_every_method(run):
    lines = [line for line in run[1].splitlines() if not line.startswith("written to")]
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if "%" in line] == ["lft", "adam", "sgd", "pgd"]


def test_what_is_drawn_is_classified_correctly_and_comes_from_both_splits():
    victim = load_victim("digits")
    images = from_source("digits", victim, Wanted(None, 3, 5, 7))
    assert images.given.x.shape == (6, 1, 8, 8)
    assert images.unseen.x.shape == (10, 1, 8, 8)
    for data in images[:2]:
        np.testing.assert_array_equal(predicted(victim, data.x), data.y)
        assert len(set(data.y.tolist())) == 2
    again = from_source("digits", victim, Wanted(None, 3, 5, 7))
    np.testing.assert_array_equal(images.given.x, again.given.x)
    other = from_source("digits", victim, Wanted(None, 3, 5, 8))
    assert not np.array_equal(images.given.x, other.given.x)


@pytest.mark.usefixtures("undrawn")
def test_as_a_black_box_the_victim_is_asked_q_plus_1_times_a_step(tmp_path):
    result = lft("--order", "zeroth", "--steps", 3, "--classes", "0,1", "--json", "-",
                 "--out", tmp_path / "out")  # fmt: skip
    report = json.loads(result.output)
    assert report["how"]["zeroth"]
    assert report["attempts"][0]["queries"] == 3 * 4 * (report["how"]["directions"] + 1)


def test_the_same_seed_gives_the_same_bits(tmp_path):
    for name in ("a", "b"):
        assert lft("--steps", 4, "--out", tmp_path / name).exit_code == 0
    for file in ("perturbation.npz", "attack.json", "attack.png"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize(
    ("source", "tuner"),
    [
        ("digits", "digits"),
        ("mnist", "mnist"),
        ("cifar10", "mnist+cifar10"),
        ("svhn", "mnist+cifar10"),
        ("fashion-mnist", "mnist+cifar10"),
        (None, "mnist+cifar10"),
    ],
)
def test_the_default_tuner_is_the_one_of_fewest_sources_that_knows_the_victims(source, tuner):
    assert _tuner_for(source) == tuner


@pytest.mark.parametrize("method", ["lft", "pgd"])
@pytest.mark.usefixtures("undrawn")
def test_every_backend_makes_the_same_perturbation(tmp_path, method):
    pytest.importorskip("numba")
    for backend in ("numpy", "numba", "strict"):
        result = lft("--steps", 4, "--method", method, "--backend", backend,
                     "--out", tmp_path / backend)  # fmt: skip
        assert result.exit_code == 0, result.output
    made = {b: np.load(tmp_path / b / "perturbation.npz")[method] for b in ("numpy", "strict")}
    np.testing.assert_array_equal(made["numpy"], made["strict"])
    fused = np.load(tmp_path / "numba" / "perturbation.npz")[method]
    np.testing.assert_allclose(fused, made["numpy"], atol=1e-5)


@pytest.mark.usefixtures("undrawn")
def test_settings_of_the_loss_come_from_the_tuner_and_can_be_changed(tmp_path):
    params, cell = load_tuner("digits")
    file = tmp_path / "mine.npz"
    save_tuner(file, params, cell, about={"config": {"kappa": 7.0, "clip_images": False}})
    how = how_trained(tuner_about(file), 5, False, 0)
    assert (how.kappa, how.clip) == (7.0, False)
    out = tmp_path / "out"
    assert lft("--tuner", file, "--steps", 2, "--l1", 0.5, "--out", out).exit_code == 0
    report = json.loads((out / "attack.json").read_text())
    assert (report["how"]["kappa"], report["how"]["l1"]) == (7.0, 0.5)
    assert report["tuner"] == str(file)


def test_the_penalty_makes_the_perturbation_smaller():
    victim, tuner, backend = load_victim("digits"), load_tuner("digits"), get_backend()
    images = from_source("digits", victim, Wanted((3, 8), 2, 4, 0))
    base = how_trained({}, 60, False, 0)
    small, large = (
        attempt("adam", victim, images, base._replace(l1=l1), tuner, backend).at("strength")
        for l1 in (0.5, 0.0)
    )
    assert small < 0.7 * large


@pytest.mark.parametrize(
    ("source", "shots", "unseen", "zeroth"),
    [("digits", 30, 2, False), ("digits", 2, 28, False), ("digits", 10, 2, True)],
)
def test_the_memory_of_an_attack_is_about_what_was_estimated(source, shots, unseen, zeroth):
    victim, tuner = load_victim(source), load_tuner("digits")
    images = from_source(source, victim, Wanted((3, 8), shots, unseen, 0))
    how = how_trained({}, 3, zeroth, 0)
    run = partial(attempt, "lft", victim, images, how, tuner, get_backend("numpy", "float32"))
    run()
    tracemalloc.start()
    run()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.6 < found / memory_bytes(victim, images, how, tuner[0].n) < 1.3


@pytest.mark.parametrize("arguments", [
    ("sgd", "--rate", "1e39"), ("adam", "--rate", "1e38"), ("sgd", "--l1", "1e38", "--rate", 100),
])  # fmt: skip
def test_a_perturbation_that_runs_away_is_said_to_have_diverged(tmp_path, arguments):
    out = tmp_path / "out"
    result = lft("--method", *arguments, "--classes", "3,8", "--steps", 5, "--out", out)
    assert result.exit_code == 0, result.output
    method = arguments[0]
    assert f"θ of {method} diverged: it is not finite any more; try a smaller --rate." in (
        " ".join(result.output.split())
    )
    (row,) = [line for line in result.output.splitlines() if " % of " in line]
    assert row.split()[-3:-1] == ["diverged", "diverged"]
    (made,) = json.loads((out / "attack.json").read_text())["attempts"]
    assert made["largest"] is None
    assert {p.name for p in out.iterdir()} == {"attack.json", "attack.png", "perturbation.npz"}
    with np.load(out / "perturbation.npz") as saved:
        assert not np.isfinite(saved[method]).all()
        if np.isnan(saved[method]).any():
            assert set(made["predicted_unseen"]) == {None}


def test_images_that_are_wrong_without_a_perturbation_do_not_count(tmp_path):
    victim = load_victim("digits")
    right = from_source("digits", victim, Wanted((3, 8), 2, 1, 0))
    wrong = Data(right.unseen.x, 9 - right.unseen.y)
    images = AttackImages(right.given, wrong, right.about)
    made = attempt("adam", victim, images, how_trained({}, 2, False, 0), load_tuner("digits"),
                   get_backend())  # fmt: skip
    assert np.isnan(made.at("val"))
    assert made.at("val_all") == 1.0
