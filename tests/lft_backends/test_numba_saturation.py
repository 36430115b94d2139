"""Gates that large gradients open or shut: the Numba twin's slopes are 0 where they shall be.

A slope meets g in the gradient of W_x. So 1 − u² = 5e-7 in place of 0 is an error of 0.5 where g is
10⁶, in a sum whose right terms are of order 1.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba", reason="the extra 'fast' is not installed")

from lft_backends import numba_backend
from lft_backends.kernels import lstm_cpu
from tests.lft_backends.cuda_on_cpu.parity import Twins, draw, errors, forward_errors, saturated

TWINS = Twins(numba_backend.OPS, np.asarray, np.asarray, numba_backend, None)
DTYPES = ["float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 10, 64])
def test_derivatives_of_saturated_cells_equal_the_references(n, dtype):
    found = errors(TWINS, saturated(draw(dtype, n, 1, (2, 500))))
    found |= forward_errors(TWINS, saturated(draw(dtype, n, 1, (4,) if n < 64 else (1,))))
    assert max(found.values()) <= 1.0, f"errors in units of their bounds: {found}"


def _tanh(x):
    y = x.copy()
    lstm_cpu.tanh(y, np.empty_like(y))
    return y


@pytest.mark.parametrize(("dtype", "last"), [("float32", 9.01), ("float64", 19.1)])
def test_tanh_reaches_one_and_minus_one_and_stays_there(dtype, last):
    """From where tanh is less than half an ulp away from 1, which is the number nearest to it."""
    largest = 0.99 * float(np.finfo(dtype).max)
    x = np.concatenate([np.linspace(last, 30, 1001), np.geomspace(30, largest, 1001), [np.inf]])
    one = np.ones_like(x, dtype)
    np.testing.assert_array_equal(_tanh(x.astype(dtype)), one)
    np.testing.assert_array_equal(_tanh(-x.astype(dtype)), -one)
