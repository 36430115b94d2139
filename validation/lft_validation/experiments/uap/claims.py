"""The claims of section 4 and supplement E, each a difference paired over tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lft_validation.experiments.uap.config import HAND, Config
from lft_validation.experiments.uap.metrics import NAMES, own_first_steps
from lft_validation.experiments.unions import NONE, parts
from lft_validation.stats import paired_difference, verdict_less

# What section 4 and supplement E compare LFT with; the other comparisons are ours.
OF_THE_PAPER = ("L2O", "L2O-train", "MAML", "PGD")

Measure = Callable[[np.ndarray], np.ndarray]  # curves (6, tasks, steps + 1) to (tasks,)


def measures(config: Config) -> dict[str, tuple[Measure, bool]]:
    """What is compared, by name; and whether more is better."""
    k = config.table_step
    return {
        "more success": (lambda c: c[NAMES.index("val"), :, k], True),
        "fewer steps to 100 %": (lambda c: own_first_steps(c[NAMES.index("val")]), False),
        "less mean |θ|": (lambda c: c[NAMES.index("strength"), :, k], False),
    }


def claims(config: Config, results: dict[Any, list[np.ndarray]]) -> list[dict[str, Any]]:
    """Judge LFT against every other method, L2O against MAML, two sources against one."""
    judged = []
    for setting in config.settings:
        for training in config.training:
            for testing in config.testing:
                for better, other in _pairs(config):
                    left = (setting, training, better, testing)
                    right = (setting, NONE if other in HAND else training, other, testing)
                    judged += _compare(config, results, left, right, f"{better} vs {other}")
        judged += _more_sources(config, results, setting)
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
                left, right = ((setting, training, "LFT", testing) for training in (many, one))
                name = f"LFT of {many} vs of {one}"
                judged += _compare(config, results, left, right, name)[1:2]
    return judged


def _compare(
    config: Config,
    results: dict[Any, list[np.ndarray]],
    left: tuple[str, ...],
    right: tuple[str, ...],
    name: str,
) -> list[dict[str, Any]]:
    """One claim for each measure: the left side is better than the right one."""
    if left not in results or right not in results:
        return []
    setting, training, _, testing = left
    judged = []
    for what, (measure, more) in measures(config).items():
        a, b = _both_known(*([measure(c) for c in results[side]] for side in (left, right)))
        difference = paired_difference(a, b)
        verdict = verdict_less(paired_difference(b, a) if more else difference)
        judged.append(
            {
                "claim": name,
                "measure": what,
                "setting": setting,
                "training": training,
                "testing": testing,
                "of_the_paper": right[2] in (*OF_THE_PAPER, "LFT"),
                "difference": difference._asdict(),
                "verdict": verdict,
            }
        )
    return judged


def _both_known(
    a: list[np.ndarray], b: list[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Leave out tasks without an image that counts (NaN on both sides: it depends on the task)."""
    known = [np.isfinite(x) & np.isfinite(y) for x, y in zip(a, b, strict=True)]
    return tuple([x[k] for x, k in zip(side, known, strict=True)] for side in (a, b))  # type: ignore[return-value] # mypy cannot count a generator
