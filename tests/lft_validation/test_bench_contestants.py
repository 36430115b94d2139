"""Who takes part in ``lft bench``: right before fast, and one sentence for whoever cannot."""

from __future__ import annotations

import importlib
import types

import numpy as np
import pytest

from lft_backends import libraries
from lft_backends.backend import get_backend
from lft_ref import FineTuner, adjoint, flatten, forward_mode, sum_over_tasks
from lft_validation.bench import cases, compare, ours, run, training
from lft_validation.bench.cases import Options
from lft_validation.bench.contestant import FUSED, OURS, PLAIN, Contestant, Missing, Result
from lft_validation.bench.machine import Limits
from lft_validation.bench.problems import attack, cnn_task, quadratic, send, sine

SMALL = Options(
    cases=("quadratic",), dtypes=("float64",), d=(7,), steps=3, peers=(), seconds=0.0, repeats=3
)
QUIET = {"say": lambda _: None}


def _run(case):
    """The result of one case, small."""
    (result,) = run.case_results(case, SMALL, {"float64": Limits(1e9, 1e9)}, **QUIET)
    return result


def _sound(result):
    """A contestant's stand-in: ``result`` without any work."""
    return Contestant("other", "jax", lambda: None, lambda _: result)


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_contestants_use_the_twins_that_users_get(name):
    if name == "numba":
        pytest.importorskip("numba", reason="the extra 'fast' is not installed")
    backend = get_backend(name, "float32")
    tuned, attacked = sine(1, K=1), attack("digits", K=1)
    network = tuned.task.objective.network
    assert send(tuned, backend).task.objective.network == backend.fuse_optimizee(network)
    loss = attacked.task.objective
    assert type(send(attacked, backend).task.objective) is type(backend.fuse_attack(loss))


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
    result = _run(case)
    rows = {row.name: row for row in result.rows}
    assert not rows["sloppy"].right
    assert rows["sloppy"].median is None
    assert len(timed) == 1, "once to be compared, and never again"
    assert rows[PLAIN].right
    assert rows[PLAIN].median > 0.0
    assert result.missing == [Missing("PyTorch", "torch is not installed")]


ADJOINT = {
    "quadratic": (lambda: quadratic(6, K=3, n=4, tasks=2), "float32"),
    "sine": (lambda: sine(2, K=2, hidden=(5, 4)), "float64"),
    "cnn": (lambda: cnn_task(K=2, shape=(1, 8, 8), blocks=2, filters=3), "float64"),
    "attack": (lambda: attack("digits", K=2), "float64"),
}


@pytest.mark.parametrize("kind", ADJOINT)
def test_pytorch_finds_what_the_reference_finds(kind):
    pytest.importorskip("torch", reason="the extra 'bench' is not installed")
    make, dtype = ADJOINT[kind]
    problem = make()
    field = cases.load_peer("torch").contestants(problem, dtype, "adjoint")
    assert len(field) == 2
    _all_are_right(field, compare.judge(problem, dtype, "adjoint"))


# Compiling takes seconds, so each loss, layout and measure has its turn, but not with every other.
@pytest.mark.jax
@pytest.mark.parametrize(
    ("kind", "styles"),
    [
        ("quadratic", ["AGAIN"]),
        ("sine", ["WIDE"]),
        ("cnn", ["WIDE"]),
        ("attack", ["PLAIN", "WIDE"]),
    ],
)
def test_jax_finds_what_the_reference_finds(monkeypatch, kind, styles):
    make, dtype = ADJOINT[kind]
    problem = make()
    field = _jax(monkeypatch, styles, problem, dtype, "adjoint")
    _all_are_right(field, compare.judge(problem, dtype, "adjoint"))


@pytest.mark.jax
def test_jax_finds_what_the_reference_finds_in_forward_mode(monkeypatch):
    problem = quadratic(6, K=3, n=4)
    field = _jax(monkeypatch, ["PLAIN"], problem, "float64", "forward")
    _all_are_right(field, compare.judge(problem, "float64", "forward"))


@pytest.mark.jax
def test_jax_trains_as_the_reference_does(monkeypatch):
    problem = quadratic(6, K=3, n=4)._replace(updates=3)
    field = _jax(monkeypatch, ["PLAIN", "WIDE"], problem, "float64", "training")
    judge = training.judge(problem, "float64")
    _all_are_right(field, judge)
    for contestant in field:
        whole = contestant.read(contestant.run())
        np.testing.assert_allclose(whole.flat, judge.right[-1].end.flat, rtol=1e-9, atol=1e-12)


def _jax(monkeypatch, styles, problem, dtype, measure):
    pytest.importorskip("jax", reason="the extra 'bench' is not installed")
    module = importlib.import_module("lft_validation.bench.peers_jax")
    monkeypatch.setattr(module, "STYLES", [getattr(module, name) for name in styles])
    field = module.contestants(problem, dtype, measure)
    assert len(field) == len(styles)
    return field


def _all_are_right(field, judge):
    for contestant in field:
        assert judge.error(contestant) <= judge.bound, contestant.name


def test_the_compiler_of_a_peer_takes_part_in_the_cases_of_the_cell(monkeypatch):
    asked = {}

    def contestants(problem, *_, **extra):
        asked[problem.kind] = extra
        return []

    peer = types.SimpleNamespace(contestants=contestants)
    monkeypatch.setattr(cases, "load_peer", lambda _: peer)
    options = Options(peers=("torch",), compile_seconds=7.0)
    for kind, (make, dtype) in ADJOINT.items():
        cases.contestants(cases.Case(kind, kind, "adjoint", make), make(), dtype, options)
    limit = {"compile_seconds": 7.0}
    assert asked == {"quadratic": limit, "sine": limit, "cnn": {}, "attack": {}}


COMPILED_KINDS = pytest.mark.parametrize("kind", cases.COMPILED)


@COMPILED_KINDS
def test_the_compiled_contestant_is_right_if_the_compiler_is(monkeypatch, kind):
    torch = pytest.importorskip("torch", reason="the extra 'bench' is not installed")
    make, dtype = ADJOINT[kind]
    problem, compiled = make(), []

    def compiler(cell, **_):  # compiling takes a minute
        compiled.append(cell)
        return cell

    monkeypatch.setattr(torch, "compile", compiler)
    field = cases.load_peer("torch").contestants(problem, dtype, "adjoint", compile_seconds=60.0)
    assert len(field) == 3
    assert len(compiled) == 1
    _all_are_right(field, compare.judge(problem, dtype, "adjoint"))


@COMPILED_KINDS
def test_the_compiler_of_a_peer_may_be_late_or_broken(monkeypatch, kind):
    torch = pytest.importorskip("torch", reason="the extra 'bench' is not installed")
    import time

    from lft_validation.bench import peers_torch

    problem = ADJOINT[kind][0]()
    monkeypatch.setattr(torch, "compile", lambda *_, **__: lambda *_: time.sleep(5.0))
    late = peers_torch._compiled(problem, "float32", "cpu", 0.2)
    assert "--compile-seconds" in late.reason

    def wrapping(*_):
        try:
            time.sleep(5.0)
        except TimeoutError as error:
            raise RuntimeError("the backend failed") from error

    monkeypatch.setattr(torch, "compile", lambda *_, **__: wrapping)
    assert peers_torch._compiled(problem, "float32", "cpu", 0.2) == late

    def broken(*_, **__):
        raise RuntimeError("no compiler\nat all")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: broken)
    found = peers_torch._compiled(problem, "float32", "cpu", 60.0)
    assert found.reason == "torch.compile does not work here (no compiler)"


def test_forward_mode_and_adjoint_are_the_same_contestant_but_for_the_engine():
    problem = quadratic(4, K=3, tasks=2)
    found = [ours.unroll("", problem, get_backend("numpy"), measure) for measure in ours.ENGINES]
    one, other = (c.read(c.run()) for c in found)
    assert one.value == pytest.approx(other.value, rel=1e-12)
    np.testing.assert_allclose(one.flat, other.flat, rtol=1e-9, atol=1e-12)
    exact = forward_mode(problem.params, FineTuner(), problem.task, problem.weights)
    np.testing.assert_array_equal(other.flat, flatten(sum_over_tasks(exact.grad)))


def test_a_peer_that_is_missing_or_broken_is_one_line_with_the_command(monkeypatch):
    problem, case = quadratic(5, K=2), cases.timed_cases(SMALL)[0]
    with monkeypatch.context() as patch:
        patch.setattr(libraries.importlib.util, "find_spec", lambda _: None)
        missing = cases.load_peer("jax")
    assert missing.reason == "jax is not installed; install it with: pip install 'lft-ref[bench]'"

    def broken(_):
        raise ImportError("a symbol\nis missing")

    with monkeypatch.context() as patch:
        patch.setattr(libraries.importlib.util, "find_spec", lambda _: True)
        patch.setattr(libraries.importlib, "import_module", broken)
        found = cases.load_peer("torch").reason
    assert found.startswith("torch is installed but does not import (a symbol is missing); install")
    assert "pip install --force-reinstall torch" in found
    with monkeypatch.context() as patch:
        old = types.SimpleNamespace(__version__="0.4.1")
        patch.setattr(libraries.importlib.util, "find_spec", lambda _: True)
        patch.setattr(libraries.importlib, "import_module", lambda _: old)
        assert cases.load_peer("jax").reason.startswith("jax 0.4.1 is too old, ")

    class Peer:
        @staticmethod
        def contestants(*_, **__):
            raise RuntimeError("no such device")

    monkeypatch.setattr(cases, "load_peer", lambda _: Peer)
    field = cases.contestants(case, problem, "float64", Options(peers=("torch",)))
    assert field[-1].reason == "PyTorch does not run here (RuntimeError: no such device)"
    assert any(isinstance(entry, Contestant) for entry in field), "the bench goes on"


def test_a_contestant_that_breaks_when_it_computes_is_a_line_and_the_others_go_on(monkeypatch):
    def out_of_memory():
        raise RuntimeError("out of memory")

    case, fields = cases.timed_cases(SMALL)[0], cases.contestants
    late = Contestant("JAX", "jax", out_of_memory, lambda _: None)
    monkeypatch.setattr(cases, "contestants", lambda *a: [late, *fields(*a)])
    result = _run(case)
    assert result.missing[0].reason == "JAX does not run here (RuntimeError: out of memory)"
    ours = late._replace(name=PLAIN, family=OURS)
    monkeypatch.setattr(cases, "contestants", lambda *_: [ours])
    with pytest.raises(RuntimeError, match="out of memory"):
        _run(case)
    monkeypatch.undo()
    monkeypatch.setattr(cases, "contestants", lambda *a: [late, *fields(*a)])
    result = _run(case)
    assert all(row.right for row in result.rows)
    assert {row.name for row in result.rows} >= {PLAIN}


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
