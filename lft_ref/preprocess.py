"""What the cell is fed: each gradient coordinate g becomes m features x(g).

Both maps act coordinate by coordinate, so their Jacobian is a row of m derivatives per coordinate.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

from lft_ref._array import Array, device, namespace


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
        floor, least = self._floor(g, xp=xp)
        return _columns(xp.log(floor) / self.p, _towards(g, least, xp=xp), xp=xp)

    def derivative(self, g: Array) -> Array:
        """Return (1/(p g), 0) or (0, e^p), shape (..., d, 2)."""
        xp = namespace(g)
        floor, least = self._floor(g, xp=xp)
        large, zero, slope = xp.abs(g) >= least, xp.zeros_like(g), 1.0 / floor
        first = xp.where(large, _towards(g, least, xp=xp) * slope / self.p, zero)
        return _columns(first, xp.where(large, zero, slope), xp=xp)

    def _floor(self, g: Array, *, xp: Any) -> tuple[Array, Array]:
        """Return |g|, or e^-p where that is more; and e^-p."""
        least = xp.full((), math.exp(-self.p), dtype=g.dtype, device=device(g))
        return xp.maximum(xp.abs(g), least), least


def _towards(g: Array, least: Array, *, xp: Any) -> Array:
    """Return sign g where |g| >= least, also of infinity, and g / least elsewhere."""
    return xp.minimum(xp.maximum(g, -least), least) / least


def _columns(first: Array, second: Array, *, xp: Any) -> Array:
    """Features side by side (..., d, 2), each one's numbers next to each other in memory."""
    return xp.concat([first[..., None, :], second[..., None, :]], axis=-2).mT
