"""Elementary functions on rows, written so that compilers vectorise them.

A loop vectorises if it is short, free of branches and calls, and reads and writes different rows or
the same place. Bits are looked at through integer views of whole rows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

FLAGS: dict[str, Any] = {
    "cache": True,  # lft_backends.compiling sees to it that no edit is missed
    "nogil": True,
    "error_model": "numpy",  # a check for division by zero would stop vectorisation
    "fastmath": {"reassoc", "contract", "arcp", "nsz"},  # NaN and infinity keep their meaning
}
INNER: dict[str, Any] = FLAGS | {  # of functions that only kernels call: there is less to compile
    "cache": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # Cody and Waite
SQRT_HALF_BITS = 0x3F3504F3  # of √½ in float32


@njit(**FLAGS)
def tanh32(row):
    """Set row to tanh(row): Eigen's rational x p(x²) / q(x²), 3e-7 absolute, and ±1 from 9 on.

    At 9 it is 1 − 2.5e-8. Beyond, p and q stay what they are at 9, so it grows like x, and is cut
    off at ±1: the slope of a saturated gate is exactly 0, whatever gradient it is multiplied by.
    """
    one, most = np.float32(1.0), np.float32(81.0)
    for j in range(row.size):
        x = row[j]
        y = x * x
        y = most if y > most else y  # written so that NaN stays NaN
        p = np.float32(-2.76076847742355e-16)
        p = p * y + np.float32(2.00018790482477e-13)
        p = p * y + np.float32(-8.60467152213735e-11)
        p = p * y + np.float32(5.12229709037114e-08)
        p = p * y + np.float32(1.48572235717979e-05)
        p = p * y + np.float32(6.37261928875436e-04)
        p = p * y + np.float32(4.89352455891786e-03)
        q = np.float32(1.19825839466702e-06)
        q = q * y + np.float32(1.18534705686654e-04)
        q = q * y + np.float32(2.26843463243900e-03)
        q = q * y + np.float32(4.89352518554385e-03)
        t = x * p / q
        t = one if t > one else t
        row[j] = -one if t < -one else t


@njit(**FLAGS)
def tanh64(row, power):
    """Set row to tanh(row) = e / (e + 2) with e = exp(2x) − 1; ``power`` is a row to work in.

    2x = k ln 2 + r with |r| ≤ ½ ln 2, and e = 2ᵏ (exp(r) − 1) + (2ᵏ − 1), the bracket by its Taylor
    series: within a few units in the last place, for small x too.
    """
    bits = power.view(np.int64)
    for j in range(row.size):
        x = row[j]
        x = 20.0 if x > 20.0 else x  # written so that NaN stays NaN
        x = -20.0 if x < -20.0 else x
        row[j] = x + x
    for j in range(row.size):
        x = row[j]
        k = 0.0 if x != x else np.rint(x * 1.4426950408889634)
        bits[j] = (np.int64(np.int32(k)) + 1023) << 52
    for j in range(row.size):
        k = np.rint(row[j] * 1.4426950408889634)
        r = (row[j] - k * LN2_HIGH) - k * LN2_LOW
        e = 1.0 / 6227020800.0
        e = e * r + 1.0 / 479001600.0
        e = e * r + 1.0 / 39916800.0
        e = e * r + 1.0 / 3628800.0
        e = e * r + 1.0 / 362880.0
        e = e * r + 1.0 / 40320.0
        e = e * r + 1.0 / 5040.0
        e = e * r + 1.0 / 720.0
        e = e * r + 1.0 / 120.0
        e = e * r + 1.0 / 24.0
        e = e * r + 1.0 / 6.0
        e = e * r + 0.5
        e = (e * r) * r + r
        e = power[j] * e + (power[j] - 1.0)
        row[j] = e / (e + 2.0)


@njit(**FLAGS)
def log32(row, mantissa):
    """Set row (≥ 0, no subnormal numbers) to its logarithm; ``mantissa`` is a row to work in.

    x = 2ᵏ m with m in [√½, √2), and log m by a polynomial (Cephes): 1e-7 relative. NaN and infinity
    stay what they are.
    """
    bits, m_bits = row.view(np.int32), mantissa.view(np.int32)
    for j in range(row.size):
        m_bits[j] = bits[j] - ((bits[j] - np.int32(SQRT_HALF_BITS)) & np.int32(-0x800000))
    for j in range(row.size):
        x = row[j]
        k = np.float32((bits[j] - np.int32(SQRT_HALF_BITS)) >> 23)
        f = mantissa[j] - np.float32(1.0)
        p = np.float32(7.0376836292e-2)
        p = p * f + np.float32(-1.1514610310e-1)
        p = p * f + np.float32(1.1676998740e-1)
        p = p * f + np.float32(-1.2420140846e-1)
        p = p * f + np.float32(1.4249322787e-1)
        p = p * f + np.float32(-1.6668057665e-1)
        p = p * f + np.float32(2.0000714765e-1)
        p = p * f + np.float32(-2.4999993993e-1)
        p = p * f + np.float32(3.3333331174e-1)
        y = (p * f - np.float32(0.5)) * (f * f) + f + k * np.float32(math.log(2.0))
        row[j] = y if x <= np.float32(3.4e38) else x  # what is left: NaN and infinity
