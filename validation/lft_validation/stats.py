"""Paired comparisons: mean difference, bootstrap interval over tasks, verdict on a claim."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lft_backends.draws import Stage, stream

CONFIDENCE = 0.95
RESAMPLES = 4999


class Difference(NamedTuple):
    """Mean of a − b over pairs, with its interval."""

    mean: float
    low: float
    high: float
    by_seed: list[float]  # the mean difference of each seed: its sign should not depend on the seed


def paired_difference(a: list[np.ndarray], b: list[np.ndarray]) -> Difference:
    """Compare two methods on the same tasks.

    The interval is a bias-corrected and accelerated bootstrap (BCa) of the mean over the pooled
    tasks of all seeds, at 95 %. It speaks of new tasks for these trained fine-tuners; ``by_seed``
    shows how much a new training would move it.

    Args:
        a: one array per seed, one entry per task.
        b: the same tasks under the other method; at least two in all.
    """
    from scipy.stats import bootstrap

    by_seed = [x - y for x, y in zip(a, b, strict=True)]
    pooled = np.concatenate(by_seed)
    means = [float(d.mean()) for d in by_seed]
    if np.ptp(pooled) == 0.0:
        return Difference(float(pooled.mean()), float(pooled.mean()), float(pooled.mean()), means)
    interval = bootstrap(
        (pooled,),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        batch=500,
        rng=stream(0, Stage.BOOTSTRAP),
    ).confidence_interval
    return Difference(float(pooled.mean()), float(interval.low), float(interval.high), means)


def verdict_less(difference: Difference) -> str:
    """Judge the claim a < b: it holds or fails if the interval says so and every seed agrees."""
    if difference.high < 0.0 and max(difference.by_seed) < 0.0:
        return "holds"
    if difference.low > 0.0 and min(difference.by_seed) > 0.0:
        return "fails"
    return "undecided"
