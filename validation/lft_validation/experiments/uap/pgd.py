"""The universal PGD attack of supplement E, behind the interface of SGD and Adam."""

from __future__ import annotations

from typing import Any

from lft_ref import Optimizer
from lft_validation.errors import UserError


def pgd(rate: float, radius: float, xp: Any) -> Optimizer:
    """Projected gradient descent, θ ← Π(θ − α sign g), onto the box |θ_i| ≤ ε.

    The projection needs θ, so θ is the state. Fed the gradient of Σ ℓ_atk of eq. (12) over all
    images, it makes one perturbation for all of them. Source: Madry et al. 2018, eq. (3).

    Args:
        rate: α > 0.
        radius: ε > 0.
        xp: array namespace.

    Raises:
        UserError: if one of them is not positive.

    Example:
        >>> import numpy as np
        >>> rule = pgd(0.1, 0.25, np)
        >>> theta = np.asarray([0.2, 0.0])
        >>> delta, state = rule.update(np.asarray([-3.0, 5.0]), rule.init(theta))
        >>> (theta - delta).tolist()
        [0.25, -0.1]
    """
    if not (rate > 0.0 and radius > 0.0):
        raise UserError(f"pgd_rate and pgd_radius must be positive, found {rate} and {radius}")

    def update(g: Any, theta: Any) -> tuple[Any, Any]:
        new = xp.clip(theta - rate * xp.sign(g), -radius, radius)
        return theta - new, new

    return Optimizer(lambda theta: theta, update)
