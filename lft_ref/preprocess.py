"""What the cell is fed: each gradient coordinate g becomes m features x(g).

Both maps act coordinate by coordinate, so their Jacobian is a row of m derivatives per coordinate.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

from lft_ref._array import Array, namespace


class Preprocess(Protocol):
    """A coordinate-wise map from g (..., d) to features (..., d, m)."""

    @property
    def m(self) -> int:
        """Number of features per coordinate."""

    def features(self, g: Array) -> Array:
        """Return x(g), shape (..., d, m)."""

    def derivative(self, g: Array) -> Array:
        """Return dx/dg, shape (..., d, m)."""


class Identity(NamedTuple):
    """x(g) = g, one feature.

    Example:
        >>> import numpy as np
        >>> Identity().features(np.asarray([3.0])).shape
        (1, 1)
    """

    @property
    def m(self) -> int:
        """Number of features per coordinate: 1."""
        return 1

    def features(self, g: Array) -> Array:
        """Return g as one feature, shape (..., d, 1)."""
        return g[..., None]

    def derivative(self, g: Array) -> Array:
        """Return ones, shape (..., d, 1)."""
        return namespace(g).ones_like(g)[..., None]


class LogSign(NamedTuple):
    """Logarithm and sign of g, so that gradients of all magnitudes look alike to the cell.

    x(g) = (log|g| / p, sign g)   where |g| >= e^-p,
           (-1, e^p g)            elsewhere.

    Source: Andrychowicz et al. 2016, appendix A, with p = 10.

    Example:
        >>> import numpy as np
        >>> LogSign().features(np.asarray([-1.0, 0.0]))
        array([[ 0., -1.],
               [-1.,  0.]])
    """

    p: float = 10.0

    @property
    def m(self) -> int:
        """Number of features per coordinate: 2."""
        return 2

    def features(self, g: Array) -> Array:
        """Return (log|g|/p, sign g) or (-1, e^p g), shape (..., d, 2)."""
        xp = namespace(g)
        large = xp.abs(g) >= math.exp(-self.p)
        safe = xp.where(large, g, xp.ones_like(g))
        first = xp.where(large, xp.log(xp.abs(safe)) / self.p, -xp.ones_like(g))
        second = xp.where(large, xp.sign(safe), math.exp(self.p) * g)
        return xp.stack([first, second], axis=-1)

    def derivative(self, g: Array) -> Array:
        """Return (1/(p g), 0) or (0, e^p), shape (..., d, 2)."""
        xp = namespace(g)
        large = xp.abs(g) >= math.exp(-self.p)
        safe = xp.where(large, g, xp.ones_like(g))
        zero = xp.zeros_like(g)
        first = xp.where(large, 1.0 / (self.p * safe), zero)
        second = xp.where(large, zero, zero + math.exp(self.p))
        return xp.stack([first, second], axis=-1)
