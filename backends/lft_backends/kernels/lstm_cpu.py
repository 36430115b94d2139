"""Numba kernels for the cell: gates, step and vjp of ``lft_ref.lstm``, block by block.

Coordinates are worked on in blocks that stay in the cache; a block is feature-major, so that every
loop runs along one row and vectorises. Loops are many and small on purpose: one large loop over
everything does not vectorise. What enters the cell lies in one block (h, x, 1), r = n + m + 1 rows,
so that one matrix product gives all gates, and one more all of Φ̄. Gates are computed again in the
vjp instead of being kept.

Work is cut into pieces of a few blocks, by sizes alone. Threads share pieces out between them, and
each piece has sums of its own, so that no bit depends on the number of threads.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numba.extending import overload

from lft_backends.kernels.elementary import FLAGS, INNER, log32, tanh32, tanh64

BLOCK = 512  # coordinates: a block's gates stay in the cache
PIECE = 4  # blocks that one thread takes at a time
ONE_THREAD = 2**18  # multiply-adds up to which OpenBLAS starts no threads of its own


def tanh(row, scratch):
    """Set a row of either precision to its tanh."""
    return tanh32(row) if row.itemsize == 4 else tanh64(row, scratch)


def log(row, scratch):
    """Set a row of either precision, nowhere below 0, to its logarithm."""
    if row.itemsize == 4:
        log32(row, scratch)
    else:
        np.log(row, row)


@overload(tanh)
def _tanh(row, scratch):  # noqa: ARG001 - Numba looks at types only, and compiles one of the two
    if row.dtype == types.float32:
        return lambda row, scratch: tanh32(row)  # noqa: ARG005
    return lambda row, scratch: tanh64(row, scratch)  # noqa: PLW0108


@overload(log)
def _log(row, scratch):  # noqa: ARG001
    if row.dtype == types.float32:
        return lambda row, scratch: log32(row, scratch)  # noqa: PLW0108
    return lambda row, scratch: log64(row)  # noqa: ARG005


@njit(**INNER)
def log64(row):
    """Set row to its logarithm, with the C library's log."""
    for j in range(row.size):
        row[j] = math.log(row[j])


@njit(**INNER)
def features(g, x, p, log_sign):
    """Fill x (m, block) with the preprocessing of g (block)."""
    if not log_sign:
        x[0, :] = g
        return
    one = g.dtype.type(1.0)
    threshold, scale = g.dtype.type(math.exp(-p)), g.dtype.type(math.exp(p))
    size, sign = x[0], x[1]
    for j in range(g.size):
        a = abs(g[j])
        size[j] = threshold if a < threshold else a  # NaN stays NaN
    log(size, sign)  # the row of signs is free to work in
    for j in range(g.size):
        a = abs(g[j])
        s = one if g[j] > 0 else -one
        s = s if a >= threshold else scale * g[j]  # of NaN too: it stays NaN
        sign[j] = s
        size[j] = size[j] / g.dtype.type(p) if a >= threshold else (-one if a < threshold else a)


@njit(**INNER)
def features_vjp(g, x_bar, g_bar, p, log_sign):
    """Fill g_bar (block) with x_bar (m, block) pulled back through the preprocessing."""
    if not log_sign:
        g_bar[:] = x_bar[0]
        return
    threshold, scale = g.dtype.type(math.exp(-p)), g.dtype.type(math.exp(p))
    for j in range(g.size):
        large = abs(g[j]) >= threshold
        safe = g[j] if large else g.dtype.type(1.0)
        g_bar[j] = x_bar[0, j] / (g.dtype.type(p) * safe) if large else x_bar[1, j] * scale


@njit(**INNER)
def inputs(g, h, p, log_sign, into):
    """Fill a block (r, block) with h, the preprocessed g, and ones."""
    n = h.shape[0]
    for v in range(n):
        into[v, :] = h[v]
    features(g, into[n:-1], p, log_sign)
    into[-1, :] = g.dtype.type(1.0)


@njit(**INNER)
def gates(W, into, a, scratch):
    """Fill a (4n, block) with tanh(W (h, x, 1)); W's rows of logistic gates come halved."""
    np.dot(W, into, a)
    for r in range(a.shape[0]):
        tanh(a[r], scratch)


@njit(**INNER)
def new_state(a_i, a_f, u, a_o, c, c_new, tanh_c, h_new, scratch):
    """One unit's c⁺ = f c + i u and h⁺ = o tanh c⁺, with σ = ½ a + ½."""
    half = c.dtype.type(0.5)
    for j in range(c.size):
        c_new[j] = (half * a_f[j] + half) * c[j] + (half * a_i[j] + half) * u[j]
    tanh_c[:] = c_new
    tanh(tanh_c, scratch)
    for j in range(c.size):
        h_new[j] = (half * a_o[j] + half) * tanh_c[j]


# Compiled into its callers: else the process that compiles runs another copy of this function than
# those that load kernels from the disk's cache, and its sums are contracted otherwise.
@njit(**INNER, forceinline=True)
def unit_vjp(a_i, a_f, u, a_o, tanh_c, c, y_bar, w, h_bar, c_bar):
    """One unit: overwrite its gates' rows with z̄, and c_bar with the cotangent of the old c."""
    half, quarter, one = c.dtype.type(0.5), c.dtype.type(0.25), c.dtype.type(1.0)
    for j in range(c.size):
        i, f, o = half * a_i[j] + half, half * a_f[j] + half, half * a_o[j] + half
        hb = h_bar[j] + w * y_bar[j]
        cb = c_bar[j] + hb * o * (one - tanh_c[j] * tanh_c[j])
        a_o[j] = hb * tanh_c[j] * quarter * (one - a_o[j] * a_o[j])
        a_i[j] = cb * u[j] * quarter * (one - a_i[j] * a_i[j])
        u[j] = cb * i * (one - u[j] * u[j])
        a_f[j] = cb * c[j] * quarter * (one - a_f[j] * a_f[j])
        c_bar[j] = cb * f


@njit(**INNER)
def halved(W_x, W_h, b):
    """W (4n, r): what each gate makes of (h, x, 1); halved where σ(z) = ½ tanh(z/2) + ½."""
    m, n = W_x.shape[0], W_h.shape[0]
    W = np.empty((4 * n, n + m + 1), W_h.dtype)
    for r in range(4 * n):
        factor = W_h.dtype.type(1.0 if 2 * n <= r < 3 * n else 0.5)
        for a in range(n):
            W[r, a] = factor * W_h[a, r]
        for a in range(m):
            W[r, n + a] = factor * W_x[a, r]
        W[r, n + m] = factor * b[r]
    return W


@njit(**INNER)
def block_width(W):
    """Coordinates of a block, whose matrix products are too small for BLAS to start threads."""
    return min(BLOCK, max(16, ONE_THREAD // W.size // 16 * 16))


@njit(**INNER)
def step_block(W, w_o, b_o, g, h, c, start, stop, p, log_sign, scale, delta, h_new, c_new):
    """One block of one task: W (4n, r), g (d), h and c (n, d); fills that block of the results."""
    n, width = h.shape[0], stop - start
    into = np.empty((W.shape[1], width), g.dtype)
    a = np.empty((4 * n, width), g.dtype)
    tanh_c, scratch = np.empty(width, g.dtype), np.empty(width, g.dtype)
    y = np.zeros(width, g.dtype)
    inputs(g[start:stop], h[:, start:stop], p, log_sign, into)
    gates(W, into, a, scratch)
    for v in range(n):
        h_row = h_new[v, start:stop]
        new_state(
            a[v], a[n + v], a[2 * n + v], a[3 * n + v],
            c[v, start:stop], c_new[v, start:stop], tanh_c, h_row, scratch,
        )  # fmt: skip
        w = w_o[v]
        for j in range(y.size):
            y[j] += w * h_row[j]
    for j in range(y.size):
        delta[start + j] = scale * (y[j] + b_o)


@njit(**INNER)
def add(total, row):
    """Add a row to a total."""
    for j in range(row.size):
        total[j] += row[j]


@njit(**INNER)
def vjp_block(
    W, W_hx, w_o, g, h, c, start, stop, p, log_sign, scale, delta_bar, h_bar, c_bar,
    W_bar, w_o_bar, g_bar, h_old_bar, c_old_bar,
):  # fmt: skip
    """One block of one task: adds to W_bar and w_o_bar, fills that block of the last three.

    ``W`` (4n, r) comes with halved rows as in :func:`halved`; ``W_hx`` (n + m, 4n) are the weights
    of (h, x) as they are.
    """
    n, width = h.shape[0], stop - start
    into = np.empty((W.shape[1], width), g.dtype)
    a, h_new = np.empty((4 * n, width), g.dtype), np.empty((n, width), g.dtype)
    c_new, tanh_c = np.empty(width, g.dtype), np.empty(width, g.dtype)
    scratch, y_bar = np.empty(width, g.dtype), np.empty(width, g.dtype)
    for j in range(width):
        y_bar[j] = scale * delta_bar[start + j]
    inputs(g[start:stop], h[:, start:stop], p, log_sign, into)
    gates(W, into, a, scratch)
    for v in range(n):
        a_i, a_f, u, a_o = a[v], a[n + v], a[2 * n + v], a[3 * n + v]
        c_row, c_bar_row = c[v, start:stop], c_old_bar[v, start:stop]
        new_state(a_i, a_f, u, a_o, c_row, c_new, tanh_c, h_new[v], scratch)
        c_bar_row[:] = c_bar[v, start:stop]
        unit_vjp(a_i, a_f, u, a_o, tanh_c, c_row, y_bar, w_o[v], h_bar[v, start:stop], c_bar_row)
    add(w_o_bar, np.dot(h_new, y_bar))
    add(W_bar.reshape(-1), np.dot(a, into.T).reshape(-1))
    into_bar = np.dot(W_hx, a)
    h_old_bar[:, start:stop] = into_bar[:n]
    features_vjp(g[start:stop], into_bar[n:], g_bar[start:stop], p, log_sign)


@njit(**FLAGS)
def step_pieces(
    first, last, size, W_x, W_h, b, w_o, b_o, g, h, c, p, log_sign, scale, delta, h_new, c_new
):
    """Pieces first … last − 1 of a batch: g (tasks, d), h and c (tasks, n, d)."""
    W, d = halved(W_x, W_h, b), g.shape[1]
    width, pieces = block_width(W), -(-d // size)
    for piece in range(first, last):
        t, begin = piece // pieces, piece % pieces * size
        end = min(begin + size, d)
        for start in range(begin, end, width):
            step_block(
                W, w_o, b_o, g[t], h[t], c[t], start, min(start + width, end), p, log_sign, scale,
                delta[t], h_new[t], c_new[t],
            )  # fmt: skip


@njit(**FLAGS)
def vjp_pieces(
    first, last, size, W_x, W_h, b, w_o, g, h, c, p, log_sign, scale, delta_bar, h_bar, c_bar,
    W_bar, w_o_bar, g_bar, h_old_bar, c_old_bar,
):  # fmt: skip
    """Pieces first … last − 1 of a batch; W_bar (all pieces, 4n, r) and w_o_bar hold their sums."""
    W, n, d = halved(W_x, W_h, b), W_h.shape[0], g.shape[1]
    W_hx = np.empty((n + W_x.shape[0], 4 * n), g.dtype)
    W_hx[:n] = W_h
    W_hx[n:] = W_x
    width, pieces = block_width(W), -(-d // size)
    for piece in range(first, last):
        t, begin = piece // pieces, piece % pieces * size
        end = min(begin + size, d)
        W_bar[piece] = 0
        w_o_bar[piece] = 0
        for start in range(begin, end, width):
            vjp_block(
                W, W_hx, w_o, g[t], h[t], c[t], start, min(start + width, end), p, log_sign, scale,
                delta_bar[t], h_bar[t], c_bar[t],
                W_bar[piece], w_o_bar[piece], g_bar[t], h_old_bar[t], c_old_bar[t],
            )  # fmt: skip
