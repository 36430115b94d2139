"""The claims of section 4 and supplement E, each a difference paired over tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lft_validation.experiments.learners import LEARNED
from lft_validation.experiments.uap.config import HAND, Config
from lft_validation.experiments.uap.metrics import NAMES, known_mean, own_first_steps
from lft_validation.experiments.uap.said import (
    LESS_SUCCESS,
    LOSS,
    LOSS_CURVE,
    STEPS,
    STRENGTH,
    SUCCESS,
    SUCCESS_CURVE,
    Compared,
    paper_says,
)
from lft_validation.experiments.unions import NONE, parts
from lft_validation.report import known, read_paper
from lft_validation.stats import paired_difference, verdict_less, verdict_more

Measure = Callable[[np.ndarray], np.ndarray]  # curves (6, tasks, steps + 1) to (tasks,)
COMPARED = (SUCCESS, STEPS, STRENGTH, LOSS, SUCCESS_CURVE, LOSS_CURVE)


def measures(config: Config) -> dict[str, tuple[Measure, bool]]:
    """What is compared, by name; and whether more is better.

    "All steps" is the mean over steps 1 to the last, that is the height of the whole curve: "the
    highest ASR at a given number of fine-tuning steps", "fast adaptation".
    """
    k = config.table_step
    val, strength, loss = (NAMES.index(name) for name in ("val", "strength", "loss"))
    return {
        SUCCESS: (lambda c: c[val, :, k], True),
        STEPS: (lambda c: own_first_steps(c[val]), False),
        STRENGTH: (lambda c: c[strength, :, k], False),
        LOSS: (lambda c: c[loss, :, k], False),
        SUCCESS_CURVE: (lambda c: c[val, :, 1:].mean(axis=-1), True),
        LOSS_CURVE: (lambda c: c[loss, :, 1:].mean(axis=-1), False),
        LESS_SUCCESS: (lambda c: c[val, :, k], False),
    }


def claims(config: Config, results: dict[Any, list[np.ndarray]]) -> list[dict[str, Any]]:
    """Judge LFT against every other method, L2O against MAML, and what else section 4 says."""
    judged = []
    for setting in config.settings:
        for training in config.training:
            for testing in config.testing:
                for better, other in _pairs(config):
                    left = Compared(setting, training, better, testing)
                    of = NONE if other in HAND else training
                    right = Compared(setting, of, other, testing)
                    judged += _compare(config, results, left, right, f"{better} vs {other}")
        judged += _more_sources(config, results, setting)
        judged += _elsewhere(config, results, setting)
    return judged


def _pairs(config: Config) -> list[tuple[str, str]]:
    return [("LFT", m) for m in config.methods if m != "LFT"] + [("L2O", "MAML")]


def _more_sources(
    config: Config, results: dict[Any, list[np.ndarray]], setting: str
) -> list[dict[str, Any]]:
    """Hybrid sources in meta-training give "faster adaptation" (rows 1 and 2 of Figure 2)."""
    judged = []
    for many in (t for t in config.training if len(parts(t)) > 1):
        for one in (t for t in config.training if t in parts(many)):
            for testing in config.testing:
                left, right = (Compared(setting, t, "LFT", testing) for t in (many, one))
                name, only = f"LFT of {many} vs of {one}", (STEPS, SUCCESS_CURVE)
                judged += _compare(config, results, left, right, name, only)
    return judged


def _elsewhere(
    config: Config, results: dict[Any, list[np.ndarray]], setting: str
) -> list[dict[str, Any]]:
    """Success falls on a source that was not trained on, "for LFT and L2O".

    The tasks of two sources are not the same ones; they are paired by their number.
    """
    judged = []
    for training in (t for t in config.training if len(parts(t)) == 1):
        for testing in (t for t in config.testing if len(parts(t)) == 1 and t != training):
            for method in (m for m in config.methods if m in LEARNED):
                left, right = (Compared(setting, training, method, t) for t in (testing, training))
                name = f"{method} on {testing} vs on {training}"
                judged += _compare(config, results, left, right, name, (LESS_SUCCESS,))
    return judged


def _compare(
    config: Config,
    results: dict[Any, list[np.ndarray]],
    left: Compared,
    right: Compared,
    name: str,
    only: tuple[str, ...] = COMPARED,
) -> list[dict[str, Any]]:
    """One claim for each measure: the left side is better than the right one."""
    if left not in results or right not in results:
        return []
    judged, paper = [], read_paper("table1")
    for what in only:
        measure, more = measures(config)[what]
        a, b = _both_known(*([measure(c) for c in results[side]] for side in (left, right)))
        difference = paired_difference(a, b, len(parts(left.testing)))
        mean, low, high, by_seed, pairs = difference
        said = paper_says(paper, left, right, what)
        judged.append(
            {
                "claim": name,
                "measure": what,
                "setting": left.setting,
                "training": left.training,
                "testing": left.testing,
                "of_the_paper": said.claimed,
                "paper": said.text,
                "ours": [known(known_mean(np.concatenate(side))) for side in (a, b)],
                "difference": {
                    "mean": known(mean),
                    "low": known(low),
                    "high": known(high),
                    "by_seed": [known(d) for d in by_seed],
                    "pairs": pairs,
                },
                "verdict": (verdict_more if more else verdict_less)(difference),
            }
        )
    return judged


def _both_known(
    a: list[np.ndarray], b: list[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Make tasks NaN on both sides that have no image that counts on one; all keep their places."""
    pairs = list(zip(a, b, strict=True))
    gaps = [np.where(np.isfinite(x) & np.isfinite(y), 0.0, np.nan) for x, y in pairs]
    left, right = ([x + gap for x, gap in zip(side, gaps, strict=True)] for side in (a, b))
    return left, right
