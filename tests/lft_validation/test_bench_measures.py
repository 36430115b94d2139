"""What ``lft bench`` makes of times, bytes and sizes: honest fits, and bars that can fail.

No test here looks at a clock: how fast anything is belongs into docs/performance.md.
"""

from __future__ import annotations

import numpy as np
import pytest

from lft_validation.bench.bars import bars
from lft_validation.bench.contestant import FUSED, ON_GPU, PLAIN
from lft_validation.bench.growth import MAKE, fit, growth
from lft_validation.bench.machine import Limits, floor_seconds, limits
from lft_validation.bench.memory import memory, peak
from lft_validation.bench.problems import quadratic
from lft_validation.bench.run import Bench, Row
from lft_validation.bench.startup import Start, startup
from lft_validation.bench.timing import Times, interleave, ratio
from tests.lft_validation.bench_results import TORCH, case_result


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


def test_growth_measures_every_backend_at_every_size(monkeypatch):
    monkeypatch.setitem(MAKE, "n", lambda n: quadratic(64, K=2, n=n))
    found = growth("n", "float64", 0.0, 3, sizes=(1, 2, 3))
    assert {g.name for g in found} >= {PLAIN}
    assert all(len(g.seconds) == 3 and min(g.seconds) > 0.0 for g in found)


def test_peak_memory_is_counted():
    assert peak(lambda: np.ones(10_000)) == pytest.approx(80_000, rel=0.05)
    assert peak(lambda: [np.ones(1000) for _ in range(10)]) == pytest.approx(80_000, rel=0.05)


def test_memory_grows_as_each_engine_promises(memories):
    assert abs(memories["forward mode"].kept) <= 0.05
    assert memories["forward mode"].exponent == 0.0
    assert memories["adjoint"].kept >= 1.0
    assert 0.9 <= memories["adjoint"].exponent <= 1.1
    assert 0.4 <= memories["adjoint, recomputing"].exponent <= 0.6


def test_an_engine_that_keeps_its_steps_fails_the_bar_of_forward_mode(memories):
    forward, adjoint_ = memories["forward mode"], memories["adjoint"]
    keeping = forward._replace(kept=adjoint_.kept)
    (bar,) = bars(Bench({}, {}, [], [], [keeping], []))
    assert not bar.holds
    tries = [bars(Bench({}, {}, [], [], [m], [])) for m in memories.values()]
    assert [bar.holds for judged in tries for bar in judged] == [True, True]


@pytest.fixture(scope="module")
def memories():
    return {m.engine: m for m in memory(lengths=(4, 16, 64, 256))}


def test_the_machine_s_limits_are_measured():
    found = limits("float32", seconds=0.0)
    assert found.flops > 0.0
    assert found.bandwidth > 0.0


def test_the_floor_counts_multiplications_by_hand():
    # n = 1, m = 2: gates twice and Φ̄ are 4 × 4 multiply-adds each, cotangents of (h, x) 4 × 3
    seconds, traffic = floor_seconds(Limits(2.0, 8.0), m=2, n=1, itemsize=8)
    assert seconds == 3 * 16 + 12
    assert traffic == 10 * 1 + 12


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
    result = case_result(case, d, dtype, **{FUSED: 1.0, PLAIN: plain, "JAX": peer, TORCH: 9.0})
    judged = bars(Bench({}, {}, [result], [], [], []))
    assert [bar.holds for bar in judged] == holds


@pytest.mark.parametrize(
    ("d", "peer", "floor", "holds"),
    [
        (20_000, 9.0, 1e-9, []),
        (200_000, 2.1, 1e-9, [True]),
        (200_000, 1.9, 1e-9, [False]),
        (10_000_000, 2.1, 0.6e-9, [True, True]),
        (10_000_000, 2.1, 0.4e-9, [True, False]),
    ],
)
def test_bars_of_a_gpu_ask_for_twice_any_peer_and_half_of_the_roofline(d, peer, floor, holds):
    result = case_result("quadratic", d, "float32", **{ON_GPU: 1.0, "JAX": peer, TORCH: 9.0})
    rows = [row._replace(ns=1.0) for row in result.rows]
    result = result._replace(base=ON_GPU, rows=rows, floor=(floor, 0.0))
    assert [bar.holds for bar in bars(Bench({}, {}, [result], [], [], []))] == holds


@pytest.mark.parametrize(
    ("peers", "verdicts"),
    [
        ({"JAX": 2.6}, ["undecided (no PyTorch)", "undecided (no PyTorch)"]),
        ({TORCH: 2.6}, ["undecided (no JAX)", "undecided (no JAX)"]),
        ({"JAX": 2.4}, ["no", "no"]),  # one peer is enough to miss a bar
        ({"JAX": 2.6, TORCH: 2.7}, ["yes", "yes"]),
        ({"JAX": 2.6, TORCH: 2.4}, ["no", "no"]),
    ],
)
def test_a_bar_against_any_peer_is_undecided_until_all_are_timed(peers, verdicts):
    result = case_result("quadratic", 20_000, "float32", **{FUSED: 1.0, PLAIN: 2.5, **peers})
    judged = bars(Bench({}, {}, [result], [], [], []))
    assert [bar.verdict for bar in judged] == verdicts
    undecided = Row("PyTorch eager", "torch", 1.0, False)  # wrong, so not timed
    beside = result._replace(rows=[*result.rows, undecided])
    assert bars(Bench({}, {}, [beside], [], [], [])) == judged


def test_bars_that_name_one_peer_or_none_need_no_other():
    training = case_result("training", 784, "float32", **{FUSED: 1.0, "JAX": 3.1})
    assert [bar.verdict for bar in bars(Bench({}, {}, [training], [], [], []))] == ["yes"]
    gpu = case_result("quadratic", 10_000_000, **{ON_GPU: 1.0, "JAX": 2.1})
    rows = [row._replace(ns=1.0) for row in gpu.rows]
    gpu = gpu._replace(base=ON_GPU, rows=rows, floor=(0.6e-9, 0.0))
    judged = bars(Bench({}, {}, [gpu], [], [], []))
    assert [bar.verdict for bar in judged] == ["undecided (no PyTorch)", "yes"]


def test_a_gpu_s_sizes_begin_where_its_bars_do():
    from lft_validation.bench.bars import GPU_LARGE
    from lft_validation.bench.cases import Options, timed_cases

    options = Options(cases=("quadratic",), device="gpu")
    titles = [case.title for case in timed_cases(options)]
    assert f"diagonal quadratic, d = {GPU_LARGE:,}" in titles
    assert titles[-1].endswith("d = 10,000,000")
    at_home = [case.title for case in timed_cases(Options(cases=("quadratic",)))]
    assert [title.rpartition(" ")[2] for title in at_home] == ["784", "20,000", "200,000"]


def test_bars_of_growth_memory_and_start_up():
    from lft_validation.bench.growth import Growth
    from lft_validation.bench.memory import Memory

    grown = [Growth("d", FUSED, "float32", (1, 2, 4), (1.0,) * 3, e, e, e) for e in (1.09, 1.11)]
    grown.append(grown[0]._replace(axis="n", exponent=2.0))  # nothing is demanded of n
    peaks = [
        Memory("forward mode", 4, (1, 2), (100, 100), 0.0),
        Memory("forward mode", 4, (1, 2), (100, 110), 0.1, 0.06),
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
    (broken, *_) = startup("float32", repeats=1)
    assert broken == Start("broken: no", None, None), "it is told of, and the others are measured"
