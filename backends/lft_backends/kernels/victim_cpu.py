"""Numba kernels for a whole victim: all its layers in one call, forwards and backwards.

The layers are those of :mod:`lft_backends.kernels.convolution_cpu`, then dense ones. What the way
back needs lies in two rows of memory: who won each window, and the inputs of the dense layers.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lft_backends.kernels.convolution_cpu import (
    convolve,
    convolve_back,
    copy,
    frame,
    pool,
    pool_back,
    unframe,
)
from lft_backends.kernels.elementary import FLAGS, INNER
from lft_backends.kernels.products_cpu import FILTERS as FOUR
from lft_backends.kernels.products_cpu import (
    WIDTH,
    add_correlations,
    add_products,
    whole_weights,
)

# Columns of the table of blocks; a block is a convolution, max pooling and ReLU.
START, FILTERS, TAPS, C, H, W, B, ROWS, COLUMNS, RUN, IN, OUT, SHIFTS, WINNERS = range(14)
# Columns of the table of dense layers.
FROM, N_IN, N_OUT = range(3)


@njit(**INNER)
def filters_of(theta, block):
    """W (filters, C k²) and b (filters)."""
    filters, taps, start = block[FILTERS], block[TAPS], block[START]
    stop = start + filters * taps
    return theta[start:stop].reshape((filters, taps)), theta[stop : stop + filters]


@njit(**INNER)
def winners_of(which, block, groups):
    """The block's part of ``which``, (groups, filters, rows / 2, columns / 2, B)."""
    filters, rows, columns, side = block[FILTERS], block[ROWS] // 2, block[COLUMNS] // 2, block[B]
    start = block[WINNERS]
    part = which[start : start + groups * filters * rows * columns * side]
    return part.reshape((groups, filters, rows, columns, side))


@njit(**FLAGS)
def forwards(theta, x, groups, blocks, dense, shifts, which, features):
    """Return the logits (N, classes) of images x (N, C, H, W); fill ``which`` and ``features``."""
    N, first = x.shape[0], blocks[0]
    h = np.zeros((groups, first[C], first[H], first[W], first[B]), x.dtype)
    frame(x, h, first[IN])
    for number in range(blocks.shape[0]):
        block = blocks[number]
        filters, width, side = block[FILTERS], block[W], block[B]
        weight, bias = filters_of(theta, block)
        y = np.empty((groups, filters, block[ROWS] * width * side), x.dtype)
        taps = shifts[block[SHIFTS] : block[SHIFTS] + block[TAPS]]
        convolve(h.reshape((groups, h.size // groups)), taps, weight, bias, y, block[RUN])
        winners, margin = winners_of(which, block, groups), block[OUT]
        rows, columns = winners.shape[2] + 2 * margin, winners.shape[3] + 2 * margin
        h = np.zeros((groups, filters, rows, columns, side), x.dtype)
        images = y.reshape((groups, filters, block[ROWS], width, side))
        pool(images, h, winners, margin, 0, winners.shape[2])
    rows = np.empty((N, dense[0, N_IN]), x.dtype)
    flat = h.reshape((groups, dense[0, N_IN], h.shape[4]))
    for n in range(N):
        group, b = n // h.shape[4], n % h.shape[4]
        for i in range(rows.shape[1]):
            rows[n, i] = flat[group, i, b]
    return dense_forwards(theta, rows, dense, features)


@njit(**INNER)
def dense_forwards(theta, rows, dense, features):
    """Run the dense layers on rows (N, inputs); keep what comes out of all but the last."""
    kept, zero = 0, theta.dtype.type(0.0)
    for number in range(dense.shape[0]):
        z = affine(theta, rows, dense[number])
        if number < dense.shape[0] - 1:
            flat, keep = z.ravel(), features[kept : kept + z.size]
            for j in range(flat.size):
                flat[j] = zero if flat[j] <= zero else flat[j]  # NaN stays NaN
                keep[j] = flat[j]
            kept += z.size
        rows = z
    return rows


@njit(**INNER)
def affine(theta, rows, layer):
    """Return rows (N, n_in) times W (n_in, n_out), plus b: W's rows are taps, images filters."""
    start, n_in, n_out = layer
    N, stop, shifts = rows.shape[0], start + n_in * n_out, n_out * np.arange(n_in)
    z, weights = np.empty((N, n_out), rows.dtype), whole_weights(rows, FOUR)
    sums = np.empty(weights.shape[0] * WIDTH, rows.dtype)
    for first in range(0, n_out, WIDTH):
        size = min(WIDTH, n_out - first)
        for n in range(weights.shape[0]):
            copy(theta[stop + first : stop + first + size], sums[n * WIDTH : n * WIDTH + size])
        add_products(theta[start:stop], shifts, weights, first, size, sums)
        for n in range(N):
            copy(sums[n * WIDTH : n * WIDTH + size], z[n, first : first + size])
    return z


@njit(**FLAGS)
def backwards(theta, y_bar, groups, blocks, dense, shifts, which, features, x_bar):
    """Fill x_bar (N, C, H, W) with what y_bar (N, classes) sends back."""
    N, last = x_bar.shape[0], blocks[-1]
    h_bar = dense_backwards(theta, y_bar, dense, features)  # (features, N)
    side, margin = last[B], last[OUT]
    filters, rows, columns = last[FILTERS], last[ROWS] // 2, last[COLUMNS] // 2
    flat = np.zeros((groups, filters * rows * columns, side), x_bar.dtype)
    for i in range(h_bar.shape[0]):
        for n in range(N):
            flat[n // side, i, n % side] = h_bar[i, n]
    out_bar = flat.reshape((groups, filters, rows, columns, side))
    for number in range(blocks.shape[0] - 1, -1, -1):
        block = blocks[number]
        filters, margin = block[FILTERS], block[OUT]
        y = np.zeros((groups, filters, block[ROWS], block[W], side), x_bar.dtype)
        winners = winners_of(which, block, groups)
        pool_back(out_bar, winners, y, margin, 0, winners.shape[2])
        out_bar = np.zeros((groups, block[C], block[H], block[W], side), x_bar.dtype)
        weight, _ = filters_of(theta, block)
        taps = shifts[block[SHIFTS] : block[SHIFTS] + block[TAPS]]
        flat_y = y.reshape((groups, filters, y.size // (groups * filters)))
        flat_x = out_bar.reshape((groups, out_bar.size // groups))
        convolve_back(flat_y, taps, weight, flat_x, block[RUN])
    unframe(out_bar, x_bar, blocks[0, IN])


@njit(**INNER)
def dense_backwards(theta, y_bar, dense, features):
    """Return the cotangent (inputs, N) of the dense layers' rows."""
    N, kept, h_bar = y_bar.shape[0], features.size, y_bar
    before = np.empty((0, 0), y_bar.dtype)
    for number in range(dense.shape[0] - 1, -1, -1):
        start, n_in, n_out = dense[number]
        weight = theta[start : start + n_in * n_out].reshape((n_in, n_out))
        before = np.zeros((n_in, N), y_bar.dtype)
        add_correlations(weight, h_bar.ravel(), n_out * np.arange(N), 0, n_out, before)
        if number > 0:
            kept -= N * n_in
            z, h_bar = features[kept : kept + N * n_in].reshape((N, n_in)), np.empty_like(before.T)
            for n in range(N):
                for i in range(n_in):
                    h_bar[n, i] = before[i, n] if z[n, i] > 0 else 0
    return before
