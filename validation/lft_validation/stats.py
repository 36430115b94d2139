"""Paired comparisons: mean difference, bootstrap interval over tasks, verdict on a claim."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lft_backends.draws import Stage, stream

CONFIDENCE = 0.95
RESAMPLES = 4999
FEWEST = 20  # BCa is too narrow for less: docs/decisions.md
RULE = (
    "A claim holds or fails if the interval and every seed say so; from fewer than "
    f"{FEWEST} tasks of all seeds, of a union from fewer of a source, it is undecided."
)


class Difference(NamedTuple):
    """Mean of a − b over pairs, with its interval; NaN where there is none."""

    mean: float
    low: float
    high: float
    by_seed: list[float]  # the mean difference of each seed: its sign should not depend on the seed
    pairs: int  # that are known, of the source that has the fewest

    def above(self, less: float) -> Difference:
        """Return the difference of a and b − less."""
        mean, low, high, by_seed, pairs = self
        return Difference(mean + less, low + less, high + less, [d + less for d in by_seed], pairs)


def paired_difference(a: list[np.ndarray], b: list[np.ndarray], sources: int = 1) -> Difference:
    """Compare two methods on the same tasks.

    The interval is a bias-corrected and accelerated bootstrap (BCa) of the mean over the pooled
    tasks of all seeds, at 95 %. It speaks of new tasks for these trained fine-tuners; ``by_seed``
    shows how much a new training would move it. A pair that is NaN on one side is left out; of a
    source with less than two pairs no interval is known, and of few pairs it is too narrow:
    :data:`RULE`.

    Args:
        a: one array per seed, one entry per task.
        b: the same tasks under the other method.
        sources: as of :func:`pooled`.
    """
    by_seed = [x - y for x, y in zip(a, b, strict=True)]
    samples = [values[~np.isnan(values)] for values in pooled(by_seed, sources)]
    pairs = min(values.size for values in samples)
    low, high = mean_interval(*samples) if pairs >= 2 else (np.nan, np.nan)
    means = [_mean(values) for values in by_seed]
    return Difference(_mean(np.concatenate(by_seed)), low, high, means, pairs)


def _mean(values: np.ndarray) -> float:
    """Return the mean without NaN, and NaN of nothing."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else float("nan")


def pooled(by_seed: list[np.ndarray], sources: int = 1) -> list[np.ndarray]:
    """Return the tasks of all seeds, those of each source apart.

    Args:
        by_seed: one array per seed; of a union, equally many tasks of each source, in turn.
        sources: how many.

    Example:
        >>> [a.tolist() for a in pooled([np.arange(4.0), np.arange(4.0, 8.0)], 2)]
        [[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]]
    """
    apart = [np.split(values, sources) for values in by_seed]
    return [np.concatenate(one) for one in zip(*apart, strict=True)]


def mean_interval(*samples: np.ndarray) -> tuple[float, float]:
    """Return the ends of a BCa bootstrap interval of the mean, at 95 %, from at least two values.

    Values of several samples are drawn again sample by sample: their numbers are no accident.

    Example:
        >>> mean_interval(np.ones(5))
        (1.0, 1.0)
        >>> mean_interval(np.zeros(5), np.ones(5))
        (0.5, 0.5)
    """
    from scipy.stats import bootstrap

    number = sum(values.size for values in samples)

    def mean(*drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        total: np.ndarray = sum(values.sum(axis=axis) for values in drawn) / number
        return total

    if all(np.ptp(values) == 0.0 for values in samples):
        return float(mean(*samples)), float(mean(*samples))
    interval = bootstrap(
        samples,
        mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        batch=500,
        rng=stream(0, Stage.BOOTSTRAP),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def seeds_interval(means: list[float]) -> tuple[float, float] | None:
    """Return Student's 95 % interval of the mean over seeds; None for a single seed.

    Where :func:`mean_interval` speaks of new tasks, this speaks of new trainings as well.

    Example:
        >>> tuple(round(x, 3) for x in seeds_interval([0.5, 0.6, 0.7]))
        (0.352, 0.848)
    """
    from scipy.stats import t

    if len(means) < 2:
        return None
    width = t.ppf(0.5 + CONFIDENCE / 2, len(means) - 1) * np.std(means, ddof=1) / len(means) ** 0.5
    return float(np.mean(means) - width), float(np.mean(means) + width)


def verdict_more(difference: Difference) -> str:
    """Judge the claim a > b in the same way as :func:`verdict_less`."""
    mean, low, high, by_seed, pairs = difference
    return verdict_less(Difference(-mean, -high, -low, [-d for d in by_seed], pairs))


def verdict_less(difference: Difference) -> str:
    """Judge the claim a < b: it holds, fails or is undecided by :data:`RULE`."""
    if difference.pairs < FEWEST:
        return "undecided"
    if difference.high < 0.0 and all(d < 0.0 for d in difference.by_seed):
        return "holds"
    if difference.low > 0.0 and all(d > 0.0 for d in difference.by_seed):
        return "fails"
    return "undecided"
