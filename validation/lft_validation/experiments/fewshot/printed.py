"""What the paper prints beside a row or a claim: accuracies, and differences between them."""

from __future__ import annotations

from typing import Any

from lft_validation.experiments.fewshot.claims import Cell, Printed
from lft_validation.experiments.learners import LEARNED
from lft_validation.experiments.unions import parts


def of_the_same_tasks(paper: dict[str, Any], ways: int) -> dict[str, Any]:
    """Return what the paper has for tasks of so many classes: nothing, if its own have others."""
    return paper if paper["ways"] == ways else {**paper, "rows": [], "panels": []}


def cells(paper: dict[str, Any], stand_in: dict[str, str]) -> Printed:
    """Return the cells of the paper's table or figure, but for stood-in sources."""
    rows = [
        (r["training"], r["testing"], r.get("shots", paper.get("shots"))) for r in paper["rows"]
    ]
    rows += [(*panel, paper["shots"]) for panel in paper.get("panels", [])]
    return {
        (training, testing, shots)
        for training, testing, shots in rows
        if not set(stand_in) & {*parts(training), *parts(testing)}
    }


def row_of(cell: Cell, paper: dict[str, Any], stand_in: dict[str, str]) -> dict[str, Any] | None:
    """Return the paper's row of a cell, under the names of what stands in for its sources."""
    for row in paper["rows"]:
        names = {
            side: "+".join(stand_in.get(s, s) for s in parts(row[side]))
            for side in ("training", "testing")
        }
        same = Cell(names["training"], row["method"], names["testing"], cell.shots) == cell
        if same and row.get("shots", paper.get("shots")) == cell.shots:
            return {name: row[name] for name in ("accuracy", "sd") if name in row}
    return None


def difference(
    claim: dict[str, Any], paper: dict[str, Any], stand_in: dict[str, str]
) -> float | None:
    """Return the paper's own difference beside a claim's; None where it prints none: no losses.

    Its "L2O" stands beside both readings of it (docs/errata.md). Of a gain that grows as shots
    shrink it is the gain with few shots less that with many.
    """

    def gain(shots: int) -> float | None:
        other = "L2O" if claim["versus"] in LEARNED[1:] else claim["versus"]
        found = [
            row_of(Cell(claim["training"], method, claim["testing"], shots), paper, stand_in)
            for method in ("LFT", other)
        ]
        ours, theirs = (None if row is None else float(row["accuracy"]) for row in found)
        return None if ours is None or theirs is None else ours - theirs

    if claim["metric"] != "accuracy":
        return None
    gains = [gain(shots) for shots in claim["few_many"] or [claim["shots"]]]
    known = [g for g in gains if g is not None]
    return None if len(known) < len(gains) else known[0] - sum(known[1:])
