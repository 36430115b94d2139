"""``lft bench``: right before fast, honest fits, one sentence for whoever cannot take part.

No test here looks at a clock: how fast anything is belongs into docs/performance.md.
"""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest
from click.testing import CliRunner

from lft_backends.backend import get_backend
from lft_ref import FineTuner, adjoint, flatten, forward_mode, sum_over_tasks
from lft_validation.bench import cases, compare, ours, run
from lft_validation.bench.bars import bars
from lft_validation.bench.cases import Options
from lft_validation.bench.contestant import FUSED, PLAIN, Contestant, Missing, Result
from lft_validation.bench.growth import fit, growth
from lft_validation.bench.machine import Limits, floor_seconds
from lft_validation.bench.memory import memory, peak
from lft_validation.bench.problems import attack, quadratic, sine
from lft_validation.bench.report import as_json, draw
from lft_validation.bench.run import Bench, CaseResult, Row
from lft_validation.bench.startup import startup
from lft_validation.bench.tables import show
from lft_validation.bench.timing import Times, interleave, ratio
from lft_validation.cli import main

SMALL = Options(
    cases=("quadratic",), dtypes=("float64",), d=(7,), steps=3, peers=(), seconds=0.0, repeats=3
)
QUIET = {"say": lambda _: None}


def _bench(*arguments):
    return CliRunner().invoke(main, ["bench", *arguments])


def _sound(result):
    """A contestant's stand-in: ``result`` without any work."""
    return Contestant("other", "jax", lambda: None, lambda _: result)


def test_the_judge_is_the_float64_reference_and_forgives_rounding_only():
    problem = quadratic(7, K=3)
    right = compare.judge(problem, "float64", "adjoint")
    found = adjoint(problem.params, FineTuner(), problem.task, problem.weights)
    np.testing.assert_array_equal(right.right.flat, flatten(found.grad))
    assert right.right.value == float(found.meta_loss)
    assert right.error(_sound(right.right)) == 0.0
    assert right.bound < 1e-11
    off = right.right._replace(flat=right.right.flat * (1 + 1e-9))
    assert right.error(_sound(off)) > right.bound
    assert right.error(_sound(right.right._replace(value=float("nan")))) == float("inf")
    assert compare.judge(problem, "float32", "adjoint").bound < 1e-3


@pytest.mark.parametrize("measure", ["adjoint", "forward"])
def test_a_wrong_contestant_is_named_and_not_timed(monkeypatch, measure):
    timed = []
    wrong = Contestant(
        "sloppy", "jax", lambda: timed.append(1), lambda _: Result(0.0, np.ones(531))
    )
    case = cases.Case("quadratic", "quadratic", measure, lambda: quadratic(5, K=2))
    fields = cases.contestants

    def field(*arguments):
        return [*fields(*arguments), wrong, Missing("PyTorch", "torch is not installed")]

    monkeypatch.setattr(cases, "contestants", field)
    result = run.run_case(case, "float64", SMALL, Limits(1e9, 1e9), **QUIET)
    rows = {row.name: row for row in result.rows}
    assert not rows["sloppy"].right
    assert rows["sloppy"].median is None
    assert len(timed) == 1, "once to be compared, and never again"
    assert rows[PLAIN].right
    assert rows[PLAIN].median > 0.0
    assert result.missing == [Missing("PyTorch", "torch is not installed")]


@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (lambda: quadratic(6, K=3, n=4, tasks=2), "float64"),
        (lambda: quadratic(6, K=3, n=4), "float32"),
        (lambda: sine(2, K=2, hidden=(5, 4)), "float64"),
        (lambda: attack("digits", K=2), "float64"),
    ],
    ids=["quadratic", "quadratic, float32", "sine", "attack"],
)
@pytest.mark.parametrize("name", ["jax", "torch"])
def test_every_peer_finds_what_the_reference_finds(name, make, dtype):
    pytest.importorskip(name, reason="the extra 'bench' is not installed")
    problem = make()
    judge = compare.judge(problem, dtype, "adjoint")
    field = cases.load_peer(name).contestants(problem, dtype, "adjoint")
    assert len(field) == 2
    for contestant in field:
        assert judge.error(contestant) <= judge.bound, contestant.name


@pytest.mark.parametrize("measure", ["forward", "training"])
def test_jax_finds_what_the_reference_finds_in_the_other_measures(monkeypatch, measure):
    pytest.importorskip("jax", reason="the extra 'bench' is not installed")
    jax_peer = importlib.import_module("lft_validation.bench.peers_jax")
    for module in (ours, jax_peer):
        monkeypatch.setattr(module, "TRAINING_STEPS", 6)
    problem = quadratic(6, K=3, n=4)
    judge = compare.judge(problem, "float64", measure)
    for contestant in jax_peer.contestants(problem, "float64", measure):
        assert judge.error(contestant) <= judge.bound, contestant.name


def test_the_compiler_of_a_peer_may_be_late_or_broken(monkeypatch):
    torch = pytest.importorskip("torch", reason="the extra 'bench' is not installed")
    import time

    from lft_validation.bench import peers_torch

    problem = quadratic(6, K=2)
    monkeypatch.setattr(torch, "compile", lambda *_, **__: lambda *_: time.sleep(5.0))
    late = peers_torch._compiled(problem, "float32", "cpu", 0.2)
    assert "--compile-seconds" in late.reason

    def broken(*_, **__):
        raise RuntimeError("no compiler\nat all")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: broken)
    found = peers_torch._compiled(problem, "float32", "cpu", 60.0)
    assert found.reason == "torch.compile does not work here (no compiler)"


def test_forward_mode_and_adjoint_are_the_same_contestant_but_for_the_engine():
    problem = quadratic(4, K=3, tasks=2)
    found = [
        ours.contestant("", problem, get_backend("numpy"), measure) for measure in ours.ENGINES
    ]
    one, other = (c.read(c.run()) for c in found)
    assert one.value == pytest.approx(other.value, rel=1e-12)
    np.testing.assert_allclose(one.flat, other.flat, rtol=1e-9, atol=1e-12)
    exact = forward_mode(problem.params, FineTuner(), problem.task, problem.weights)
    np.testing.assert_array_equal(other.flat, flatten(sum_over_tasks(exact.grad)))


def test_rounds_begin_with_another_contestant_each_time():
    order = []
    times = interleave([lambda i=i: order.append(i) for i in range(3)], 1e9, 4)
    assert order == [0, 1, 2, 1, 2, 0, 2, 0, 1, 0, 1, 2]
    assert [len(t.wall) for t in times] == [4, 4, 4]
    fewest = interleave([lambda: None], 0.0, 100)
    assert len(fewest[0].wall) == 3


def test_ratios_are_taken_round_by_round():
    base = Times(np.asarray([1.0, 2.0, 4.0, 8.0]), np.zeros(4))  # the machine gets slower
    peer = Times(3.0 * base.wall, np.zeros(4))
    assert ratio(peer, base) == (3.0, 3.0, 3.0)
    assert base.median == 3.0
    assert base.quartiles == (1.75, 5.0)


def test_exponents_are_those_of_synthetic_times_with_an_interval_that_covers():
    sizes = (10, 20, 40, 80, 160)
    exponent, low, high = fit(sizes, [3.0 * s**1.5 for s in sizes])
    assert (exponent, low, high) == pytest.approx((1.5, 1.5, 1.5))
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        noisy = [s**1.0 * np.exp(rng.normal(0.0, 0.1)) for s in sizes]
        _, low, high = fit(sizes, noisy)
        covered += low <= 1.0 <= high
    assert abs(covered / 400 - 0.95) <= 4 * np.sqrt(0.95 * 0.05 / 400)
    with pytest.raises(ValueError, match="at least three sizes"):
        fit((1, 2), (1.0, 2.0))


def test_growth_measures_every_backend_at_every_size():
    found = growth("n", "float64", 0.0, 3, sizes=(1, 2, 3))
    assert {g.name for g in found} >= {PLAIN}
    assert all(len(g.seconds) == 3 and min(g.seconds) > 0.0 for g in found)


def test_peak_memory_is_counted_and_forward_mode_needs_no_more_for_more_steps():
    assert peak(lambda: np.ones(10_000)) == pytest.approx(80_000, rel=0.05)
    found = {m.engine: m for m in memory(lengths=(16, 32, 64, 128))}
    forward, adjoint_ = found["forward mode"], found["adjoint"]
    assert max(forward.peaks) <= 1.01 * forward.peaks[0]
    assert 0.9 <= adjoint_.exponent <= 1.1


def test_the_floor_counts_multiplications_by_hand():
    # n = 1, m = 2: gates twice and Φ̄ are 4 × 4 multiply-adds each, cotangents of (h, x) 4 × 3
    seconds, traffic = floor_seconds(Limits(2.0, 8.0), m=2, n=1, itemsize=8)
    assert seconds == 3 * 16 + 12
    assert traffic == 10 * 1 + 12


def _result(case="quadratic", d=20_000, dtype="float32", **ratios):
    family = {FUSED: "lft_ref", PLAIN: "lft_ref"}
    rows = [
        Row(name, family.get(name, "jax"), 0.0, True, 1.0, 0.9, 1.1, 1.0, 100.0, r, r, r)
        for name, r in ratios.items()
    ]
    return CaseResult(case, case, dtype, d, 1, 20, 10, 1e-5, 5, FUSED, rows, [], (1e-9, 2e-9))


@pytest.mark.parametrize(
    ("case", "d", "dtype", "peer", "plain", "holds"),
    [
        ("quadratic", 20_000, "float32", 2.6, 2.5, [True, True]),
        ("quadratic", 20_000, "float32", 2.4, 2.5, [False, False]),
        ("quadratic", 20_000, "float64", 2.1, 3.0, [True, True]),
        ("quadratic", 784, "float32", 1.1, 1.6, [True, True]),
        ("quadratic", 784, "float32", 0.9, 1.6, [False, False]),
        ("sine", 1761, "float32", 2.4, 3.0, [False, True]),
        ("training", 784, "float32", 2.9, 9.0, [False]),
        ("training", 784, "float32", 3.1, 9.0, [True]),
        ("forward", 64, "float32", 0.1, 9.0, []),
    ],
)
def test_bars_are_those_that_the_project_set_itself(case, d, dtype, peer, plain, holds):
    result = _result(case, d, dtype, **{FUSED: 1.0, PLAIN: plain, "JAX": peer, "slow": 9.0})
    judged = bars(Bench({}, {}, [result], [], [], []))
    assert [bar.holds for bar in judged] == holds


def test_bars_of_growth_memory_and_start_up():
    from lft_validation.bench.growth import Growth
    from lft_validation.bench.memory import Memory
    from lft_validation.bench.startup import Start

    grown = [Growth("d", FUSED, "float32", (1, 2, 4), (1.0,) * 3, e, e, e) for e in (1.09, 1.11)]
    grown.append(grown[0]._replace(axis="n", exponent=2.0))  # nothing is demanded of n
    peaks = [
        Memory("forward mode", 4, (1, 2), (100, 100), 0.0),
        Memory("forward mode", 4, (1, 2), (100, 110), 0.1),
        Memory("adjoint", 4, (1, 2), (100, 200), 1.0),
        Memory("adjoint, recomputing", 4, (1, 2), (100, 141), 0.5),
    ]
    starts = [Start("fused backend, first use", 21.0, 20.0), Start("python", 99.0, 99.0)]
    judged = bars(Bench({}, {}, [], grown, peaks, starts))
    assert [bar.holds for bar in judged] == [True, False, True, False, True, False]


def test_start_up_times_are_of_programs_that_ran(monkeypatch):
    from lft_validation.bench import startup as module

    monkeypatch.setattr(module, "NUMBA_ONCE", "pass")
    names = [start.name for start in startup("float32", repeats=1)]
    assert names[1:3] == ["import lft_ref", "lft --help"]
    monkeypatch.setattr(module, "PROGRAMS", {"broken": "raise SystemExit('no')"})
    with pytest.raises(RuntimeError, match="broken failed: no"):
        startup("float32", repeats=1)


def test_json_has_its_form_and_tables_fit_80_columns(tmp_path):
    file = tmp_path / "bench.json"
    result = _bench(
        "--case", "quadratic", "--d", "7", "--steps", "2", "--peers", "none", "--dtype", "float64",
        "--repeats", "3", "--seconds", "0.1", "--json", str(file), "--out", str(tmp_path / "out"),
        "--threads", "1",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert max(map(len, result.output.splitlines())) <= 80
    found = json.loads(file.read_text())
    assert found["format"] == "lft-bench-1"
    assert found["about"]["threads"] == 1
    assert found["about"]["versions"]["numpy"] == np.__version__
    assert found["limits"]["float64"]["flops"] > 0
    (case,) = found["cases"]
    assert (case["d"], case["steps"], case["rounds"]) == (7, 2, 3)
    assert {row["name"] for row in case["rows"]} >= {PLAIN}
    for row in case["rows"]:
        assert row["right"]
        assert 0 < row["low"] <= row["median"] <= row["high"]
        assert row["error"] <= case["bound"]
    assert json.loads((tmp_path / "out" / "bench.json").read_text())["format"] == "lft-bench-1"
    assert (tmp_path / "out" / "bench.png").read_bytes()[:4] == b"\x89PNG"
    assert b"<svg" in (tmp_path / "out" / "bench.svg").read_bytes()[:1000]


def test_json_alone_on_stdout():
    result = _bench("--case", "memory", "--dtype", "float64", "--threads", "1", "--json", "-")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["cases"] == []
    assert {m["engine"] for m in found["memory"]} >= {"forward mode", "adjoint"}


def test_a_wrong_contestant_ends_in_exit_code_1(monkeypatch):
    monkeypatch.setattr(compare.Judge, "error", lambda *_: float("inf"))
    result = _bench(
        "--case", "quadratic", "--d", "5", "--steps", "2", "--peers", "none", "--dtype", "float64",
        "--threads", "1", "--json", "-",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "wrong results, not timed" in result.output


def test_everything_can_be_shown_and_drawn_at_80_columns(tmp_path):
    from rich.console import Console

    from lft_validation.bench.growth import Growth
    from lft_validation.bench.memory import Memory
    from lft_validation.bench.startup import Start

    case = _result(**{FUSED: 1.0, PLAIN: 2.0, "JAX jit, at its best": 3.0})
    case = case._replace(
        rows=[*case.rows, Row("wrong", "torch", float("inf"), False)],
        missing=[Missing("PyTorch", "torch is not installed")],
    )
    bench = Bench(
        {}, {"float32": Limits(1e11, 1e10)}, [case],
        [Growth("d", FUSED, "float32", (1, 2, 4), (1.0, 2.0, 4.0), 1.0, 0.9, 1.1)],
        [Memory("adjoint", 512, (16, 32, 64, 128, 256), (2**20,) * 5, 1.0)],
        [Start("fused backend, first use (float32)", 12.3, 11.0)],
    )  # fmt: skip
    with (tmp_path / "text").open("w") as file:
        show(bench, bars(bench), Console(width=80, file=file))
    text = (tmp_path / "text").read_text()
    assert max(map(len, text.splitlines())) <= 80
    for expected in ("wrong: not timed", "torch is not installed", "adjoint, d = 512", "12.30",
                     "2 % of the limit", "exponent"):  # fmt: skip
        assert expected in text
    assert json.dumps(as_json(bench, bars(bench)), allow_nan=False)
    assert draw(bench, tmp_path / "a.svg").exists()


def test_a_peer_that_is_missing_or_broken_is_one_line_with_the_command(monkeypatch):
    problem, case = quadratic(5, K=2), cases.timed_cases(SMALL)[0]
    monkeypatch.setattr(cases.importlib.util, "find_spec", lambda _: None)
    missing = cases.load_peer("jax")
    assert missing.reason == "jax is not installed; install it with: pip install 'lft-ref[bench]'"
    monkeypatch.setattr(cases.importlib.util, "find_spec", lambda _: True)

    def broken(_):
        raise ImportError("a symbol\nis missing")

    with monkeypatch.context() as patch:
        patch.setattr(cases.importlib, "import_module", broken)
        found = cases.load_peer("torch").reason
    assert found.startswith("torch is installed but does not import (a symbol is missing); reinst")

    class Peer:
        @staticmethod
        def contestants(*_, **__):
            raise RuntimeError("no such device")

    monkeypatch.setattr(cases, "load_peer", lambda _: Peer)
    field = cases.contestants(case, problem, "float64", Options(peers=("torch",)))
    assert field[-1].reason == "PyTorch does not run here (RuntimeError: no such device)"
    assert any(isinstance(entry, Contestant) for entry in field), "the bench goes on"


def test_a_missing_backend_of_ours_is_one_line_too(monkeypatch):
    from lft_backends.backend import BackendUnavailable

    def without_numba(name, dtype):
        if name != "numpy":
            raise BackendUnavailable(f"{name} is not installed")
        return get_backend(name, dtype)

    monkeypatch.setattr(ours, "get_backend", without_numba)
    plain, fused = ours.contestants(quadratic(5, K=2), "float64", "adjoint")
    assert plain.name == PLAIN
    assert fused == Missing(FUSED, "numba is not installed")
    (gpu,) = ours.contestants(quadratic(5, K=2), "float64", "adjoint", device="gpu")
    assert gpu.reason == "cupy is not installed"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--case", "nothing"), "nothing"),
        (("--d", "0"), "--d must be positive, found 0"),
        (("--steps", "-1"), "--steps must be positive, found -1"),
        (("--seconds", "nan"), "--seconds must be positive, found nan"),
        (("--repeats", "0"), "--repeats must be positive, found 0"),
        (("--compile-seconds", "-1"), "--compile-seconds must not be negative, found -1.0"),
        (("--threads", "0"), "--threads must be at least 1, found 0"),
        (("--threads", "9999"), "--threads 9999 is more than this process may use"),
        (("--peers", "jax,tensorflow"), "found 'tensorflow'"),
        (("--figure", "bench.pdf"), "--figure must end in .png or .svg, found bench.pdf"),
        (("--source", "imagenet", "--case", "attack", "--threads", "1"), "imagenet"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(arguments, words):
    result = _bench(*arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output


def test_without_mnist_the_digits_are_attacked(monkeypatch):
    from lft_validation import datasets
    from lft_validation.commands import bench as module

    monkeypatch.setattr(datasets, "find", lambda *_: None)
    assert module._with_images(Options()).source == "digits"
    monkeypatch.setattr(datasets, "find", lambda *_: ("cache", None))
    assert module._with_images(Options()).source == "mnist"
