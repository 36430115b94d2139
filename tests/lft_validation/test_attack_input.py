"""`lft attack`: what cannot be used is told in one sentence, before anything is computed."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from lft_validation import attack
from lft_validation.cli import main
from lft_validation.tuners import load_tuner, save_tuner


def lft(*arguments):
    return CliRunner().invoke(main, ["attack", *map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--source", "nothing"), "unknown data 'nothing'"),
        (
            ("--source", "omniglot", "--victim", "mnist"),
            "--source omniglot has 1623 classes, which no victim of 10 knows; choose one of mnist",
        ),
        (("--source", "miniimagenet", "--victim", "mnist"), "--source miniimagenet has 100 class"),
        (("--source", "svhn"), "no victim for svhn is in the package; train one with"),
        (("--victim", "mnist", "--source", "digits"), "1 x 8 x 8, but the victim mnist takes"),
        (("--backend", "abacus"), "unknown backend 'abacus'; choose one of"),
        (("--tuner", "nothing"), "no tuner 'nothing'; give a file, or one of: cifar10"),
        (("--method", "magic"), "--method must be some of lft, adam, sgd, pgd"),
        (("--classes", "3,x"), "--classes must be numbers such as 3,8, found '3,x'"),
        (("--classes", "3,3"), "--classes must be distinct numbers from 0 to 9, found 3,3"),
        (("--classes", "3,11"), "--classes must be distinct numbers from 0 to 9"),
        (("--shots", 0), "--shots must be at least 1, found 0"),
        (("--shots", 1000), "and 1000 are needed; use fewer --shots"),
        (("--unseen", 1000), "and 1000 are needed; use fewer --unseen"),
        (("--rate", -1), "--rate must be positive and finite"),
        (("--rate", 0.3), "--rate is of adam, sgd or pgd, found --rate 0.3 and --method lft, whic"),
        (("--data-dir", "/nowhere"), "--data-dir is '/nowhere', which is no folder; give one that"),
        (("--tuner", ""), "no tuner ''; give a file, or one of: cifar10"),
        (("--victim", ""), "no victim ''; give a file, or one of: cifar10"),
        (("--source", ""), "unknown data ''; choose one of mnist"),
        (("--kappa", -1), "--kappa must be finite and not negative"),
        (("--l1", "nan"), "--l1 must be finite and not negative"),
        (
            ("--data-dir", "."),
            "looked for, found --data-dir . and digits, which comes with scikit-learn; leave it",
        ),
        (
            ("--images", "x.npz", "--victim", "digits", "--data-dir", "."),
            "looked for, found --data-dir . and --images x.npz; leave it out",
        ),
        (("--images", "x.npz"), "--images needs --victim"),
        (("--images", "x.npz", "--source", "digits"), "give one of --source and --images"),
        (("--images", "x.npz", "--victim", "digits"), "x.npz does not exist"),
    ],
)
def test_bad_input_is_told_in_one_sentence(tmp_path, arguments, sentence):
    result = lft(*arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert sentence in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_an_attack_that_does_not_fit_into_memory_says_so_before_it_starts(tmp_path, monkeypatch):
    monkeypatch.setattr("lft_validation.experiments.usable.free_memory", lambda: 2**15)
    result = lft("--out", tmp_path / "out")
    assert result.exit_code == 2
    message = " ".join(result.output.split())
    assert "for 4 given and 8 unseen images, and" in message
    assert "GiB are free; use fewer --shots or --unseen" in message
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_if_the_picture_cannot_be_drawn(tmp_path, monkeypatch):
    def fail(*_arguments):
        raise RuntimeError("no font")

    monkeypatch.setattr("lft_validation.attack_picture.draw", fail)
    assert lft("--steps", 1, "--out", tmp_path / "out").exit_code == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_not_written_to(tmp_path):
    (tmp_path / "file").write_text("mine")
    result = lft("--out", tmp_path)
    assert result.exit_code == 2
    assert "exists and is not empty" in result.output


@pytest.fixture
def beside(monkeypatch):
    """Start a second attack with these arguments while a first one computes; the second's end."""
    first, ended = attack.attempt, []

    def start(*arguments):
        def computing(*given):
            monkeypatch.setattr(attack, "attempt", first)
            ended.append(lft(*arguments))
            return first(*given)

        monkeypatch.setattr(attack, "attempt", computing)
        return ended

    return start


@pytest.mark.usefixtures("noon", "undrawn")
def test_attacks_started_in_one_second_have_folders_of_their_own(tmp_path, monkeypatch, beside):
    monkeypatch.chdir(tmp_path)
    ended = beside("--steps", 1, "--seed", 1)
    assert lft("--steps", 1, "--seed", 0).exit_code == 0
    assert ended[0].exit_code == 0, ended[0].output
    files = sorted(tmp_path.glob("runs/*/attack.json"))
    assert [json.loads(f.read_text())["how"]["seed"] for f in files] == [0, 1]


@pytest.mark.usefixtures("undrawn")
def test_of_two_attacks_into_one_folder_the_second_is_refused(tmp_path, beside):
    out = tmp_path / "out"
    ended = beside("--steps", 1, "--seed", 1, "--out", out)
    assert lft("--steps", 1, "--seed", 0, "--out", out).exit_code == 0
    assert ended[0].exit_code == 2
    assert "another lft works in --out" in ended[0].output
    assert json.loads((out / "attack.json").read_text())["how"]["seed"] == 0


def test_a_tuner_whose_settings_make_no_sense_is_refused(tmp_path):
    params, cell = load_tuner("digits")
    file = tmp_path / "odd.npz"
    save_tuner(file, params, cell, about={"config": {"kappa": "three"}})
    result = lft("--tuner", file, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "the tuner's kappa must be a float, found 'three'" in result.output


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("kappa", float("nan"), "must be finite and not negative, found nan"),
        ("kappa", -5, "must be finite and not negative, found -5.0"),
        ("l1", -3.0, "must be finite and not negative, found -3.0"),
        ("l1", 10**400, "must be at most 1,000,000,000 in size, found 1000000"),
        ("initial_scale", float("inf"), "must be positive and finite, found inf"),
        ("mu", 0, "must be positive and finite, found 0.0"),
        ("directions", 0, "must be positive and finite, found 0"),
        ("directions", -5, "must be positive and finite, found -5"),
        ("directions", 10**400, "must be at most 1,000,000 in size, found 1000000"),
        ("clip_images", 1, "must be a bool, found 1"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_tuners_settings_have_the_bounds_of_a_run(tmp_path, name, value, words):
    params, cell = load_tuner("digits")
    file = tmp_path / "odd.npz"
    save_tuner(file, params, cell, about={"config": {name: value}})
    result = lft("--tuner", file, "--out", tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert f"the tuner's {name} {words}" in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()
