"""``lft bench``: a contestant that fails is a line, and what was measured before it is kept."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from lft_validation.bench import ours, run
from lft_validation.bench.contestant import ON_GPU, OURS, PLAIN, Missing
from lft_validation.bench.machine import Limits
from lft_validation.bench.problems import quadratic
from lft_validation.bench.timing import RunFailed, interleave
from lft_validation.cli import main
from tests.lft_validation.bench_stand_ins import Gpu, contestant, outcome, race


@pytest.fixture
def gpu(monkeypatch):
    return Gpu(monkeypatch)


def fails_at(call, error):
    calls = []

    def work():
        calls.append(1)
        if len(calls) == call:
            raise error

    return work


@pytest.mark.parametrize("call", [1, 2, 4])
@pytest.mark.parametrize(
    ("name", "family", "error"),
    [(ON_GPU, OURS, MemoryError("of the card")), ("JAX", "jax", RuntimeError("RESOURCE"))],
)
def test_out_of_memory_while_checked_or_timed_is_a_line(monkeypatch, call, name, family, error):
    fine = contestant("fine", "torch", lambda: None)
    race(monkeypatch, [contestant(name, family, fails_at(call, error)), fine])
    result = outcome()
    (line,) = result.missing
    assert line == Missing(name, f"{name} does not run here ({type(error).__name__}: {error})")
    (row,) = result.rows
    assert (row.name, result.base, row.ratio, result.rounds) == ("fine", "fine", 1.0, 3)


def test_a_fault_of_our_own_while_timed_is_not_hidden(monkeypatch):
    race(monkeypatch, [contestant(ON_GPU, OURS, fails_at(2, ValueError("shapes")))])
    with pytest.raises(ValueError, match="shapes"):
        outcome()


def test_all_contestants_may_fail(monkeypatch):
    race(monkeypatch, [contestant("JAX", "jax", fails_at(3, RuntimeError("lost")))])
    result = outcome()
    assert (result.rows, result.base, result.rounds) == ([], "", 0)
    assert result.missing[0].name == "JAX"


def test_a_problem_that_does_not_fit_on_the_card_is_a_line(gpu, monkeypatch):
    def send(*_):
        raise MemoryError("allocating 4,000,000,000 bytes")

    monkeypatch.setattr(ours, "send", send)
    (line,) = ours.contestants(quadratic(5), "float64", "adjoint", "gpu")
    assert line.name == ON_GPU
    assert "MemoryError: allocating 4,000,000,000 bytes" in line.reason


def test_a_run_that_fails_says_which():
    with pytest.raises(RunFailed) as caught:
        interleave([lambda: None, fails_at(2, RuntimeError("late"))], 0.0, 3)
    assert caught.value.index == 1
    assert str(caught.value.reason) == "late"


def test_what_was_measured_before_a_failure_is_written(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "limits", lambda *_, **__: Limits(1e9, 1e9))
    whole = run.run_case

    def run_case(case, problem, *rest):
        if problem.d == 6:
            raise RuntimeError("the driver is gone")
        return whole(case, problem, *rest)

    monkeypatch.setattr(run, "run_case", run_case)
    result = CliRunner().invoke(
        main, ["bench", "--case", "quadratic", "--d", "5", "--d", "6", "--steps", "2", "--peers",
               "none", "--dtype", "float64", "--repeats", "3", "--seconds", "0.1", "--threads",
               "1", "--out", str(tmp_path), "--json", str(tmp_path / "also.json")],
    )  # fmt: skip
    assert str(result.exception) == "the driver is gone"
    for name in ("bench.json", "also.json"):
        (case,) = json.loads((tmp_path / name).read_text())["cases"]
        assert case["d"] == 5
        assert PLAIN in {row["name"] for row in case["rows"] if row["median"] > 0.0}
