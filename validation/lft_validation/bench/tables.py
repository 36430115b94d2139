"""The results as tables of at most 80 columns."""

from __future__ import annotations

from typing import Any

from lft_validation.bench.bars import Bar
from lft_validation.bench.growth import WHERE
from lft_validation.bench.run import Bench, CaseResult

SHORT = {"lft_ref, Numba": "lft_ref, Numba (fused)", "lft_ref, NumPy": "lft_ref, NumPy (plain)"}


def show(bench: Bench, judged: list[Bar], console: Any) -> None:
    """Print everything."""
    for case in bench.cases:
        console.print(case_table(case))
        for missing in case.missing:
            console.print(
                f"{missing.name}: {missing.reason}", style="yellow", highlight=False, markup=False
            )
    for lines in (growth_table(bench), memory_table(bench), startup_table(bench)):
        if lines.row_count:
            console.print(lines)
    console.print(limits_line(bench), highlight=False)
    if judged:
        console.print(bars_table(judged))


def case_table(case: CaseResult) -> Any:
    """Contestants of one case; the base first, as they came."""
    table = _table(f"{case.title}, {case.dtype}")
    table.caption = (
        f"K = {case.steps}, n = {case.units}, tasks {case.tasks}, rounds {case.rounds}; "
        f"errors may reach {case.bound:.0e}"
    )
    for name in ("contestant", "ms (quartiles)", "ns", "× fused" if "Numba" in case.base
                 else "× first", "error"):  # fmt: skip
        table.add_column(name, justify="left" if name == "contestant" else "right", no_wrap=True)
    for row in case.rows:
        name, error = SHORT.get(row.name, row.name), f"{row.error:.0e}"
        if row.median is None or row.low is None or row.high is None or row.ratio is None:
            table.add_row(name, "wrong: not timed", "", "", error)
            continue
        middle, low, high = (_ms(x) for x in (row.median, row.low, row.high))
        table.add_row(name, f"{middle} ({low}–{high})", f"{row.ns:.0f}", f"{row.ratio:.2f}", error)
    return table


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}" if seconds < 1.0 else f"{seconds * 1e3:.0f}"


def growth_table(bench: Bench) -> Any:
    """Exponents."""
    table = _table("Growth of processor time, value and meta-gradient")
    table.caption = "; ".join(f"{axis} at {rest}" for axis, rest in WHERE.items())
    for name in ("in", "sizes", "contestant", "exponent", "95 % interval"):
        table.add_column(name, justify="right" if name == "exponent" else "left")
    for g in bench.growth:
        table.add_row(
            g.axis, f"{g.sizes[0]:,} … {g.sizes[-1]:,}", f"{g.name}, {g.dtype}",
            f"{g.exponent:.2f}", f"{g.low:.2f} to {g.high:.2f}",
        )  # fmt: skip
    return table


def memory_table(bench: Bench) -> Any:
    """Peaks."""
    table = _table("Peak memory (MiB) against the number of steps K")
    table.add_column("engine")
    lengths = sorted({K for m in bench.memory for K in m.lengths})
    for K in lengths:
        table.add_column(str(K), justify="right")
    table.add_column("exponent", justify="right")
    for m in bench.memory:
        peaks = dict(zip(m.lengths, (f"{p / 2**20:.2f}" for p in m.peaks), strict=True))
        shown = (peaks.get(K, "") for K in lengths)
        table.add_row(f"{m.engine}, d = {m.d}", *shown, f"{m.exponent:.2f}")
    return table


def startup_table(bench: Bench) -> Any:
    """Waiting times."""
    table = _table("Start-up, a new process each")
    for name in ("what", "seconds", "of a processor"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for start in bench.startup:
        table.add_row(start.name, *("–" if s is None else f"{s:.2f}" for s in start[1:]))
    return table


def limits_line(bench: Bench) -> str:
    """The machine's limits, and what the fused backend reaches of them in its largest case."""
    lines = []
    for dtype, limit in bench.limits.items():
        lines.append(
            f"{dtype}: matrix products at {limit.flops / 1e9:.0f} Gflop/s, "
            f"copies at {limit.bandwidth / 1e9:.1f} GB/s (read plus written)"
        )
        mine = [c for c in bench.cases if c.case == "quadratic" and c.dtype == dtype]
        for case in mine:
            row = next((r for r in case.rows if r.name == case.base and r.ns is not None), None)
            if row is not None and row.ns is not None:
                sums, moves = (x * 1e9 for x in case.floor)
                lines.append(
                    f"  d = {case.d:,}: {row.ns:.0f} ns a coordinate and step; the products alone "
                    f"need {sums:.0f} ns,\n  the traffic alone {moves:.0f} ns: "
                    f"{100 * max(sums, moves) / row.ns:.0f} % of the limit"
                )
    return "\n".join(lines)


def bars_table(judged: list[Bar]) -> Any:
    """Demands and whether they hold."""
    table = _table("What is demanded")
    for name in ("what", "wanted", "found", "holds"):
        table.add_column(name, overflow="fold")
    for bar in judged:
        table.add_row(
            bar.what, bar.wanted, bar.found, "[red]no[/]" if bar.holds is False else bar.verdict
        )
    return table


def _table(title: str) -> Any:
    from rich import box
    from rich.table import Table

    return Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
