"""Products of a few filters with shifted rows of images: what a convolution is made of.

A filter's weights are its taps, and a tap is the input's plane moved by a shift. So a product needs
no tile of copied rows: blocks of filters and taps go over the plane itself, as many numbers at once
as a processor holds in its registers, and what they add to stays in the first cache. The strides
between rows that are written are constants; one test tells that they do not touch those read.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lft_backends.kernels.elementary import INNER

WIDTH = 256  # numbers of a row worked on at once
TAPS = 4  # of a block of :func:`add_products` and :func:`add_correlations`
FILTERS = 4  # of a block of :func:`add_products`
MANY = 8  # filters of a block of :func:`add_transposed`


@njit(**INNER)
def whole(number, block):
    """The next multiple of a block's size."""
    return -(-number // block) * block


@njit(**INNER)
def whole_weights(W, filters):
    """W (filters, taps), filled up with zeros to whole blocks of so many filters, and of taps."""
    padded = np.zeros((whole(W.shape[0], filters), whole(W.shape[1], TAPS)), W.dtype)
    for o in range(W.shape[0]):  # a slice to assign to takes Numba seconds to compile
        for t in range(W.shape[1]):
            padded[o, t] = W[o, t]
    return padded


@njit(**INNER)
def tap(x, shifts, t, start, size, zeros):
    """The numbers of the row x that belong to tap t; zeros for those that fill up a block.

    A weight of 0 would not do: 0 · ∞ is NaN.
    """
    if t >= shifts.size:
        return zeros[:size]
    first = start + shifts[t]
    return x[first : first + size]


@njit(**INNER)
def add_products(x, shifts, W, start, size, sums):
    """Add W (filters, taps), in whole blocks, times X to ``sums`` (filters, WIDTH), as one row.

    Row t of X are the ``size`` numbers of the row x from start + shifts[t] on; there is a shift for
    each real tap.
    """
    zeros = np.zeros(size, x.dtype)
    for t in range(0, W.shape[1], TAPS):
        x_0 = tap(x, shifts, t, start, size, zeros)
        x_1 = tap(x, shifts, t + 1, start, size, zeros)
        x_2 = tap(x, shifts, t + 2, start, size, zeros)
        x_3 = tap(x, shifts, t + 3, start, size, zeros)
        for o in range(0, W.shape[0], FILTERS):
            w = W[o : o + FILTERS, t : t + TAPS]
            add_block(w, x_0, x_1, x_2, x_3, sums[o * WIDTH : (o + FILTERS) * WIDTH])


@njit(**INNER)
def add_block(w, x_0, x_1, x_2, x_3, sums):
    """Add four filters' products with four taps to their sums."""
    w_00, w_01, w_02, w_03 = w[0, 0], w[0, 1], w[0, 2], w[0, 3]
    w_10, w_11, w_12, w_13 = w[1, 0], w[1, 1], w[1, 2], w[1, 3]
    w_20, w_21, w_22, w_23 = w[2, 0], w[2, 1], w[2, 2], w[2, 3]
    w_30, w_31, w_32, w_33 = w[3, 0], w[3, 1], w[3, 2], w[3, 3]
    for j in range(x_0.size):
        a, b, c, d = x_0[j], x_1[j], x_2[j], x_3[j]
        sums[j] += w_00 * a + w_01 * b + w_02 * c + w_03 * d
        sums[WIDTH + j] += w_10 * a + w_11 * b + w_12 * c + w_13 * d
        sums[2 * WIDTH + j] += w_20 * a + w_21 * b + w_22 * c + w_23 * d
        sums[3 * WIDTH + j] += w_30 * a + w_31 * b + w_32 * c + w_33 * d


@njit(**INNER)
def add_transposed(rows, shifts, W, start, size, x_bar):
    """Add Wᵀ times ``rows`` (filters, WIDTH), as one row, to ``size`` numbers of x̄ for each tap.

    What belongs to tap t goes to the numbers from start + shifts[t] on; W is in whole blocks.
    """
    for t in range(shifts.size):
        target = x_bar[start + shifts[t] : start + shifts[t] + size]
        for o in range(0, W.shape[0], MANY):
            add_many(W[o : o + MANY], t, rows[o * WIDTH : (o + MANY) * WIDTH], target)


@njit(**INNER)
def add_many(W, t, rows, target):
    """Add eight filters' rows, each times its weight of the tap t."""
    w_0, w_1, w_2, w_3 = W[0, t], W[1, t], W[2, t], W[3, t]
    w_4, w_5, w_6, w_7 = W[4, t], W[5, t], W[6, t], W[7, t]
    for j in range(target.size):
        target[j] += (
            w_0 * rows[j]
            + w_1 * rows[WIDTH + j]
            + w_2 * rows[2 * WIDTH + j]
            + w_3 * rows[3 * WIDTH + j]
            + w_4 * rows[4 * WIDTH + j]
            + w_5 * rows[5 * WIDTH + j]
            + w_6 * rows[6 * WIDTH + j]
            + w_7 * rows[7 * WIDTH + j]
        )


@njit(**INNER)
def add_correlations(y_bar, x, shifts, start, size, W_bar):
    """Add ȳ Xᵀ to W̄ (filters, taps): X as in :func:`add_products`.

    Row o of ȳ are the ``size`` numbers of the row y_bar[o] from ``start`` on.
    """
    last, zeros = y_bar.shape[0] - 1, np.zeros(size, x.dtype)
    for t in range(0, shifts.size, TAPS):
        x_0 = tap(x, shifts, t, start, size, zeros)
        x_1 = tap(x, shifts, t + 1, start, size, zeros)
        x_2 = tap(x, shifts, t + 2, start, size, zeros)
        x_3 = tap(x, shifts, t + 3, start, size, zeros)
        for o in range(0, last + 1, 2):  # an odd number's last filter is worked on twice
            y_0, y_1 = y_bar[o], y_bar[min(o + 1, last)]
            correlations = correlate_block(
                y_0[start : start + size], y_1[start : start + size], x_0, x_1, x_2, x_3
            )
            for i in range(min(TAPS, shifts.size - t)):
                W_bar[o, t + i] += correlations[0][i]
                if o < last:
                    W_bar[o + 1, t + i] += correlations[1][i]


@njit(**INNER)
def correlate_block(y_0, y_1, x_0, x_1, x_2, x_3):
    """The sums of two filters' cotangents times four taps."""
    a_0 = a_1 = a_2 = a_3 = b_0 = b_1 = b_2 = b_3 = y_0.dtype.type(0.0)
    for j in range(y_0.size):
        y, z = y_0[j], y_1[j]
        a_0 += y * x_0[j]
        a_1 += y * x_1[j]
        a_2 += y * x_2[j]
        a_3 += y * x_3[j]
        b_0 += z * x_0[j]
        b_1 += z * x_1[j]
        b_2 += z * x_2[j]
        b_3 += z * x_3[j]
    return (a_0, a_1, a_2, a_3), (b_0, b_1, b_2, b_3)
