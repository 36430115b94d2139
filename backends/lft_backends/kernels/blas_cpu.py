"""Matrix products by BLAS, for kernels of dense layers.

Numba takes about half a second to compile each place that calls BLAS, so there is one place for
each kind of product.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lft_backends.kernels.elementary import INNER


@njit(**INNER)
def product(a, b, out):
    """Set out to A b."""
    np.dot(a, b, out)


@njit(**INNER)
def first_transposed(a, b, out):
    """Set out to Aᵀ b."""
    np.dot(a.T, b, out)


@njit(**INNER)
def second_transposed(a, b, out):
    """Set out to A bᵀ."""
    np.dot(a, b.T, out)
