"""The results as JSON and as a figure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lft_validation.bench.bars import Bar
from lft_validation.bench.contestant import FUSED, PLAIN
from lft_validation.bench.run import Bench, CaseResult
from lft_validation.experiments.figures import save

FORMAT = "lft-bench-1"
COLOURS = {"lft_ref": "#d62728", "jax": "#1f77b4", "torch": "#ff7f0e"}
HATCHES = {FUSED: "", PLAIN: "//"}


def as_json(bench: Bench, judged: list[Bar]) -> dict[str, Any]:
    """Everything, as plain JSON values."""
    cases = [
        case._asdict()
        | {"rows": [_finite(row._asdict()) for row in case.rows],
           "missing": [missing._asdict() for missing in case.missing]}
        for case in bench.cases
    ]  # fmt: skip
    return {
        "format": FORMAT,
        "about": bench.about,
        "limits": {dtype: limit._asdict() for dtype, limit in bench.limits.items()},
        "cases": cases,
        "growth": [g._asdict() for g in bench.growth],
        "memory": [m._asdict() for m in bench.memory],
        "startup": [s._asdict() for s in bench.startup],
        "bars": [bar._asdict() for bar in judged],
    }


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: an error that is none becomes null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v
            for k, v in row.items()}  # fmt: skip


def draw(bench: Bench, path: Path) -> Path:
    """Write a figure, PNG or SVG by the file's ending: nanoseconds of every contestant and case."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    cases = [case for case in bench.cases if any(row.ns is not None for row in case.rows)]
    columns = min(3, max(1, len(cases)))
    lines = max(1, math.ceil(len(cases) / columns))
    with mpl.rc_context({"svg.hashsalt": "bench", "font.size": 8, "axes.spines.top": False,
                         "axes.spines.right": False}):  # fmt: skip
        figure = Figure(figsize=(4.0 * columns, 2.1 * lines + 0.4), layout="constrained")
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel, case in zip(panels, cases, strict=False):
            _panel(panel, case)
        for panel in panels[len(cases) :]:
            panel.set_axis_off()
        figure.suptitle("ns for each coordinate and step: median and quartiles, shorter is better")
        return save(figure, path, path.suffix[1:])


def _panel(panel: Any, case: CaseResult) -> None:
    rows = [row for row in case.rows if row.ns is not None][::-1]
    for place, row in enumerate(rows):
        assert row.ns is not None
        assert row.median
        assert row.low is not None
        assert row.high is not None
        scale = row.ns / row.median
        spread = [[row.ns - row.low * scale], [row.high * scale - row.ns]]
        panel.barh(
            place, row.ns, xerr=spread, color=COLOURS[row.family], hatch=HATCHES.get(row.name, ""),
            edgecolor="white", error_kw={"linewidth": 0.8}, height=0.75,
        )  # fmt: skip
        end = row.high * scale
        panel.annotate(
            f"{row.ns:.0f}", (end, place), xytext=(3, 0), textcoords="offset points", va="center",
            fontsize=7,
        )  # fmt: skip
    panel.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=7)
    panel.margins(x=0.18)
    panel.set_title(f"{case.title}, {case.dtype}", loc="left", fontsize=8)
