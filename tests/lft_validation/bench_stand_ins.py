"""A GPU that is NumPy, and contestants that are a function: what the bench is tested on."""

from __future__ import annotations

import contextlib
import sys
import types

from lft_backends.backend import get_backend
from lft_ref import Ops
from lft_validation.bench import cases, compare, ours, run
from lft_validation.bench.cases import Options
from lft_validation.bench.contestant import Contestant
from lft_validation.bench.problems import quadratic


class Gpu:
    """CuPy's stand-in: NumPy's arrays, memory of its own, and twins that fail unless allowed."""

    def __init__(self, monkeypatch) -> None:
        self.free, self.log, self.asked, self.segments = 10**12, [], [], []
        monkeypatch.setattr(ours, "HUGE", 9)
        monkeypatch.setattr(run, "HUGE", 9)
        monkeypatch.setattr(ours, "get_backend", self.backend)
        monkeypatch.setitem(ours.ENGINES, "adjoint", self.adjoint)
        profiler = types.SimpleNamespace(time_range=self.time_range)
        monkeypatch.setitem(sys.modules, "cupyx", types.SimpleNamespace(profiler=profiler))
        monkeypatch.setitem(sys.modules, "cupyx.profiler", profiler)
        self.ops = Ops(*3 * [self.twin])

    def twin(self, *_):
        raise AssertionError("a twin was called")

    def backend(self, name, dtype):
        self.asked.append((name, dtype))
        backend = get_backend("numpy", dtype)
        if name == "numpy":
            return backend
        return backend._replace(
            name="cupy", ops=self.ops, free_memory=lambda: self.free,
            synchronize=lambda: self.log.append("wait"),
        )  # fmt: skip

    def adjoint(self, *arguments, **extra):
        self.log.append("unroll")
        self.segments.append(extra.get("segment", "all"))
        return ours.adjoint(*arguments, **extra)

    @contextlib.contextmanager
    def time_range(self, name):
        self.log.append(f"begin {name}")
        yield
        self.log.append("end")


def race(monkeypatch, field):
    """Let these be the contestants, all of whom are right."""
    monkeypatch.setattr(cases, "contestants", lambda *_: field)
    judge = types.SimpleNamespace(bound=1.0, right=None, error=lambda c: 0.0 * bool(c.run()))
    monkeypatch.setattr(compare, "judge", lambda *_, **__: judge)


def contestant(name, family, work):
    """Return one whose run is a function."""
    return Contestant(name, family, work, lambda _: None)


def outcome(d=9):
    """What the bench makes of them, on a problem of this many coordinates."""
    case = cases.Case("quadratic", "quadratic", "adjoint", lambda: quadratic(d, K=2))
    options = Options(dtypes=("float64",), seconds=0.0, repeats=3, device="gpu")
    (result,) = run.case_results(case, options, {}, lambda _: None)
    return result
