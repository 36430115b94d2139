"""``lft bench --device gpu`` on stand-ins: who judges, who has the memory, what a profiler sees."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from lft_backends.backend import BackendUnavailable, get_backend
from lft_ref import adjoint_memory_bytes
from lft_validation.bench import cases, compare, device, ours, run, training
from lft_validation.bench.cases import Options
from lft_validation.bench.contestant import ON_GPU, PLAIN, Missing
from lft_validation.bench.machine import Limits
from lft_validation.bench.problems import quadratic
from lft_validation.bench.timing import interleave
from tests.lft_validation.bench_stand_ins import Gpu, contestant, outcome, race

BOTH = Options(
    cases=("quadratic",), d=(9,), steps=4, peers=(), seconds=0.0, repeats=3, device="gpu"
)


@pytest.fixture
def gpu(monkeypatch):
    return Gpu(monkeypatch)


# Who judges ---------------------------------------------------------------------------------------


def test_the_huge_case_is_judged_on_the_gpu_by_the_plain_reference_in_blocks(gpu, monkeypatch):
    sizes, step = [], ours.REFERENCE.step

    def plain_step(params, cell, g, state):
        sizes.append(g.size)
        return step(params, cell, g, state)

    monkeypatch.setattr(ours, "REFERENCE", ours.REFERENCE._replace(step=plain_step))
    monkeypatch.setattr(ours, "JUDGED", 4)
    problem = quadratic(9, K=4)
    found = ours.expected(problem, "adjoint", "gpu")
    assert gpu.asked == [("cupy", "float64")]
    assert set(sizes) == {4, 1}
    right = ours.expected(problem, "adjoint")
    assert gpu.asked[1:] == [("numpy", "float64")]
    assert compare.difference(found, right) < 1e-13


def test_smaller_cases_and_training_are_judged_on_the_host(gpu):
    ours.expected(quadratic(8, K=2), "adjoint", "gpu")
    training.judge(quadratic(9, K=2), "float64")
    assert gpu.asked == [("numpy", "float64")]


def test_what_is_right_is_computed_once_for_both_precisions(monkeypatch):
    asked, expected = [], compare.expected

    def counted(problem, measure, where):
        asked.append(where)
        return expected(problem, measure)

    monkeypatch.setattr(compare, "expected", counted)
    results = list(run.case_results(cases.timed_cases(BOTH)[0], BOTH, {}, lambda _: None))
    assert asked == ["gpu"] * (1 + 2 * compare.TRIALS)
    assert [r.dtype for r in results] == ["float32", "float64"]
    assert results[0].bound > 1e6 * results[1].bound


def test_what_is_right_of_a_training_serves_both_precisions_too():
    problem = quadratic(4, K=2)._replace(updates=2)
    one = training.judge(problem, "float32")
    other = training.judge(problem, "float64", earlier=one)
    assert other.right is one.right
    assert other.starts is one.starts
    assert other.bound == training.judge(problem, "float64").bound < one.bound


@pytest.mark.parametrize("error", [MemoryError("of the card"), BackendUnavailable("no CuPy")])
def test_a_case_that_cannot_be_judged_is_a_line(monkeypatch, error):
    def judge(*_, **__):
        raise error

    monkeypatch.setattr(compare, "judge", judge)
    results = list(run.case_results(cases.timed_cases(BOTH)[0], BOTH, {}, lambda _: None))
    assert [r.rows for r in results] == [[], []]
    (line,) = results[0].missing
    why = f"{type(error).__name__}: {error}"
    assert line.reason == f"the float64 reference does not run here ({why})"


# Who has the memory -------------------------------------------------------------------------------


def test_our_huge_unroll_keeps_as_many_steps_as_there_is_room_for_at_that_moment(gpu):
    gpu.ops = get_backend("numpy").ops
    problem = quadratic(9, K=16)
    contestant = ours.unroll(ON_GPU, problem, gpu.backend("cupy", "float64"), "adjoint")
    whole = contestant.read(contestant.run())
    gpu.free = 0
    cut = contestant.read(contestant.run())
    assert gpu.segments == [None, 4]
    np.testing.assert_array_equal(whole.flat, cut.flat)
    assert whole.value == cut.value
    gpu.free = adjoint_memory_bytes(9, 10, 16, 8, segment=9)
    contestant.run()
    assert gpu.segments[-1] == 9
    small = ours.unroll(ON_GPU, quadratic(8, K=16), gpu.backend("cupy", "float64"), "adjoint")
    small.run()
    assert gpu.segments[-1] == "all"


def test_jax_takes_memory_as_it_needs_it_unless_the_user_wants_otherwise(monkeypatch):
    monkeypatch.delenv(device.PREALLOCATE, raising=False)
    monkeypatch.setattr(run, "limits", lambda *_, **__: Limits(1e9, 1e9))
    found = []

    def load_peer(_):  # which imports JAX
        found.append(os.environ.get(device.PREALLOCATE))
        return Missing("JAX", "not here")

    monkeypatch.setattr(cases, "load_peer", load_peer)
    monkeypatch.setattr(ours, "contestants", lambda *_: [])
    options = Options(
        cases=("quadratic",), dtypes=("float64",), d=(3,), steps=1, peers=("jax",), device="gpu"
    )
    run.run(options, lambda _: None)
    assert device.PREALLOCATE not in os.environ
    monkeypatch.setenv(device.PREALLOCATE, "true")
    run.run(options, lambda _: None)
    assert found == ["false", "true"]
    monkeypatch.delenv(device.PREALLOCATE)
    with device.shared("cpu"):
        assert device.PREALLOCATE not in os.environ


def test_the_pools_of_cupy_and_pytorch_are_given_back(monkeypatch):
    log = []
    pool = types.SimpleNamespace(free_all_blocks=lambda: log.append("cupy"))
    cupy = types.SimpleNamespace(get_default_memory_pool=lambda: pool)
    cuda = types.SimpleNamespace(empty_cache=lambda: log.append("torch"))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    device.release()
    assert log == ["cupy", "torch"]

    def no_device():
        raise RuntimeError("cudaErrorNoDevice")

    pool.free_all_blocks = no_device
    device.release()
    assert log == ["cupy", "torch", "torch"]
    monkeypatch.delitem(sys.modules, "cupy")
    monkeypatch.delitem(sys.modules, "torch")
    device.release()
    assert "cupy" not in sys.modules, "nothing is imported for it"


def test_memory_is_given_back_before_each_run_and_asked_for_anew_untimed():
    log = []
    runs = [lambda i=i: log.append(i) for i in range(2)]
    times = interleave(runs, 0.0, 3, lambda: log.append("clear"))
    one, other = ["clear", 0, 0], ["clear", 1, 1]
    assert log == [*one, *other, *other, *one, *one, *other]
    assert [len(t.wall) for t in times] == [3, 3]


@pytest.mark.parametrize(("d", "clears"), [(9, True), (8, False)])
def test_contestants_of_the_huge_case_alone_give_memory_back_between_timings(
    gpu, monkeypatch, d, clears
):
    log = []
    monkeypatch.setattr(run, "release", lambda: log.append("clear"))
    race(monkeypatch, [contestant("JAX", "jax", lambda: log.append("run"))])
    outcome(d)
    checked = ["clear", "run", "clear"]
    assert log == checked + 3 * (["clear", "run", "run"] if clears else ["run"])


# Who computes in full precision -------------------------------------------------------------------


@pytest.mark.jax
def test_jax_multiplies_float32_in_full_on_a_gpu(monkeypatch):
    jax = pytest.importorskip("jax", reason="the extra 'bench' is not installed")
    peer, found = cases.load_peer("jax"), []

    def contestant(*_):
        found.append(jax.config.jax_default_matmul_precision)

    monkeypatch.setattr(peer, "_contestant", contestant)
    before = jax.config.jax_default_matmul_precision
    try:
        for where in ("cpu", "gpu"):
            peer.contestants(quadratic(3, K=1), "float32", "forward", where)
    finally:
        jax.config.update("jax_default_matmul_precision", before)
    assert found == [before, before, "highest", "highest"]


def test_pytorch_multiplies_float32_in_full_on_a_gpu(monkeypatch):
    torch = pytest.importorskip("torch", reason="the extra 'bench' is not installed")
    peer, found = cases.load_peer("torch"), []
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    monkeypatch.setattr(
        peer, "_contestant", lambda *_, **__: found.append([s.allow_tf32 for s in switches])
    )
    before = [s.allow_tf32 for s in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = True
        for where in ("cpu", "gpu"):
            peer.contestants(quadratic(3, K=1), "float32", "adjoint", where)
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value
    assert found == 2 * [[True, True]] + 2 * [[False, False]]


# What a profiler sees -----------------------------------------------------------------------------


def test_a_profiler_sees_the_unroll_and_not_the_wait_for_it(gpu):
    gpu.ops = get_backend("numpy").ops
    ours.unroll(ON_GPU, quadratic(3, K=2), gpu.backend("cupy", "float64"), "adjoint").run()
    assert gpu.log == ["begin lft unroll", "unroll", "end", "wait"]
    gpu.log.clear()
    problem = quadratic(3, K=2)._replace(updates=2)
    ours.training(ON_GPU, problem, gpu.backend("cupy", "float64"), "training").run()
    assert gpu.log == 2 * ["begin lft unroll", "end"] + ["wait"]
    gpu.log.clear()
    ours.unroll(PLAIN, quadratic(3, K=2), gpu.backend("numpy", "float64"), "adjoint").run()
    assert gpu.log == ["unroll"]


def test_the_profiler_is_asked_for_the_range_that_the_bench_makes():
    text = (Path(__file__).parents[2] / "docs" / "gpu.md").read_text(encoding="utf-8")
    assert text.count(f'--filter-nvtx "{device.RANGE}/3" unroll.nsys-rep') == 2
    assert "-o unroll lft bench --device gpu" in text


def test_a_cupy_without_nvtx_computes_all_the_same(gpu, monkeypatch):
    def time_range(_):
        raise RuntimeError("nvtx is not installed")

    monkeypatch.setattr(sys.modules["cupyx.profiler"], "time_range", time_range)
    gpu.ops = get_backend("numpy").ops
    ours.unroll(ON_GPU, quadratic(3, K=2), gpu.backend("cupy", "float64"), "adjoint").run()
    assert gpu.log == ["unroll", "wait"]
