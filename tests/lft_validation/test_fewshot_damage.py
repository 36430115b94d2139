"""Files of a few-shot run that were damaged or edited are named, or computed again."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("sklearn")  # the digits

from lft_validation.cli import main

TINY = (
    "table2", "--preset", "smoke", "--workers", "1", "--meta-tasks", "2", "--test-tasks", "4",
    "--lstm-units", "3", "--steps", "4", "--unroll", "2", "--set", "table_step=4",
    "--set", 'training=["digits"]', "--set", 'testing=["digits"]', "--methods", "LFT,MAML",
)  # fmt: skip
LFT, MAML = (f"jobs/{method}-digits-5shot-seed0" for method in ("lft", "maml"))

pytestmark = pytest.mark.usefixtures("undrawn")


def lft(*arguments: str):
    return CliRunner().invoke(main, ["reproduce", *arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    result = lft(*TINY, "--out", str(out))
    assert result.exit_code == 0, result.output
    return out


def edited(finished, out, file: str, edit) -> None:
    """A copy of a finished run, with one of its files edited."""
    shutil.copytree(finished, out)
    with np.load(out / file) as archive:
        arrays = dict(archive)
    edit(arrays)
    np.savez(out / file, **arrays)


def to_nan(array):
    return np.full_like(array, np.nan)


BAD_FLAT = {
    "missing": ("lacks 'flat'", lambda a: a.pop("flat")),
    "too short": ("flat must have shape", lambda a: a.update(flat=a["flat"][:-1])),
    "a number": ("flat must have shape", lambda a: a.update(flat=a["flat"][0])),
    "a row": ("flat must have shape", lambda a: a.update(flat=a["flat"][None])),
    "nan": ("finite numbers, found nan", lambda a: a.update(flat=to_nan(a["flat"]))),
    "texts": ("real numbers, found <U", lambda a: a.update(flat=a["flat"].astype(str))),
    "complex": ("real numbers, found complex", lambda a: a.update(flat=a["flat"].astype(complex))),
    "whole": ("real numbers, found int", lambda a: a.update(flat=a["flat"].astype(int))),
    "losses": ("losses must hold finite", lambda a: a.update(losses=to_nan(a["losses"]))),
}


@pytest.mark.parametrize("job", [LFT, MAML])
@pytest.mark.parametrize("damage", BAD_FLAT)
def test_what_was_learned_is_named_if_it_is_damaged(finished, tmp_path, job, damage):
    message, edit = BAD_FLAT[damage]
    edited(finished, tmp_path / "r", f"{job}/learned.npz", edit)
    result = lft(*TINY, "--out", str(tmp_path / "r"), "--resume")
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert all(words in said for words in ("learned.npz", message, "delete it to compute it again"))


@pytest.mark.parametrize("damage", ["missing", "nan"])
def test_what_another_run_learned_is_computed_again_if_it_is_damaged(finished, tmp_path, damage):
    edited(finished, tmp_path / "beside", f"{LFT}/learned.npz", BAD_FLAT[damage][1])
    for test in (tmp_path / "beside").glob("jobs/*/test-*.npz"):
        test.unlink()
    out = tmp_path / "r"
    result = lft(*TINY, "--out", str(out), "--reuse", str(tmp_path / "beside"))
    assert result.exit_code == 0, result.output
    for file in (f"{LFT}/learned.npz", f"{LFT}/phi.npz", "results.json"):
        assert (out / file).read_bytes() == (finished / file).read_bytes()


def one(value: float, row: int):
    def edit(arrays):
        arrays["curves"][row, 1, 2] = value

    return edit


BAD_CURVES = {
    "found nan": one(np.nan, 1),
    "found inf": one(np.inf, 0),
    "accuracy must be from 0 to 1 in its curves, found 7": one(7.0, 0),
    "train_accuracy must be from 0 to 1 in its curves, found -1": one(-1.0, 2),
    "loss must be from 0 to 1e+06 in its curves, found -2": one(-2.0, 1),
}


@pytest.mark.parametrize("message", BAD_CURVES)
def test_curves_that_nothing_measured_are_named_and_not_taken_over(finished, tmp_path, message):
    edited(finished, tmp_path / "r", f"{LFT}/test-digits.npz", BAD_CURVES[message])
    result = lft(*TINY, "--out", str(tmp_path / "r"), "--resume")
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    out = tmp_path / "other"
    assert lft(*TINY, "--out", str(out), "--reuse", str(tmp_path / "r")).exit_code == 0
    rows = [json.loads((folder / "results.json").read_text())["rows"] for folder in (out, finished)]
    assert rows[0] == rows[1]


def test_parts_of_curves_are_checked_like_the_whole(finished, tmp_path):
    out = tmp_path / "r"
    edited(finished, out, f"{LFT}/test-digits.npz", one(7.0, 0))
    (out / LFT / "test-digits.npz").rename(out / LFT / "curves-test-digits-0000.npz")
    result = lft(*TINY, "--out", str(out), "--resume")
    assert result.exit_code == 2
    assert "curves-test-digits-0000.npz: accuracy must be from 0 to 1" in result.output
