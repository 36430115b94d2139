"""`lft gradcheck` on what is built in: it passes, and says so in 80 columns, JSON and figures."""

from __future__ import annotations

import json
from itertools import islice

import numpy as np
import pytest
from click.testing import CliRunner

from lft_validation.cli import main
from lft_validation.gradcheck import derivatives, rows
from lft_validation.gradcheck.builtin import TASKS, Setting, build, settings
from lft_validation.gradcheck.subjects import subjects

ONE = ("quadratic", "--estimator", "first_order", "--preprocess", "log_sign")


def lft(*arguments):
    return CliRunner().invoke(main, ["gradcheck", *map(str, arguments)])


WORDS = [(e, p) for e in ("first_order", "zeroth_order") for p in ("log_sign", "identity")]
QUARTER = [(task, *WORDS[i % 4]) for i, task in enumerate(TASKS)]


@pytest.mark.no_cover
@pytest.mark.parametrize(("task", "estimator", "preprocess"), QUARTER)
def test_every_built_in_gradient_is_right_to_1e_8(task, estimator, preprocess, tmp_path):
    """A quarter of the combinations, every task in one: CI runs the command on all."""
    file = tmp_path / "report.json"
    result = lft(task, "--estimator", estimator, "--preprocess", preprocess, "--json", file)
    assert result.exit_code == 0, result.output
    assert "all 2 gradients are right" in result.output
    assert max(map(len, result.output.splitlines())) <= 80
    report = json.loads(file.read_text())
    assert report["passed"]
    assert len(report["rows"]) == 2
    for row in report["rows"]:
        assert row["worst_term"] <= 1e-8
        assert row["first_wrong"] is None
        assert (row["methods"]["central"] is not None) == row["second_order"]


def test_without_a_task_all_of_them_and_the_networks_are_checked(monkeypatch):
    """Two of each here: CI runs the command on all."""
    some, networks = settings()[:2], list(islice(subjects(), 2))
    monkeypatch.setattr(rows, "settings", lambda: some)
    monkeypatch.setattr(derivatives, "subjects", lambda *_: iter(networks))
    result = lft()
    assert result.exit_code == 0, result.output
    assert "all 2 gradients are right" in result.output
    assert "all 2 networks and losses are right" in result.output


def test_every_combination_has_a_row():
    both = [(e, p) for e in ("first_order", "zeroth_order") for p in ("identity", "log_sign")]
    assert set(settings()) == {
        Setting(task, *words, kept) for task in TASKS for words in both for kept in (True, False)
    }


def test_json_alone_goes_to_stdout():
    result = lft(*ONE, "--json", "-")
    assert result.exit_code == 0
    report = json.loads(result.output)
    assert [row["task"] for row in report["rows"]] == ["quadratic"] * 2
    assert "numpy" in report["versions"]
    terms = report["rows"][0]["terms"]
    assert {"term", "step", "error", "own", "worst", "found", "expected", "pattern"} <= set(
        terms[0]
    )


def test_detail_shows_every_term_at_every_step_within_80_columns():
    result = lft(*ONE, "--detail")
    assert result.exit_code == 0
    assert result.output.count("Statement 1: the blocks") == 2
    assert "∂g/∂θ" in result.output
    assert "Central differences of the meta-loss" in result.output
    assert max(map(len, result.output.splitlines())) <= 80


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_figure_is_written(tmp_path, ending):
    file = tmp_path / f"report.{ending}"
    assert lft(*ONE, "--plot", file).exit_code == 0
    assert file.stat().st_size > 10_000


def test_a_figure_that_cannot_be_written_is_refused(tmp_path):
    result = lft(*ONE, "--plot", tmp_path / "report.nonsense")
    assert result.exit_code == 2
    assert "--plot must end in .png, .svg, .pdf" in result.output


def test_a_json_file_that_cannot_be_written_is_refused(tmp_path):
    result = lft(*ONE, "--json", tmp_path)
    assert result.exit_code == 2
    assert "is a folder; give a file in it" in result.output


def test_a_strict_tolerance_fails_with_exit_code_1():
    result = lft(*ONE, "--tolerance", 1e-18)
    assert result.exit_code == 1
    assert "2 of 2 wrong." in result.output
    assert "The first wrong term is" in result.output


def test_the_sine_task_is_a_wave_of_S28():
    task = build(Setting("sine-relu", "first_order", "identity", True), 3, 0).task
    r, z = (np.concatenate([a, b])[:, 0] for a, b in zip(task.train, task.val, strict=True))
    # A sin(r + ξ) = (A cos ξ) sin r + (A sin ξ) cos r: two numbers explain all points of both sets.
    basis = np.stack([np.sin(r), np.cos(r)], axis=-1)
    (across, up), *_ = np.linalg.lstsq(basis, z)
    np.testing.assert_allclose(basis @ [across, up], z, rtol=1e-12, atol=1e-12)
    assert 0.1 <= np.hypot(across, up) <= 5.0
    assert 0.0 <= np.arctan2(up, across) <= np.pi
    assert np.all(np.abs(r) <= 5.0)


def test_settings_draw_problems_of_their_own():
    setting = Setting("classes-tanh", "zeroth_order", "log_sign", True)
    one, two = (build(setting, 0, index) for index in (0, 1))
    assert not np.array_equal(one.task.theta_0, two.task.theta_0)
    np.testing.assert_array_equal(build(setting, 0, 1).task.theta_0, two.task.theta_0)


def test_a_task_keeps_its_problem_when_it_is_checked_alone(monkeypatch):
    seen = []
    monkeypatch.setattr(rows, "quiet_check", lambda problem, *_: seen.append(problem))
    chosen = rows.chosen_settings("sine-tanh", "zeroth_order", "identity")
    assert len(list(rows.check_settings(chosen, 0))) == len(chosen) == 2
    again = build(chosen[1], 0, settings().index(chosen[1]))
    np.testing.assert_array_equal(seen[1].task.theta_0, again.task.theta_0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seed", -1), "--seed must not be negative, found -1"),
        (("--tolerance", 0), "--tolerance must be between 0 and 1, found 0"),
        (("--tolerance", "nan"), "--tolerance must be between 0 and 1, found nan"),
        (("--tolerance", "tight"), "not a valid float"),
        (("quadratic", "--plant", "cut"), "give one of TASK, --plant and --candidate"),
    ],
)
def test_wrong_usage_is_refused(arguments, words):
    result = lft(*arguments)
    assert result.exit_code == 2
    assert words in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("--plant", "list", "--json", "-"),
        ("--plant", "printed-9", "--estimator", "zeroth_order"),
        ("--plant", "printed-9", "--tolerance", "0.1"),
        ("--candidate", "math:sqrt", "--detail"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(arguments):
    result = lft(*arguments)
    assert result.exit_code == 2
    assert "does nothing beside" in result.output
