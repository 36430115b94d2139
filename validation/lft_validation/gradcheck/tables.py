"""Reports as text, at most 80 columns wide."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lft_validation.gradcheck.check import Report
from lft_validation.gradcheck.derivatives import WHAT, Derivatives
from lft_validation.gradcheck.methods import CENTRAL_TOLERANCE, Curve, Methods
from lft_validation.gradcheck.rows import Row
from lft_validation.gradcheck.terms import BACKWARD, BLOCKS, MAML, TOTALS, VALUES
from lft_validation.gradcheck.verdict import Finding

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

WIDTH = 80
FORWARD = (*BLOCKS, "∂g/∂θ", "carry", "G", "H", "∇_k")
SECTIONS = {
    "What is computed, eq. (3)": VALUES,
    "Statement 1: the blocks, (8), (9), and each step's part of ∇_Φ": FORWARD,
    "Backpropagation, last step first": BACKWARD,
    "MAML, (1) and (2)": MAML,
}
LEGEND = (
    "Relative error of each term at each step k. 2e-01!: wrong although all that goes into it is "
    "right. 2e-01: wrong because something before it is. carry: (G, H) as they enter the step."
)
BARS = "▁▂▃▄▅▆▇█"


def summary(rows: Sequence[Row]) -> Table:
    """Return a table with one line per problem."""
    table = _table("Relative errors of the meta-gradient", pad=0)
    for name in ("task", "estimator", "features", "2nd"):
        table.add_column(name, overflow="ellipsis", no_wrap=True)
    for name in ("terms", "fwd=adj", "autodiff", "central", "Taylor", "dot"):
        table.add_column(name, justify="right", no_wrap=True)
    for setting, report in rows:
        m = report.methods
        table.add_row(
            _short(setting.task) + (" k" if report.kinks else ""),
            setting.estimator.removesuffix("_order"),
            setting.preprocess,
            "yes" if setting.second_order else "no",
            number(report.worst),
            number(m.forward_adjoint),
            number(max(m.forward_autodiff, m.adjoint_autodiff)),
            "-" if m.central is None else number(m.central.best),
            "-" if m.order is None else f"{m.order:.2f}",
            number(m.dot_product),
            style=None if report.passed else "bold red",
        )
    return table


def summary_notes(rows: Sequence[Row], tolerance: float) -> str:
    """Explain the columns of :func:`summary`."""
    text = (
        "2nd: whether dg/dtheta was kept. terms: the worst of all terms at all steps. fwd=adj: "
        "Statement 1 against backpropagation. autodiff: the gradient against automatic "
        "differentiation. central: differences of the meta-loss, at the best step size. Taylor: "
        "order of the remainder, 2 for a right gradient. dot: <v, J u> = <J'v, u>. Allowed: "
        f"{tolerance:.0e}, and {max(CENTRAL_TOLERANCE, tolerance):.0e} for central. -: no answer."
    )
    if any(row.report.kinks for row in rows):
        text += " k: so near a kink that rounding may decide on which side; see below."
    return text


def derivatives_table(found: Sequence[Derivatives]) -> Table:
    """Return a table with one line per network or loss at full size."""
    table = _table("Relative errors of networks and losses", pad=1)
    table.add_column("what", no_wrap=True)
    for name in WHAT:
        table.add_column(name, justify="right", no_wrap=True)
    for row in found:
        cells = [number(row.errors[term]) if term in row.errors else "" for term in WHAT]
        style = None if row.passed else "bold red"
        table.add_row(row.name + (" k" if row.kinks else ""), *cells, style=style)
    return table


DERIVATIVES_NOTES = (
    "tan: tangents along random directions of the parameters p and of the input x. cot: cotangents "
    "(of a loss: its gradient). 2nd: the tangents of these (of a loss: Hessian times a vector)."
)


def _short(task: str) -> str:
    """Keep the name of a task of one's own, not its path, and no more than 12 letters."""
    name = task.rpartition(":")[2]
    return name if len(name) <= 12 else f"{name[:11]}…"


def number(error: float) -> str:
    """Return an error in five letters.

    Example:
        >>> number(0.0), number(2.4e-16), number(math.inf)
        ('0', '2e-16', 'none')
    """
    if not math.isfinite(error):
        return "none"
    return "0" if error == 0.0 else f"{error:.0e}"


def _table(title: str, pad: int = 0) -> Table:
    from rich import box
    from rich.table import Table

    return Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, pad, 0, 0),
    )


def detail(report: Report) -> Iterable[Table]:
    """Return the tables of one problem: error by step and term."""
    by_key = {(f.term, f.step): f for f in report.findings}
    steps = sorted({f.step for f in report.findings})
    for title, terms in SECTIONS.items():
        used = [term for term in terms if any((term, k) in by_key for k in steps)]
        if not used:
            continue
        table = _table(title)
        table.add_column("k", justify="right")
        for term in used:
            table.add_column(term, justify="right", no_wrap=True)
        for k in reversed(steps) if terms is BACKWARD else steps:
            cells = [_cell(by_key.get((term, k)), report) for term in used]
            table.add_row(str(k), *cells)
        yield table
    table = _table("∇_Φ")
    totals = [f for f in report.findings if f.term in TOTALS]
    for finding in totals:
        table.add_column(finding.term, justify="right", no_wrap=True)
    table.add_row(*(_cell(finding, report) for finding in totals))
    yield table


def as_text(report: Report) -> str:
    """Return the tables, methods and conclusion of one problem as plain text."""
    import io

    from rich.console import Console

    page = io.StringIO()
    console = Console(file=page, width=WIDTH, highlight=False, markup=False)
    console.print(f"{report.label}: {report.conclusion()}\n")
    for table in detail(report):
        console.print(table)
    console.print(LEGEND)
    console.print(methods_text(report.methods))
    return page.getvalue()


def _cell(finding: Finding | None, report: Report) -> Text:
    from rich.text import Text

    if finding is None:
        return Text("")
    if finding.at_fault(report.tolerance):
        return Text(f"{number(finding.error)}!", style="bold red")
    style = "yellow" if finding.wrong(report.tolerance) else ""
    return Text(number(finding.error), style=style)


def methods_text(methods: Methods) -> str:
    """Return the methods that need no trace, with the V-shaped curve of the differences."""
    lines = [
        f"Forward mode against the adjoint {number(methods.forward_adjoint)}.",
        f"Against autodiff: forward mode {number(methods.forward_autodiff)}.",
        f"Against autodiff: adjoint {number(methods.adjoint_autodiff)}.",
        f"Dot products <v, J u> = <J'v, u>, cell and dg/dtheta: {number(methods.dot_product)}.",
    ]
    if methods.central is None or methods.taylor is None:
        return "\n".join([*lines, "Differences say nothing here: a kink is near, or ∇_Φ is cut."])
    order = "below rounding" if methods.order is None else f"of order {methods.order:.2f}"
    lines += [f"Taylor remainder {order} (2: right, 1: wrong).", *curve_lines(methods.central)]
    return "\n".join(lines)


def curve_lines(curve: Curve) -> list[str]:
    """Return three lines: step sizes, errors, and the V that they draw; * marks the best."""
    best = curve.errors.index(curve.best)
    steps = "".join(_short_number(e).rjust(6) for e in curve.steps)
    marks = ["*" if i == best else "" for i in range(len(curve.errors))]
    pairs = zip(curve.errors, marks, strict=True)
    errors = "".join(f"{_short_number(e)}{mark}".rjust(6) for e, mark in pairs)
    heights = [math.log10(max(e, 1e-17)) if math.isfinite(e) else 0.0 for e in curve.errors]
    low, high = min(heights), max(*heights, min(heights) + 1.0)
    bars = "".join(BARS[round(7 * (h - low) / (high - low))].rjust(6) for h in heights)
    title = "Central differences of the meta-loss, relative error by step size (* the best):"
    return [title, f" step {steps}", f" error{errors}", f"      {bars}"]


def _short_number(value: float) -> str:
    return number(value).replace("e-0", "e-").replace("e+0", "e+")
