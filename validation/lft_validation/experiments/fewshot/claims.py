"""The claims of section 5 and supplement F, each a difference paired over tasks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from lft_validation.experiments.fewshot.config import HAND, MAML, Config, measured_steps
from lft_validation.experiments.fewshot.metrics import NAMES
from lft_validation.experiments.learners import LEARNED
from lft_validation.experiments.unions import NONE, parts
from lft_validation.stats import Difference, paired_difference, verdict_less, verdict_more

EARLY = (1, 2, 5, 10, 20)  # "a smaller number of fine-tuning steps"
MARGIN = 0.01  # LFT matches MAML if it is less than so much worse

# What a claim says, of the other method. It is for readers; nothing is recovered from it.
MORE, MATCHES, LESS_LOSS = "LFT > {}", "LFT matches {}", "LFT < {} in loss"
GROWS = "gain over {}: {} > {} shots"


class Cell(NamedTuple):
    """One cell of a table: what was trained, how, and where it is tested."""

    training: str
    method: str
    testing: str
    shots: int


Results = dict[Cell, list[np.ndarray]]  # of each seed (3, tasks, measured steps): metrics.NAMES


def metric(config: Config, curves: list[np.ndarray], step: int, name: str) -> list[np.ndarray]:
    """Return one of :data:`metrics.NAMES` after a measured step, for each seed (tasks,)."""
    at = measured_steps(config).index(step)
    return [c[NAMES.index(name), :, at] for c in curves]


Printed = set[tuple[str, str, int]]  # (training, testing, shots) of the paper's table or figure


def claims(
    config: Config, results: Results, printed: Printed | None = None
) -> list[dict[str, Any]]:
    """Judge LFT against every other method in every cell; then what each table adds.

    Args:
        config: the run's settings.
        results: its curves.
        printed: the cells that the paper speaks of; all if None.
    """
    judged = list[dict[str, Any]]()
    for cell in results:
        if cell.method == "LFT":
            for other in config.methods:
                judged += _against(config, results, cell, other)
    if config.table == "tableA1":
        judged += _gain_grows(config, results)
    for claim in judged:
        shots = claim["few_many"] or [claim["shots"]]
        where = {(claim["training"], claim["testing"], k) for k in shots}
        claim["of_the_paper"] &= printed is None or where <= printed
        claim["of_the_paper"] &= config.table != "tableA1" or claim["versus"] not in MAML
    return judged


def _against(config: Config, results: Results, cell: Cell, other: str) -> list[dict[str, Any]]:
    """LFT is more accurate than another method, or matches MAML; Table A2 claims more than that.

    And its loss on D_val is less, which is what it was meta-trained for, and no claim of the paper.
    """
    rival = cell._replace(method=other, training=NONE if other in HAND else cell.training)
    if other == "LFT" or rival not in results:
        return []
    steps = [config.table_step]
    if config.table == "figure3" and other in LEARNED:
        steps = [s for s in EARLY if s < config.table_step] + steps
    margin = MARGIN if other in MAML and config.table != "tableA2" else 0.0
    name = (MATCHES if margin else MORE).format(other)
    judged = []
    for step in steps:
        ours, theirs = (metric(config, results[c], step, "accuracy") for c in (cell, rival))
        judged.append(_judged(name, other, cell, step, ours, theirs, margin))
    losses = (metric(config, results[c], config.table_step, "loss") for c in (cell, rival))
    return [*judged, _less_loss(other, cell, config.table_step, *losses)]


def _less_loss(
    other: str, cell: Cell, step: int, a: list[np.ndarray], b: list[np.ndarray]
) -> dict[str, Any]:
    """Judge a < b, losses on D_val."""
    difference = paired_difference(a, b, len(parts(cell.testing)))
    claim = _claim(LESS_LOSS.format(other), other, cell, step, difference)
    return claim | {"metric": "loss", "of_the_paper": False, "verdict": verdict_less(difference)}


def _gain_grows(config: Config, results: Results) -> list[dict[str, Any]]:
    """The gain of LFT over L2O is larger with fewer shots; tasks are paired by their number."""
    judged, k = list[dict[str, Any]](), sorted(config.shots)
    pairs = [*pairwise(k), *([(k[0], k[-1])] if len(k) > 2 else [])]
    for other in (m for m in config.methods if m in LEARNED[1:]):
        for cell in (c for c in results if c.method == "LFT" and c.shots == k[0]):
            for few, many in pairs:
                at_few, at_many = (
                    _gains(config, results, cell, other, shots) for shots in (few, many)
                )
                if at_few and at_many:
                    name = GROWS.format(other, few, many)
                    claim = _judged(name, other, cell, config.table_step, at_few, at_many)
                    judged.append(claim | {"shots": None, "few_many": [few, many]})
    return judged


def _gains(
    config: Config, results: Results, cell: Cell, other: str, shots: int
) -> list[np.ndarray]:
    """Accuracy of LFT less that of another method with so many shots, for each seed."""
    cells = [cell._replace(shots=shots, method=m) for m in ("LFT", other)]
    if not all(c in results for c in cells):
        return []
    pairs = (metric(config, results[c], config.table_step, "accuracy") for c in cells)
    return [ours - theirs for ours, theirs in zip(*pairs, strict=True)]


def _judged(
    name: str,
    other: str,
    cell: Cell,
    step: int,
    a: list[np.ndarray],
    b: list[np.ndarray],
    margin: float = 0.0,
) -> dict[str, Any]:
    """Judge a > b − margin; the difference is that of a and b."""
    difference = paired_difference(a, b, len(parts(cell.testing)))
    claim = _claim(name, other, cell, step, difference)
    return claim | {"margin": margin, "verdict": verdict_more(difference.above(margin))}


def _claim(name: str, other: str, cell: Cell, step: int, difference: Difference) -> dict[str, Any]:
    """What every claim says of itself; its verdict is still open."""
    return {
        "claim": name,
        "metric": "accuracy",
        "training": cell.training,
        "testing": cell.testing,
        "shots": cell.shots,
        "versus": other,
        "few_many": None,  # the two numbers of shots that a growing gain compares
        "step": step,
        "of_the_paper": other not in ("FOMAML", *HAND),
        "difference": difference._asdict(),
        "margin": 0.0,
    }
