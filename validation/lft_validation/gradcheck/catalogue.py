"""The planted mistakes as a list, and what each method makes of them as a table.

``lft gradcheck --plant table`` prints the table that stands in docs/gradient_checking.md.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

from lft_validation.gradcheck.plants import AREAS, PLANTS, check_plant
from lft_validation.report import markdown_table

METHODS = ("forward = adjoint", "autodiff", "differences", "Taylor", "dot product")
COSINE = 0.99  # what a check of the angle commonly asks for
ABSOLUTE = 1e-6  # what a check of the absolute error commonly allows


class Line(NamedTuple):
    """One mistake, measured."""

    name: str
    says: str
    term: str
    step: int
    relative: float
    absolute: float
    cosine: float
    caught_by: tuple[str, ...]

    @property
    def invisible(self) -> tuple[str, ...]:
        """Return the loose checks that this mistake passes."""
        passed = []
        if self.cosine >= COSINE:
            passed.append("cosine 0.99")
        if self.absolute <= ABSOLUTE:
            passed.append("absolute 1e-6")
        return tuple(passed)


def list_lines() -> list[str]:
    """Return names and descriptions of all mistakes, by area."""
    lines: list[str] = []
    for area, plants in AREAS.items():
        lines += ["", area] if lines else [area]
        for plant in plants:
            text = f"  {plant.name:<23} {plant.says}"
            lines += textwrap.wrap(text, 80, subsequent_indent=" " * 26, drop_whitespace=True)
    return lines


def measure(seed: int = 0) -> Iterator[Line]:
    """Plant every mistake and measure it."""
    for plant in PLANTS.values():
        report = check_plant(plant, seed)
        first, failed = report.first, report.methods.failed(report.tolerance)
        if plant.term.startswith("MAML"):  # the methods are about ∇_Φ; MAML's total is one too
            failed = ["autodiff"] if report.relative_error > report.tolerance else []
        yield Line(
            plant.name,
            plant.says,
            "none" if first is None else first.term,
            0 if first is None else first.step,
            report.relative_error,
            report.absolute_error,
            report.cosine,
            tuple(failed),
        )


def table(lines: list[Line]) -> str:
    """Return the table of docs/gradient_checking.md, and a sentence about what hides from whom."""
    head = ("mistake", "first wrong term", "relative error", "absolute", "cosine", *METHODS)
    rows: list[tuple[str, ...]] = [head]
    for line in lines:
        marks = ["yes" if method in line.caught_by else "no" for method in METHODS]
        numbers = (f"{line.relative:.0e}", f"{line.absolute:.0e}", cosine(line.cosine))
        rows.append(
            (f"`{line.name}`: {line.says}", f"{line.term}, step {line.step}", *numbers, *marks)
        )
    return markdown_table(rows) + "\n" + hidden(lines)


def cosine(value: float) -> str:
    """Return a cosine; one that only rounds to 1 is shown by its distance from it."""
    if math.isnan(value):
        return "none"
    return f"1 − {1.0 - value:.0e}" if 0.0 < 1.0 - value < 5e-4 else f"{value:.3f}"


def hidden(lines: list[Line]) -> str:
    """Return one paragraph per loose check: the mistakes that pass it."""
    paragraphs = []
    for check in ("cosine 0.99", "absolute 1e-6"):
        names = [f"`{line.name}`" for line in lines if check in line.invisible]
        paragraphs.append(f"{len(names)} pass a check with {check}: {', '.join(names)}.\n")
    for method in METHODS:
        count = sum(method in line.caught_by for line in lines)
        paragraphs.append(f"{method}: sees {count} of {len(lines)}.\n")
    return "\n".join(paragraphs)
