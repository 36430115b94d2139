"""Numba kernels for a whole victim: all its layers in one call, forwards and backwards.

The layers are those of :mod:`lft_backends.kernels.convolution_cpu`, then dense ones. What the way
back needs lies in two rows of memory: who won each window, and the inputs of the dense layers.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lft_backends.kernels.convolution_cpu import (
    add,
    convolve,
    convolve_back,
    frame,
    pool,
    pool_back,
    unframe,
)
from lft_backends.kernels.elementary import FLAGS

# Columns of the table of blocks; a block is a convolution, max pooling and ReLU.
START, FILTERS, TAPS, C, H, W, B, ROWS, COLUMNS, RUN, IN, OUT, SHIFTS, WINNERS = range(14)
# Columns of the table of dense layers.
FROM, N_IN, N_OUT = range(3)


@njit(**FLAGS)
def filters_of(theta, block):
    """W (filters, C k²) and b (filters)."""
    filters, taps, start = block[FILTERS], block[TAPS], block[START]
    stop = start + filters * taps
    return theta[start:stop].reshape((filters, taps)), theta[stop : stop + filters]


@njit(**FLAGS)
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


@njit(**FLAGS)
def dense_forwards(theta, rows, dense, features):
    """Run the dense layers on rows (N, inputs); keep what comes out of all but the last."""
    N, kept, zero = rows.shape[0], 0, theta.dtype.type(0.0)
    for number in range(dense.shape[0]):
        start, n_in, n_out = dense[number]
        stop = start + n_in * n_out
        z = np.empty((N, n_out), rows.dtype)
        np.dot(rows, theta[start:stop].reshape((n_in, n_out)), z)
        for n in range(N):
            add(theta[stop : stop + n_out], z[n])
        if number < dense.shape[0] - 1:
            flat, keep = z.ravel(), features[kept : kept + z.size]
            for j in range(flat.size):
                flat[j] = zero if flat[j] <= zero else flat[j]  # NaN stays NaN
                keep[j] = flat[j]
            kept += z.size
        rows = z
    return rows


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


@njit(**FLAGS)
def dense_backwards(theta, y_bar, dense, features):
    """Return the cotangent (inputs, N) of the dense layers' rows."""
    N, kept = y_bar.shape[0], features.size
    h_bar = np.ascontiguousarray(y_bar.T)
    for number in range(dense.shape[0] - 1, -1, -1):
        start, n_in, n_out = dense[number]
        before = np.empty((n_in, N), y_bar.dtype)
        np.dot(theta[start : start + n_in * n_out].reshape((n_in, n_out)), h_bar, before)
        if number > 0:
            kept -= N * n_in
            z = features[kept : kept + N * n_in].reshape((N, n_in))
            for i in range(n_in):
                for n in range(N):
                    before[i, n] = before[i, n] if z[n, i] > 0 else 0
        h_bar = before
    return h_bar
