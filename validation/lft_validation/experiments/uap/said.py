"""What the paper itself says of a claim: its two numbers, or its words where it draws a curve."""

from __future__ import annotations

from typing import Any, NamedTuple

from lft_validation.experiments.learners import LEARNED
from lft_validation.experiments.uap.config import HAND, MAML, ZEROTH

# What section 4 and supplement E compare LFT with; the other comparisons are ours.
OF_THE_PAPER = (*LEARNED, MAML, "PGD")

SUCCESS, STEPS, STRENGTH, LOSS = (
    "more success", "fewer steps to 100 %", "less mean |θ|", "less loss (12)",
)  # fmt: skip
SUCCESS_CURVE, LOSS_CURVE = f"{SUCCESS}, all steps", f"{LOSS}, all steps"
LESS_SUCCESS = "less success"
FIELDS = {SUCCESS: "success", LESS_SUCCESS: "success", STEPS: "step", STRENGTH: "strength"}


class Said(NamedTuple):
    """The paper's side of a claim."""

    text: str  # "–" where it says nothing
    claimed: bool  # whether it claims what is judged, in words or by its numbers


class Compared(NamedTuple):
    """One side of a comparison, as the keys of the results: see ``report.Cell``."""

    setting: str
    training: str
    method: str
    testing: str


def paper_says(paper: dict[str, Any], left: Compared, right: Compared, measure: str) -> Said:
    """Return what the paper has beside a claim that ``left`` is better than ``right``.

    Its "L2O" stands beside both readings of it (docs/errata.md). Where it has neither the sources
    nor the setting, the claim is still the paper's if the two methods are.

    Args:
        paper: ``paper/table1.toml``.
        left: what is claimed to be better.
        right: and than what.
        measure: in what.
    """
    known = all(method in OF_THE_PAPER for method in (left.method, right.method))
    rows = {(row["training"], row["testing"], row["method"]): row for row in paper["rows"]}
    ours = rows.get(_key(left))
    if not known or left.setting == ZEROTH or ours is None:
        return Said("–", known)
    words = paper["words"]
    if right.method in HAND:
        where = (left.training, left.testing) == (words["pgd_training"], words["pgd_testing"])
        drawn = {SUCCESS: Said(words["pgd"], True), SUCCESS_CURVE: Said(words["pgd"], True),
                 STRENGTH: Said("curve", False)}  # fmt: skip
        return drawn.get(measure, Said("–", False)) if where else Said("–", False)
    if measure in (LOSS, LOSS_CURVE):
        return Said(words["loss"], True) if left.method == "LFT" else Said("curve", False)
    theirs = rows.get(_key(right))
    if measure == SUCCESS_CURVE or theirs is None:
        return Said("curve", True)
    return _printed(ours, theirs, measure, left.training != right.training)


def _key(side: Compared) -> tuple[str, str, str]:
    method = "L2O" if side.method in LEARNED[1:] else side.method
    return side.training, side.testing, method


def _printed(ours: dict[str, Any], theirs: dict[str, Any], measure: str, in_words: bool) -> Said:
    """Compare two numbers of the table; a step that is "N/A" in print is none within 200."""
    a, b = (row.get(FIELDS[measure]) for row in (ours, theirs))
    never = float("inf")
    first, second = (never if value is None else value for value in (a, b))
    better = first > second if measure == SUCCESS else first < second
    return Said(f"{_shown(a, measure)} vs {_shown(b, measure)}", bool(better or in_words))


def _shown(value: float | None, measure: str) -> str:
    if value is None:
        return "N/A"
    return f"{100 * value:.0f} %" if FIELDS[measure] == "success" else f"{value:g}"
