"""Run the chosen cases and measurements: compare, then time, then judge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lft_backends.backend import BackendUnavailable
from lft_validation.bench import cases, compare, training
from lft_validation.bench.cases import Case, Options
from lft_validation.bench.contestant import FUSED, OURS, Contestant, Missing
from lft_validation.bench.growth import SIZES, Growth, growth
from lft_validation.bench.machine import Limits, at_most, facts, floor_seconds, limits
from lft_validation.bench.memory import Memory, memory
from lft_validation.bench.startup import Start, startup
from lft_validation.bench.timing import interleave, ratio


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


def run(options: Options, say: Callable[[str], None]) -> Bench:
    """Measure all that ``options`` choose; ``say`` hears what is going on."""
    with at_most(options.threads):
        chosen, found = cases.timed_cases(options), dict[str, Limits]()
        if chosen:
            say("measuring the machine's limits")
            found = _limits(options)
        results = [
            run_case(case, dtype, options, found.get(dtype, UNKNOWN), say)
            for case in chosen
            for dtype in options.dtypes
        ]
        dtype, grown = options.dtypes[0], list[Growth]()
        for axis in SIZES if "growth" in options.cases else ():
            say(f"growth in {axis}")
            grown += growth(axis, dtype, options.seconds, options.repeats)
        say("memory and start-up times")
        peaks = memory() if "memory" in options.cases else []
        starts = startup(dtype) if "startup" in options.cases else []
    return Bench(facts(options.threads), found, results, grown, peaks, starts)


def _limits(options: Options) -> dict[str, Limits]:
    """The device's, by precision; none where there is no device, as each case will say."""
    try:
        return {dtype: limits(dtype, device=options.device) for dtype in options.dtypes}
    except BackendUnavailable:
        return {}


def run_case(
    case: Case, dtype: str, options: Options, found: Limits, say: Callable[[str], None]
) -> CaseResult:
    """Compare every contestant with the float64 reference, then time those that are right."""
    problem = case.make()
    say(f"{case.title}, {dtype}: the float64 reference")
    judging = training.judge if case.measure == "training" else compare.judge
    judge = judging(problem, dtype, case.measure)
    say(f"{case.title}, {dtype}: compiling")
    field = cases.contestants(case, problem, dtype, options)
    entries, rows, missing = list[Contestant](), list[Row](), list[Missing]()
    for entry in field:
        if isinstance(entry, Missing):
            missing.append(entry)
            continue
        say(f"{case.title}, {dtype}: checking {entry.name}")
        try:
            error = judge.error(entry)
        except Exception as failure:
            if entry.family == OURS:  # a fault of this project is not hidden in a line
                raise
            missing.append(cases.does_not_run(entry.name, failure))
            continue
        rows.append(Row(entry.name, entry.family, error, error <= judge.bound))
        if rows[-1].right:
            entries.append(entry)
    say(f"{case.title}, {dtype}: timing")
    unit = problem.coordinate_steps * problem.updates
    base, rounds, rows = _timed(entries, rows, unit, options)
    floor = floor_seconds(found, 2, problem.params.n, np.dtype(dtype).itemsize)
    return CaseResult(
        case.name, case.title, dtype, problem.d, problem.tasks, len(problem.weights),
        problem.params.n, judge.bound, rounds, base, rows, missing, floor,
    )  # fmt: skip


def _timed(
    entries: list[Contestant], rows: list[Row], unit: int, options: Options
) -> tuple[str, int, list[Row]]:
    """Fill in the times of those that are right; the base is the fused backend where it runs."""
    if not entries:
        return "", 0, rows
    times = interleave([e.run for e in entries], options.seconds, options.repeats)
    by_name = dict(zip((e.name for e in entries), times, strict=True))
    base = FUSED if FUSED in by_name else entries[0].name
    done = []
    for row in rows:
        if row.name not in by_name:
            done.append(row)
            continue
        t = by_name[row.name]
        middle, low, high = ratio(t, by_name[base])
        done.append(row._replace(
            median=t.median, low=t.quartiles[0], high=t.quartiles[1], cpu=float(np.median(t.cpu)),
            ns=t.median / unit * 1e9, ratio=middle, ratio_low=low, ratio_high=high,
        ))  # fmt: skip
    return base, len(times[0].wall), done
