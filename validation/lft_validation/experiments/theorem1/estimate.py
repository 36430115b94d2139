"""How long is the mean of random vectors? An estimate with an honest interval, and slopes of such.

‖x̄‖ is too long on average, for noise has a length too: E‖x̄‖² = ‖μ‖² + tr Σ / R. So what is
estimated is ‖μ‖², by ‖x̄‖² − tr S / R, which has no bias. Its error is 2 μ·e + ‖e‖² − E‖e‖² with
e = x̄ − μ. It is sampled from the draws' own covariance, e = Σ_r z_r (x_r − x̄) / √(R (R − 1)) with
normal z_r (a multiplier bootstrap). Taking x̄ for μ makes the interval a little too wide.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from lft_backends.draws import Stage, stream

CONFIDENCE = 0.95
RESAMPLES = 1000
DOMINATED = 0.5  # of the draws' variance by one draw: then no error can be trusted


class Length(NamedTuple):
    """‖μ‖ of the mean μ of R random vectors."""

    square: float  # unbiased estimate of ‖μ‖²; may be negative
    errors: np.ndarray  # (RESAMPLES,): samples of the error of ``square``
    top: float  # share of the draws' variance that one single draw has

    @property
    def value(self) -> float:
        """‖μ‖, 0 where the estimate of its square is negative."""
        return float(np.sqrt(max(self.square, 0.0)))

    @property
    def interval(self) -> tuple[float, float]:
        """Limits of ‖μ‖ at 95 %."""
        tails = (1.0 - CONFIDENCE) / 2.0
        low, high = self.square - np.quantile(self.errors, [1.0 - tails, tails])
        return float(np.sqrt(max(low, 0.0))), float(np.sqrt(max(high, 0.0)))

    @property
    def resolved(self) -> bool:
        """Whether the interval keeps away from 0, and is not one draw's doing."""
        return self.interval[0] > 0.0 and self.top < DOMINATED


def length_of_mean(draws: np.ndarray) -> Length:
    """Estimate ‖E x‖ from independent draws of x (R, P), R >= 2."""
    R, mean = draws.shape[0], draws.mean(axis=0)
    deviation = draws - mean
    squares = np.sum(deviation**2, axis=1)
    e = _multipliers(R) @ deviation
    lengths = np.sum(e**2, axis=1)
    errors = 2.0 * e @ mean + lengths - lengths.mean()
    noise = squares.sum() / (R * (R - 1.0))
    return Length(float(mean @ mean - noise), errors, _top(squares))


def root_of_mean(squares: np.ndarray) -> Length:
    """Estimate √E s from independent draws of s >= 0 (R,), R >= 2."""
    deviation = squares - squares.mean()
    errors = _multipliers(squares.size) @ deviation
    return Length(float(squares.mean()), errors, _top(deviation**2))


@cache
def _multipliers(R: int) -> np.ndarray:
    """z_r / √(R (R − 1)) of the bootstrap (RESAMPLES, R).

    Few draws know their own covariance badly: z is widened as Student's t is.
    """
    from scipy.stats import norm, t

    tail = (1.0 + CONFIDENCE) / 2.0
    z = stream(0, Stage.THEOREM1_BOOTSTRAP).standard_normal((RESAMPLES, R))
    return np.asarray(z * (t.ppf(tail, R - 1) / norm.ppf(tail) / np.sqrt(R * (R - 1.0))))


def _top(squares: np.ndarray) -> float:
    """Share of the largest in a sum."""
    total = float(squares.sum())
    return float(squares.max()) / total if total > 0.0 else 0.0


class Slope(NamedTuple):
    """Exponent a of y ~ x^a with its interval at 95 %, and how many points had a say."""

    exponent: float
    low: float
    high: float
    points: int


def slope(x: list[int], lengths: list[Length]) -> Slope | None:
    """Fit log ‖μ‖ = a log x + b by least squares weighted with the points' errors.

    The interval holds the Monte-Carlo error only. Points that are not resolved are left out;
    None if fewer than three are left.
    """
    kept = [(np.log(a), b) for a, b in zip(x, lengths, strict=True) if b.resolved]
    if len(kept) < 3:
        return None
    log_x = np.asarray([a for a, _ in kept])
    squares = np.asarray([b.square for _, b in kept])
    errors = np.asarray([b.errors for _, b in kept])
    floor = 0.01 * squares[:, None]
    log_y = 0.5 * np.log(squares)
    samples = 0.5 * np.log(np.maximum(squares[:, None] - errors, floor))
    weights = 1.0 / np.maximum(np.std(samples, axis=1), 1e-6) ** 2
    centred = log_x - np.sum(weights * log_x) / np.sum(weights)
    row = weights * centred / np.sum(weights * centred**2)
    low, high = np.quantile(row @ samples, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Slope(float(row @ log_y), float(low), float(high), len(kept))


def with_control(draws: np.ndarray, control: np.ndarray) -> np.ndarray:
    """Take from the draws (R, P) what a control with mean exactly zero explains of them.

    x − β c with one number β for each half of the draws, found on the other half: the mean stays
    the same without bias, the scatter gets smaller.
    """
    half = np.arange(draws.shape[0]) < draws.shape[0] // 2
    result = draws.copy()
    for mine in (half, ~half):
        x, c = draws[~mine] - draws[~mine].mean(axis=0), control[~mine]
        c = c - c.mean(axis=0)
        square = float(np.sum(c * c))
        beta = float(np.sum(x * c)) / square if square > 0.0 else 0.0
        result[mine] = draws[mine] - beta * control[mine]
    return result
