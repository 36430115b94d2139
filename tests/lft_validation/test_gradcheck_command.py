"""`lft gradcheck` passes what is right, and names what is planted wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from lft_ref import LSTMParams, adjoint, forward_mode
from lft_validation import gradcheck
from lft_validation.cases import Margins
from lft_validation.cli import main
from lft_validation.gradcheck import Row, check_one, settings
from lft_validation.gradcheck_tasks import Setting, build

SMOOTH = Setting("classes-tanh", "zeroth_order", "log_sign", True)


def lft(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["gradcheck", *map(str, arguments)])


def few(*chosen: Setting) -> Any:
    return lambda: list(chosen) or [Setting("quadratic", "first_order", "identity", True)]


def row(*errors: float, central: float | None = None) -> Row:
    return Row(SMOOTH, *errors, central=central, worst_array="W_x", near_kink=False)


def plant(engine: Any, field: str, change: float) -> Any:
    """An engine whose gradient is wrong in one array of Φ."""

    def wrong(*arguments: Any) -> Any:
        got = engine(*arguments)
        return got._replace(grad=got.grad._replace(**{field: change * getattr(got.grad, field)}))

    return wrong


def test_all_engines_agree_on_all_settings(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    result = lft("--json", file)
    assert result.exit_code == 0, result.output
    assert "all 32 gradients agree" in result.output
    assert max(len(line) for line in result.output.splitlines()) <= 80
    report = json.loads(file.read_text())
    assert report["agree"]
    assert len(report["rows"]) == 32
    for entry in report["rows"]:
        assert entry["forward_adjoint"] < 1e-11
        assert (entry["central"] is not None) == entry["second_order"]


def test_every_combination_has_a_row() -> None:
    assert len(set(settings())) == len(settings()) == 4 * 2 * 2 * 2


def test_json_alone_goes_to_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradcheck, "settings", few())
    report = json.loads(lft("--json", "-", "--seed", 4).output)
    assert (report["seed"], len(report["rows"])) == (4, 1)


@pytest.mark.parametrize("field", LSTMParams._fields)
def test_a_planted_wrong_gradient_is_named(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    monkeypatch.setattr(gradcheck, "settings", few(SMOOTH))
    monkeypatch.setattr(gradcheck, "adjoint", plant(adjoint, field, 1.0 + 1e-6))
    result = lft()
    assert result.exit_code == 1
    assert "1 of 1 gradients disagree" in result.output
    assert "classes-tanh, zeroth_order, log_sign, dg/dtheta kept" in result.output
    assert f"most in {field}" in result.output
    assert "forward and autodiff" not in result.output  # those two still agree


def test_a_wrong_forward_mode_is_told_from_a_wrong_adjoint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gradcheck, "settings", few())
    monkeypatch.setattr(gradcheck, "forward_mode", plant(forward_mode, "b", -1.0))
    result = lft()
    assert result.exit_code == 1
    assert "adjoint and autodiff" not in result.output


def test_central_differences_see_what_all_engines_share() -> None:
    case = build(SMOOTH, 0, 0)
    grad = adjoint(case.params, case.tuner, case.task, case.weights).grad
    assert gradcheck.central_difference(case, grad, 0, 0) < 1e-7
    wrong = grad._replace(W_h=1.01 * grad.W_h)
    assert gradcheck.central_difference(case, wrong, 0, 0) > gradcheck.CENTRAL_TOLERANCE


def test_a_row_agrees_when_all_its_differences_do() -> None:
    assert row(0.0, 0.0, 0.0).agrees()
    assert row(1e-9, 1e-9, 1e-9, central=1e-7).agrees()
    assert not row(1e-9, 1e-9, 1e-9).agrees(1e-10)
    assert not row(1e-7, 0.0, 0.0).agrees()
    assert not row(0.0, 0.0, math.inf).agrees()
    assert not row(0.0, 0.0, 0.0, central=1e-5).agrees()


def test_central_differences_alone_can_disagree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradcheck, "settings", few())
    monkeypatch.setattr(gradcheck, "central_difference", lambda *_: 1e-3)
    result = lft()
    assert result.exit_code == 1
    assert "central differences differ by 1.0e-03" in result.output


def test_an_infinite_difference_is_null_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradcheck, "settings", few())
    monkeypatch.setattr(gradcheck, "forward_mode", plant(forward_mode, "b", math.nan))
    result = lft("--json", "-")
    assert result.exit_code == 1
    report, _ = json.JSONDecoder().raw_decode(result.stdout)
    assert report["rows"][0]["forward_adjoint"] is None
    assert not report["agree"]


def test_a_kink_is_reported_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradcheck, "settings", few(SMOOTH))
    monkeypatch.setattr(gradcheck, "margins", lambda _: Margins(1e-9, 1.0))
    found = check_one(SMOOTH, build(SMOOTH, 0, 0), 0, 0)
    assert found.near_kink
    assert found.central is None
    result = lft()
    assert result.exit_code == 0
    assert "classes-tanh k" in result.output
    assert "k: so close to a kink" in result.output


def test_the_sine_task_is_a_wave_of_S28() -> None:
    task = build(Setting("sine-relu", "first_order", "identity", True), 3, 0).task
    r, z = (np.concatenate([a, b])[:, 0] for a, b in zip(task.train, task.val, strict=True))
    # A sin(r + ξ) = (A cos ξ) sin r + (A sin ξ) cos r: two numbers explain all points of both sets.
    basis = np.stack([np.sin(r), np.cos(r)], axis=-1)
    (across, up), *_ = np.linalg.lstsq(basis, z)
    np.testing.assert_allclose(basis @ [across, up], z, rtol=1e-12, atol=1e-12)
    assert 0.1 <= np.hypot(across, up) <= 5.0
    assert 0.0 <= np.arctan2(up, across) <= np.pi
    assert np.all(np.abs(r) <= 5.0)


def test_settings_draw_problems_of_their_own() -> None:
    one, two = (build(SMOOTH, 0, index) for index in (0, 1))
    assert not np.array_equal(one.task.theta_0, two.task.theta_0)
    np.testing.assert_array_equal(build(SMOOTH, 0, 1).task.theta_0, two.task.theta_0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seed", -1), "--seed must not be negative, found -1"),
        (("--tolerance", 0), "--tolerance must be between 0 and 1, found 0"),
        (("--tolerance", "nan"), "--tolerance must be between 0 and 1, found nan"),
        (("--tolerance", "tight"), "not a valid float"),
    ],
)
def test_wrong_usage_is_refused(arguments: tuple[object, ...], words: str) -> None:
    result = lft(*arguments)
    assert result.exit_code == 2
    assert words in result.output


def test_a_json_file_that_cannot_be_written_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gradcheck, "settings", few())
    result = lft("--json", tmp_path)
    assert result.exit_code == 2
    assert "cannot be written" in result.output
