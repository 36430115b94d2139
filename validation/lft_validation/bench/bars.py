"""What this project demands of itself, and whether the measurements reach it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lft_validation.bench.cases import PEERS
from lft_validation.bench.contestant import FUSED, ON_GPU, OURS, PLAIN
from lft_validation.bench.problems import HUGE
from lft_validation.bench.run import Bench, CaseResult, Row

LARGE = 14_000  # coordinates from which on the bars are higher
FUSED_LARGE = {"float32": 2.5, "float64": 2.0}
TRAINING = 3.0
GPU, GPU_LARGE, ROOFLINE = 2.0, 100_000, 0.5
EXPONENT = 0.1
KEPT = 0.05  # of a step's θ, h and c; growth like √K, from 64 to 256 steps, would be 0.083
COMPILED_WITHIN = 20.0  # seconds


class Bar(NamedTuple):
    """One demand."""

    what: str
    wanted: str
    found: str
    holds: bool | None  # None: undecided, since some of those that it names were not timed
    without: tuple[str, ...] = ()  # these

    @property
    def verdict(self) -> str:
        """``yes``, ``no`` or ``undecided (no PyTorch)``."""
        if self.holds is None:
            return f"undecided (no {', no '.join(self.without)})"
        return "yes" if self.holds else "no"


def bars(bench: Bench) -> list[Bar]:
    """Judge all that was measured; what was not has no bar."""
    found = [bar for case in bench.cases for bar in _case_bars(case)]
    for g in bench.growth:
        if g.axis in ("d", "K"):
            held = abs(g.exponent - 1.0) <= EXPONENT
            text = f"{g.exponent:.2f} ({g.low:.2f} to {g.high:.2f}), {g.sizes[0]} … {g.sizes[-1]}"
            found.append(Bar(f"time against {g.axis}, {g.name}", "exponent 0.9 to 1.1", text, held))
    for m in bench.memory:
        if m.engine == "forward mode":
            held = abs(m.kept) <= KEPT
            text = f"each step adds {100 * m.kept:.1f} % of its θ, h, c, at K = {m.lengths[-1]}"
            found.append(Bar("peak memory of forward mode", "does not grow with K", text, held))
        if m.engine == "adjoint, recomputing":
            text = f"exponent {m.exponent:.2f}"
            held = abs(m.exponent - 0.5) <= EXPONENT
            found.append(Bar("peak memory of the adjoint, recomputing", "like √K", text, held))
    for start in bench.startup:
        if "first use" in start.name and start.wall is not None:
            held = start.wall < COMPILED_WITHIN
            found.append(Bar(start.name, "under 20 s", f"{start.wall:.1f} s", held))
    return found


def _case_bars(case: CaseResult) -> list[Bar]:
    rows = {row.name: row for row in case.rows if row.ratio is not None}
    peers = [row for row in rows.values() if row.family != OURS]
    if peers and case.base == ON_GPU:
        return _gpu_bars(case, rows[ON_GPU], peers)
    if not peers or FUSED not in rows or case.base != FUSED:
        return []
    where = f"{case.title}, {case.dtype}"
    if case.case == "training":
        jax = [row for row in peers if row.family == "jax"]
        return [_bar(f"fused, {where}", TRAINING, jax, ("jax",))] if jax else []
    if case.case not in ("quadratic", "sine"):
        return []
    large = case.d >= LARGE or case.case == "sine"
    wanted = FUSED_LARGE[case.dtype] if large else 1.0
    found = [_bar(f"fused, {where}", wanted, peers)]
    if PLAIN in rows:
        strict = case.dtype == "float32" and case.d >= LARGE
        slack = 1.0 if strict else 1.5
        fastest = min(peers, key=_ratio)
        times = _ratio(rows[PLAIN]) / _ratio(fastest)
        text = f"×{times:.2f} of {fastest.name}"
        wanted_of = f"≤ ×{slack:g} of any peer"
        found.append(_against(f"plain, {where}", wanted_of, text, times <= slack, peers))
    return found


def _gpu_bars(case: CaseResult, ours: Row, peers: Sequence[Row]) -> list[Bar]:
    """From 10⁵ coordinates on twice as fast as any peer; at 10⁷ half of what the card could do."""
    if case.case != "quadratic" or case.d < GPU_LARGE:
        return []
    where = f"{case.title}, {case.dtype}"
    found = [_bar(f"CuPy, {where}", GPU, peers)]
    if case.d >= HUGE and ours.ns is not None:
        share = max(case.floor) * 1e9 / ours.ns
        text = f"{100 * share:.0f} %"
        found.append(Bar(f"roofline, {where}", "≥ 50 %", text, share >= ROOFLINE))
    return found


def _ratio(row: Row) -> float:
    assert row.ratio is not None
    return row.ratio


def _bar(
    what: str, wanted: float, peers: Sequence[Row], named: Sequence[str] = tuple(PEERS)
) -> Bar:
    fastest = min(peers, key=_ratio)
    found = _ratio(fastest)
    text = f"{found:.2f} ({fastest.name})"
    words = f"≥ {wanted:g} times as fast"
    return _against(what, words, text, found >= wanted, peers, named)


def _against(
    what: str,
    wanted: str,
    found: str,
    holds: bool,
    peers: Sequence[Row],
    named: Sequence[str] = tuple(PEERS),
) -> Bar:
    """Judge by those that were timed: one is enough to miss a bar, but all named must be beaten."""
    timed = {row.family for row in peers}
    without = tuple(PEERS[name] for name in named if name not in timed)
    if holds and without:
        return Bar(what, wanted, found, None, without)
    return Bar(what, wanted, found, holds)
