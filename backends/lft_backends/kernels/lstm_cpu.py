"""Numba kernels for the cell: gates, step and vjp of ``lft_ref.lstm``, block by block.

Coordinates are worked on in blocks that stay in the cache; a block is feature-major, so that every
loop runs along one row and vectorises. Loops are many and small on purpose: one large loop over
everything does not vectorise. What enters the cell lies in one block (x, h, 1), r = m + n + 1 rows
of WIDTH numbers, so that one matrix product gives all gates, and one more all of Φ̄ but (w̄_o, b̄_o).
The last block of a batch may be narrower: ``size`` numbers of each row count. Gates are computed
again in the vjp instead of being kept.

Work is cut into pieces of a few blocks, by sizes alone. Threads share pieces out between them, and
each piece has sums of its own, so that no bit depends on the number of threads.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numba.extending import overload

from lft_backends.kernels.elementary import FLAGS, INNER, log32, tanh32, tanh64
from lft_backends.kernels.products_cpu import (
    FILTERS,
    WIDTH,
    add_correlations,
    add_products,
    whole_weights,
)

PIECE = 8 * WIDTH  # coordinates that one thread takes at a time


def tanh(row, scratch):
    """Set a row of either precision to its tanh, where scratch is a row to work in."""
    if row.itemsize == 4:
        tanh32(row)
    else:
        tanh64(row, scratch)


def log(row, scratch):
    """Set a row of either precision, nowhere below 0, to its logarithm."""
    if row.itemsize == 4:
        log32(row, scratch)
    else:
        np.log(row, row)


@overload(tanh)
def _tanh(row, scratch):  # noqa: ARG001 - Numba looks at types only, and compiles one of the two
    if row.dtype == types.float32:
        return lambda row, scratch: tanh32(row)  # noqa: ARG005 - it must take what tanh takes
    return lambda row, scratch: tanh64(row, scratch)  # noqa: PLW0108 - Numba wants plain Python


@overload(log)
def _log(row, scratch):  # noqa: ARG001
    if row.dtype == types.float32:
        return lambda row, scratch: log32(row, scratch)  # noqa: PLW0108
    return lambda row, scratch: log64(row)  # noqa: ARG005


@njit(**INNER)
def copy(row, to):
    """Copy a row: an assignment of slices does not vectorise, and takes seconds to compile."""
    for j in range(row.size):
        to[j] = row[j]


@njit(**INNER)
def fill(row, value):
    """Set all numbers of a row to one value."""
    for j in range(row.size):
        row[j] = value


@njit(**INNER)
def log64(row):
    """Set row to its logarithm, with the C library's log."""
    for j in range(row.size):
        row[j] = math.log(row[j])


@njit(**INNER)
def features(g, x, p, log_sign):
    """Fill the first m rows of x with the preprocessing of g (size)."""
    if not log_sign:
        copy(g, x[0, : g.size])
        return
    one, size, sign = g.dtype.type(1.0), x[0, : g.size], x[1, : g.size]
    threshold, steep = g.dtype.type(math.exp(-p)), g.dtype.type(math.exp(p))
    for j in range(g.size):
        a = abs(g[j])
        size[j] = threshold if a < threshold else a  # NaN stays NaN
    log(size, sign)  # the row of signs is free to work in
    share = g.dtype.type(1.0 / p)
    for j in range(g.size):
        value = g[j]
        small = not (abs(value) >= threshold)  # NaN counts as small, and stays NaN
        towards = one if value > 0 else -one
        sign[j] = steep * value if small else towards
    for j in range(g.size):
        size[j] = -one if abs(g[j]) < threshold else share * size[j]


@njit(**INNER)
def features_vjp(g, x_bar, g_bar, p, log_sign):
    """Fill g_bar (size) with the first m rows of x_bar pulled back through the preprocessing."""
    if not log_sign:
        copy(x_bar[0, : g.size], g_bar)
        return
    threshold, steep = g.dtype.type(math.exp(-p)), g.dtype.type(math.exp(p))
    share, one = g.dtype.type(1.0 / p), g.dtype.type(1.0)
    of_size, of_sign = x_bar[0, : g.size], x_bar[1, : g.size]
    for j in range(g.size):
        large = abs(g[j]) >= threshold
        safe = g[j] if large else one
        through = share * of_size[j] / safe
        g_bar[j] = through if large else steep * of_sign[j]


@njit(**INNER)
def inputs(g, h, start, stop, p, log_sign, into):
    """Fill ``into`` (r, WIDTH) with (x, h, 1) of coordinates start … stop − 1."""
    r, n = into.shape[0], h.shape[0]
    features(g[start:stop], into, p, log_sign)
    for v in range(n):
        copy(h[v, start:stop], into[r - n - 1 + v, : stop - start])
    fill(into[r - 1, : stop - start], g.dtype.type(1.0))


@njit(**INNER, forceinline=True)
def new_c(a_i, a_f, u, c, c_new):
    """One unit's c⁺ = f c + i u, with σ = ½ a + ½."""
    half = c.dtype.type(0.5)
    for j in range(c.size):
        c_new[j] = (half * a_f[j] + half) * c[j] + (half * a_i[j] + half) * u[j]


@njit(**INNER, forceinline=True)
def new_h(a_o, tanh_c, w, h_new, y):
    """One unit's h⁺ = o tanh c⁺, and what it adds to h⁺ · w_o."""
    half = y.dtype.type(0.5)
    for j in range(y.size):
        h = (half * a_o[j] + half) * tanh_c[j]
        h_new[j] = h
        y[j] += w * h


# Compiled into its callers: else the process that compiles runs another copy of this function than
# those that load kernels from the disk's cache, and its sums are contracted otherwise.
@njit(**INNER, forceinline=True)
def unit_vjp(a_i, a_f, u, a_o, tanh_c, c, y_bar, w, h_bar, c_bar, c_old_bar):
    """One unit: overwrite its gates' rows with z̄, fill c̄ of the old c, and return w̄_o."""
    half, quarter, one = c.dtype.type(0.5), c.dtype.type(0.25), c.dtype.type(1.0)
    w_bar = c.dtype.type(0.0)
    # A loop that also writes is done in two ways, one for rows that lie close to one another: their
    # sums would be taken in two orders, and the last bit depend on where memory was free.
    for j in range(c.size):
        w_bar += (half * a_o[j] + half) * tanh_c[j] * y_bar[j]
    for j in range(c.size):
        i, f, o = half * a_i[j] + half, half * a_f[j] + half, half * a_o[j] + half
        h = o * tanh_c[j]
        hb = h_bar[j] + w * y_bar[j]
        cb = c_bar[j] + hb * (o - h * tanh_c[j])
        c_old_bar[j] = cb * f
        a_o[j] = hb * tanh_c[j] * (quarter - quarter * a_o[j] * a_o[j])
        a_f[j] = cb * c[j] * (quarter - quarter * a_f[j] * a_f[j])
        a_i[j] = cb * u[j] * (quarter - quarter * a_i[j] * a_i[j])
        u[j] = cb * i * (one - u[j] * u[j])
    return w_bar


@njit(**INNER)
def stacked(W_x, W_h, b):
    """W (r, 4n): the weights of (x, h, 1), rows in the order in which Φ is flattened."""
    m, n = W_x.shape[0], W_h.shape[0]
    W = np.empty((m + n + 1, 4 * n), W_h.dtype)
    for v in range(m):
        copy(W_x[v], W[v])
    for v in range(n):
        copy(W_h[v], W[m + v])
    copy(b, W[m + n])
    return W


@njit(**INNER)
def halved(W):
    """W with the columns of logistic gates halved: σ(z) = ½ tanh(z/2) + ½."""
    n, half = W.shape[1] // 4, np.empty_like(W)
    for r in range(W.shape[0]):
        for q in range(W.shape[1]):
            half[r, q] = W[r, q] * W.dtype.type(1.0 if 2 * n <= q < 3 * n else 0.5)
    return half


@njit(**INNER)
def rows_of(number):
    """Where each row of a block starts."""
    return np.arange(number) * WIDTH


@njit(**INNER)
def gates(W_half, weights, g, h, c, start, stop, p, log_sign, into, a, c_new, scratch):
    """One block: fill ``into`` (r, WIDTH), a (4n, WIDTH) = tanh(Wᵀ (x, h, 1)) and c⁺ (n, WIDTH).

    ``weights`` are all but the last row of W, transposed and in whole blocks.
    """
    n, r, size = h.shape[0], into.shape[0], stop - start
    inputs(g, h, start, stop, p, log_sign, into)
    for q in range(4 * n):
        fill(a[q, :size], W_half[r - 1, q])
    add_products(into.reshape(-1), rows_of(r - 1), weights, 0, size, a.reshape(-1))
    for q in range(4 * n):
        tanh(a[q, :size], scratch)
    for v in range(n):
        new_c(a[v, :size], a[n + v], a[2 * n + v], c[v, start:stop], c_new[v])


@njit(**FLAGS)
def step_pieces(
    first, last, W_x, W_h, b, w_o, b_o, g, h, c, p, log_sign, scale, delta, h_new, c_new
):
    """Pieces first … last − 1 of a batch: g (tasks, d), h and c (tasks, n, d)."""
    W_half, n, d = halved(stacked(W_x, W_h, b)), W_h.shape[0], g.shape[1]
    weights, pieces = whole_weights(W_half[:-1].T, FILTERS), -(-d // PIECE)
    into, a = np.empty((W_half.shape[0], WIDTH), g.dtype), np.empty((4 * n, WIDTH), g.dtype)
    tanh_c, y = np.empty((n, WIDTH), g.dtype), np.empty(WIDTH, g.dtype)
    for piece in range(first, last):
        t, begin = piece // pieces, piece % pieces * PIECE
        end = min(begin + PIECE, d)
        for start in range(begin, end, WIDTH):
            stop = min(start + WIDTH, end)
            size = stop - start
            gates(W_half, weights, g[t], h[t], c[t], start, stop, p, log_sign, into, a, tanh_c, y)
            for v in range(n):
                copy(tanh_c[v, :size], c_new[t, v, start:stop])
                tanh(tanh_c[v, :size], y)
            fill(y, b_o)
            for v in range(n):
                new_h(a[3 * n + v], tanh_c[v], w_o[v], h_new[t, v, start:stop], y[:size])
            for j in range(size):
                delta[t, start + j] = scale * y[j]


@njit(**FLAGS)
def vjp_pieces(
    first, last, W_x, W_h, b, w_o, g, h, c, p, log_sign, scale, delta_bar, h_bar, c_bar,
    sums, g_bar, h_old_bar, c_old_bar,
):  # fmt: skip
    """Pieces first … last − 1 of a batch; sums (all pieces, P) holds each one's Φ̄, flattened."""
    W, n, d = stacked(W_x, W_h, b), W_h.shape[0], g.shape[1]
    W_half, r, pieces = halved(W), W.shape[0], -(-d // PIECE)
    weights, transposed = whole_weights(W_half[:-1].T, FILTERS), whole_weights(W[:-1], FILTERS)
    into, a = np.empty((r, WIDTH), g.dtype), np.empty((4 * n, WIDTH), g.dtype)
    tanh_c, y_bar = np.empty((n, WIDTH), g.dtype), np.empty(WIDTH, g.dtype)
    into_bar = np.empty((transposed.shape[0], WIDTH), g.dtype)
    for piece in range(first, last):
        t, begin = piece // pieces, piece % pieces * PIECE
        end = min(begin + PIECE, d)
        total = sums[piece]
        total[:] = 0
        for start in range(begin, end, WIDTH):
            stop = min(start + WIDTH, end)
            size = stop - start
            gates(
                W_half, weights, g[t], h[t], c[t], start, stop, p, log_sign, into, a, tanh_c, y_bar
            )
            for v in range(n):
                tanh(tanh_c[v, :size], y_bar)
            b_o_bar = g.dtype.type(0.0)
            for j in range(size):
                y_bar[j] = scale * delta_bar[t, start + j]
            for j in range(size):  # a loop of its own: see unit_vjp
                b_o_bar += y_bar[j]
            total[-1] += b_o_bar
            for v in range(n):
                total[4 * n * r + v] += unit_vjp(
                    a[v], a[n + v], a[2 * n + v], a[3 * n + v], tanh_c[v], c[t, v, start:stop],
                    y_bar, w_o[v], h_bar[t, v, start:stop], c_bar[t, v, start:stop],
                    c_old_bar[t, v, start:stop],
                )  # fmt: skip
            flat, gate_rows = a.reshape(-1), rows_of(4 * n)
            add_correlations(into, flat, gate_rows, 0, size, total[: 4 * n * r].reshape((r, 4 * n)))
            fill(into_bar.reshape(-1), g.dtype.type(0.0))
            add_products(flat, gate_rows, transposed, 0, size, into_bar.reshape(-1))
            for v in range(n):
                copy(into_bar[r - 1 - n + v, :size], h_old_bar[t, v, start:stop])
            features_vjp(g[t, start:stop], into_bar, g_bar[t, start:stop], p, log_sign)
