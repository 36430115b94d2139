"""Trained fine-tuners come back from their files as they were, or are refused."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from lft_ref import (
    Cell,
    Identity,
    LogSign,
    LSTMParams,
    fine_tune,
    from_draws,
    learned,
    size,
)
from lft_ref.params import shapes
from lft_validation.cli import main
from lft_validation.errors import UserError
from lft_validation.files import read_arrays, write_arrays
from lft_validation.tuners import (
    KIND,
    PURPOSES,
    load_tuner,
    other_purpose,
    save_tuner,
    shipped,
    tuner_about,
)


def _params(m, n):
    return from_draws(np.random.default_rng(0).uniform(-1, 1, size(m, n)), m, n)


@pytest.mark.parametrize("cell", [Cell(LogSign(7.0), 0.5), Cell(Identity(), 0.1)])
def test_a_tuner_survives_the_way_to_disk(tmp_path, cell):
    params = _params(cell.preprocess.m, 4)
    save_tuner(tmp_path / "phi.npz", params, cell, origin="me")
    loaded, found = load_tuner(tmp_path / "phi.npz")
    assert found == cell
    for a, b in zip(loaded, params, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", shipped())
def test_shipped_tuners_load_and_tell_uphill_from_downhill(name):
    params, cell = load_tuner(name)
    slopes = np.asarray([-30.0, -1.0, -0.1, 0.1, 1.0, 30.0])
    theta = fine_tune(learned(params, cell), lambda _: slopes, np.zeros(6), steps=10)
    assert np.all(theta[:3] > theta[3:])


@pytest.mark.parametrize("name", shipped())
def test_shipped_tuners_say_what_they_were_trained_for(name):
    assert tuner_about(name)["experiment"] in PURPOSES


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["attack", "--tuner", "sine", "--steps", "1", "--out", "out"],
         "note: tuner sine was trained for sine regression, and is used here for universal pert"),
        (["attack", "--tuner", "sine", "--steps", "1", "--method", "pgd", "--out", "out"], None),
        (["attack", "--tuner", "digits", "--steps", "1", "--out", "out"], None),
        (["finetune", "digits", "--tuner", "mnist", "--steps", "1", "--draws", "1"],
         "note: tuner mnist was trained for universal perturbations, and is used here for few-s"),
        (["finetune", "digits", "--steps", "1", "--draws", "1"], None),
        (["signal", "--tuner", "digits-classes", "--tasks", "3"],
         "note: tuner digits-classes was trained for few-shot classification, and is used here"),
        (["signal", "--tasks", "3"], None),
    ],
)  # fmt: skip
def test_a_command_says_that_a_tuner_was_trained_for_something_else(
    tmp_path, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert ("note: tuner" in result.stderr) == (words is not None)
    assert words is None or words in result.stderr


def test_a_tuner_that_says_nothing_of_its_training_is_used_without_a_word(tmp_path):
    save_tuner(tmp_path / "phi.npz", _params(2, 4), Cell(), about={"experiment": ["uap"]})
    assert other_purpose(tmp_path / "phi.npz", "fewshot") is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("w_o", np.full(4, np.nan), "w_o must hold finite numbers, found nan; give another file"),
        ("b", np.zeros(3), r"b must have shape \(16,\), found \(3,\); give another file, or train"),
        ("W_x", np.zeros((2, 16), dtype=int), "W_x must hold real numbers, found int64"),
        ("preprocess", np.asarray("cubic"), "must be log_sign or identity, found 'cubic'"),
        ("p", None, "lacks 'p'"),
        ("W_h", None, "lacks 'W_h'"),
        ("p", np.asarray(np.nan), "p must be a number from 0 to 80, found nan"),
        ("p", np.ones(2), r"p must have shape \(\), found \(2,\)"),
        ("output_scale", np.asarray("x"), "output_scale must be a number"),
        ("w_o", None, "lacks 'w_o'"),
        # inf at once where a long double is no more than a float64
        ("b", np.full(16, "1e4000", dtype=np.longdouble), "b must hold finite .* found inf"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, name, value, message):
    path = tmp_path / "phi.npz"
    save_tuner(path, _params(2, 4), Cell())
    arrays = read_arrays(path, KIND)
    arrays[name] = value
    write_arrays(path, KIND, "", {k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(UserError, match=message):
        load_tuner(path)


def test_what_a_file_says_of_itself_must_be_json(tmp_path):
    save_tuner(tmp_path / "phi.npz", _params(2, 4), Cell())
    arrays = read_arrays(tmp_path / "phi.npz", KIND)
    write_arrays(tmp_path / "phi.npz", KIND, "", arrays | {"about": np.asarray("[" * 100_000)})
    with pytest.raises(UserError, match="about must be a JSON object"):
        tuner_about(tmp_path / "phi.npz")


def test_a_whole_number_is_a_number(tmp_path):
    save_tuner(tmp_path / "phi.npz", _params(2, 4), Cell())
    arrays = read_arrays(tmp_path / "phi.npz", KIND) | {"p": np.asarray(10)}
    write_arrays(tmp_path / "phi.npz", KIND, "", arrays)
    assert load_tuner(tmp_path / "phi.npz")[1].preprocess == LogSign(10.0)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match="no tuner 'cosine'; give a file, or one of: "):
        load_tuner("cosine")


def test_a_tuner_without_a_hidden_unit_is_refused(tmp_path):
    none = LSTMParams(*(np.zeros(shape) for shape in shapes(2, 0)))
    save_tuner(tmp_path / "phi.npz", none, Cell())
    with pytest.raises(UserError, match="has no hidden unit"):
        load_tuner(tmp_path / "phi.npz")
