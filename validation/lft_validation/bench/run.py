"""Run the chosen cases and measurements: compare, then time, then judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from lft_backends.backend import BackendUnavailable
from lft_validation.bench import cases, compare, training
from lft_validation.bench.cases import Case, Options
from lft_validation.bench.contestant import (
    FUSED,
    OURS,
    Contestant,
    Missing,
    does_not_run,
)
from lft_validation.bench.device import release, shared
from lft_validation.bench.growth import SIZES, Growth, growth
from lft_validation.bench.machine import Limits, at_most, facts, floor_seconds, limits
from lft_validation.bench.memory import Memory, memory
from lft_validation.bench.problems import FEATURES, HUGE, Problem
from lft_validation.bench.startup import Start, startup
from lft_validation.bench.timing import RunFailed, Times, interleave, ratio


class Row(NamedTuple):
    """One contestant: how wrong, how fast, how many times the base's time."""

    name: str
    family: str
    error: float
    right: bool
    median: float | None = None  # seconds by the wall clock; None: not timed
    low: float | None = None  # quartiles
    high: float | None = None
    cpu: float | None = None  # seconds of all threads, median
    ns: float | None = None  # median for each coordinate and step
    ratio: float | None = None  # median over rounds of its time / the base's
    ratio_low: float | None = None
    ratio_high: float | None = None


class CaseResult(NamedTuple):
    """One case in one precision."""

    case: str
    title: str
    dtype: str
    d: int
    tasks: int
    steps: int
    units: int
    bound: float  # on the error, relative
    rounds: int
    base: str  # the contestant that ratios refer to
    rows: list[Row]
    missing: list[Missing]
    floor: tuple[float, float]  # seconds of a coordinate and step at the machine's limits


UNKNOWN = Limits(float("inf"), float("inf"))  # nothing is known to take any time


class Bench(NamedTuple):
    """Everything that was measured."""

    about: dict[str, Any]
    limits: dict[str, Limits]
    cases: list[CaseResult]
    growth: list[Growth]
    memory: list[Memory]
    startup: list[Start]


def run(
    options: Options, say: Callable[[str], None], keep: Callable[[Bench], None] = lambda _: None
) -> Bench:
    """Measure all that ``options`` choose.

    Args:
        options: what is measured.
        say: hears what is going on.
        keep: is handed everything so far after each measurement: a later failure loses none of it.
    """
    with at_most(options.threads), shared(options.device):
        chosen, found = cases.timed_cases(options), dict[str, Limits]()
        if chosen:
            say("measuring the machine's limits")
            found = _limits(options)
        bench = Bench(facts(options.threads), found, [], [], [], [])
        for case in chosen:
            for result in case_results(case, options, found, say):
                bench = bench._replace(cases=[*bench.cases, result])
                keep(bench)
        dtype = options.dtypes[0]
        for axis in SIZES if "growth" in options.cases else ():
            say(f"growth in {axis}")
            grown = growth(axis, dtype, options.seconds, options.repeats)
            bench = bench._replace(growth=[*bench.growth, *grown])
            keep(bench)
        say("memory and start-up times")
        peaks = memory() if "memory" in options.cases else []
        starts = startup(dtype) if "startup" in options.cases else []
    return bench._replace(about=facts(options.threads), memory=peaks, startup=starts)


def _limits(options: Options) -> dict[str, Limits]:
    """The device's, by precision; none where there is no device, as each case will say."""
    try:
        return {dtype: limits(dtype, device=options.device) for dtype in options.dtypes}
    except BackendUnavailable:
        return {}


def case_results(
    case: Case, options: Options, found: dict[str, Limits], say: Callable[[str], None]
) -> Iterator[CaseResult]:
    """Yield the results of one case, precision by precision; what is right serves all of them."""
    problem, judge = case.make(), None
    judging: Any = partial(compare.judge, device=options.device)
    if case.measure == "training":
        judging = training.judge
    for dtype in options.dtypes:
        say(f"{case.title}, {dtype}: the float64 reference")
        try:
            judge = judging(problem, dtype, case.measure, earlier=judge)
        except (BackendUnavailable, MemoryError) as error:
            missing = does_not_run("the float64 reference", error)
            yield _result(case, problem, dtype, UNKNOWN, 0.0, missing=[missing])
            continue
        limit = found.get(dtype, UNKNOWN)
        yield run_case(case, problem, judge, dtype, options, limit, say)


def run_case(
    case: Case,
    problem: Problem,
    judge: compare.Judge | training.TrainingJudge,
    dtype: str,
    options: Options,
    limit: Limits,
    say: Callable[[str], None],
) -> CaseResult:
    """Compare every contestant with the float64 reference, then time those that are right."""
    clear = release if options.device == "gpu" else _nothing
    clear()
    say(f"{case.title}, {dtype}: compiling")
    field = cases.contestants(case, problem, dtype, options)
    missing = [entry for entry in field if isinstance(entry, Missing)]
    entries, rows = list[Contestant](), list[Row]()
    for entry in field:
        if isinstance(entry, Missing):
            continue
        say(f"{case.title}, {dtype}: checking {entry.name}")
        found = _checked(entry, judge)
        clear()
        if isinstance(found, Missing):
            missing.append(found)
            continue
        rows.append(found)
        if found.right:
            entries.append(entry)
    say(f"{case.title}, {dtype}: timing")
    # Of the huge case, what several libraries keep for their next run does not fit side by side.
    again = release if options.device == "gpu" and problem.d >= HUGE else None
    timed, lost = _timed(entries, options, again)
    gone = {each.name for each in lost}
    rows = [row for row in rows if row.name not in gone]
    return _result(case, problem, dtype, limit, judge.bound, rows, [*missing, *lost], timed)


def _checked(entry: Contestant, judge: compare.Judge | training.TrainingJudge) -> Row | Missing:
    try:
        error = judge.error(entry)
    except Exception as failure:  # noqa: BLE001 - the others go on
        return _lost(entry, failure)
    return Row(entry.name, entry.family, error, error <= judge.bound)


def _nothing() -> None:
    """Memory of the host needs no giving back."""


def _lost(entry: Contestant, failure: Exception) -> Missing:
    """Turn a failure into a line; a fault of this project is not hidden in one."""
    if entry.family == OURS and not isinstance(failure, MemoryError):
        raise failure
    return does_not_run(entry.name, failure)


def _timed(
    entries: list[Contestant], options: Options, clear: Callable[[], None] | None
) -> tuple[dict[str, Times], list[Missing]]:
    """Time all; who fails now is left out, and the others start again."""
    lost, left = list[Missing](), list(entries)
    while left:
        try:
            runs = [entry.run for entry in left]
            times = interleave(runs, options.seconds, options.repeats, clear)
            return dict(zip((entry.name for entry in left), times, strict=True)), lost
        except RunFailed as stopped:
            lost.append(_lost(left.pop(stopped.index), stopped.reason))
    return {}, lost


def _result(
    case: Case,
    problem: Problem,
    dtype: str,
    limit: Limits,
    bound: float,
    rows: Sequence[Row] = (),
    missing: Sequence[Missing] = (),
    times: Mapping[str, Times] = MappingProxyType({}),
) -> CaseResult:
    """Put the times into the rows; the base is the fused backend where it runs."""
    base = FUSED if FUSED in times else next(iter(times), "")
    unit = problem.coordinate_steps * problem.updates
    done = [_with_times(row, times[row.name], times[base], unit) if row.name in times else row
            for row in rows]  # fmt: skip
    rounds = len(times[base].wall) if times else 0
    floor = floor_seconds(limit, FEATURES, problem.params.n, np.dtype(dtype).itemsize)
    return CaseResult(
        case.name, case.title, dtype, problem.d, problem.tasks, len(problem.weights),
        problem.params.n, bound, rounds, base, done, [*missing], floor,
    )  # fmt: skip


def _with_times(row: Row, t: Times, base: Times, unit: int) -> Row:
    middle, low, high = ratio(t, base)
    return row._replace(
        median=t.median, low=t.quartiles[0], high=t.quartiles[1], cpu=float(np.median(t.cpu)),
        ns=t.median / unit * 1e9, ratio=middle, ratio_low=low, ratio_high=high,
    )  # fmt: skip
