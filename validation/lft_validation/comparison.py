"""How far two computations of the same arrays are apart."""

from __future__ import annotations

import math

import numpy as np

from lft_ref import LSTMParams

FLOOR = 1e-3


def relative_difference(found: np.ndarray, expected: np.ndarray, floor: float = 0.0) -> float:
    """Return max|found − expected| / max|expected|: 0 for equal arrays, infinite for nonsense.

    The scale is the array's own, so a small gradient is judged as strictly as a large one.

    Args:
        found: one computation.
        expected: the other one.
        floor: smallest scale to divide by.

    Example:
        >>> relative_difference(np.asarray([1.0, 3.0]), np.asarray([1.0, 2.0]))
        0.5
    """
    if np.shape(found) != np.shape(expected):
        return math.inf
    if np.size(expected) == 0:
        return 0.0
    with np.errstate(all="ignore"):
        apart = float(np.max(np.abs(found - expected)))
        scale = max(float(np.max(np.abs(expected))), floor)
    if apart == 0.0:
        return 0.0
    ratio = apart / scale if scale > 0.0 else math.inf
    return ratio if math.isfinite(ratio) else math.inf


def gradient_differences(found: LSTMParams, expected: LSTMParams) -> dict[str, float]:
    """Return the relative difference of each of the five arrays of Φ, on its own scale.

    An array that is more than 10³ times smaller than the largest of the five may be a sum that
    cancels exactly but for rounding (∇_b_o of a cross-entropy does, where only the last layer's
    biases have a gradient): it is judged on 10⁻³ of the largest.
    """
    floor = FLOOR * max(float(np.max(np.abs(a))) for a in expected)
    pairs = zip(found._fields, found, expected, strict=True)
    return {name: relative_difference(a, b, floor) for name, a, b in pairs}
