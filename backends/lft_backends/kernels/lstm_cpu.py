"""Numba kernels for the cell: gates, step and vjp of ``lft_ref.lstm``, block by block.

Coordinates are worked on in blocks that stay in the cache; a block is feature-major, so that every
loop runs along one row and vectorises. Loops are many and small on purpose: one large loop over
everything does not vectorise. What enters the cell lies in one block (h, x, 1), r = n + m + 1 rows,
so that one matrix product gives all gates, and one more all of Φ̄. Gates are computed again in the
vjp instead of being kept.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from lft_backends.kernels.elementary import FLAGS, log32, tanh32, tanh64

BLOCK = 512


@njit(**FLAGS)
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
    if g.itemsize == 4:
        log32(size, sign)  # the row of signs is free to work in
    else:
        for j in range(g.size):
            size[j] = math.log(size[j])
    for j in range(g.size):
        a = abs(g[j])
        s = one if g[j] > 0 else -one
        s = s if a >= threshold else scale * g[j]  # of NaN too: it stays NaN
        sign[j] = s
        size[j] = size[j] / g.dtype.type(p) if a >= threshold else (-one if a < threshold else a)


@njit(**FLAGS)
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


@njit(**FLAGS)
def inputs(g, h, p, log_sign, into):
    """Fill a block (r, block) with h, the preprocessed g, and ones."""
    n = h.shape[0]
    for v in range(n):
        into[v, :] = h[v]
    features(g, into[n:-1], p, log_sign)
    into[-1, :] = g.dtype.type(1.0)


@njit(**FLAGS)
def tanh(row, scratch):
    """Set a row of either precision to its tanh."""
    if row.itemsize == 4:
        tanh32(row)
    else:
        tanh64(row, scratch)


@njit(**FLAGS)
def gates(W, into, a, scratch):
    """Fill a (4n, block) with tanh(W (h, x, 1)); W's rows of logistic gates come halved."""
    np.dot(W, into, a)
    for r in range(a.shape[0]):
        tanh(a[r], scratch)


@njit(**FLAGS)
def new_state(a_i, a_f, u, a_o, c, c_new, tanh_c, h_new, scratch):
    """One unit's c⁺ = f c + i u and h⁺ = o tanh c⁺, with σ = ½ a + ½."""
    half = c.dtype.type(0.5)
    for j in range(c.size):
        c_new[j] = (half * a_f[j] + half) * c[j] + (half * a_i[j] + half) * u[j]
    tanh_c[:] = c_new
    tanh(tanh_c, scratch)
    for j in range(c.size):
        h_new[j] = (half * a_o[j] + half) * tanh_c[j]


@njit(**FLAGS)
def step(W, w_o, b_o, g, h, c, p, log_sign, scale, delta, h_new, c_new):
    """One task's step: W (4n, r), g (d), h and c (n, d); fills the last three."""
    n, d = h.shape
    for start in range(0, d, BLOCK):
        stop = min(start + BLOCK, d)
        into = np.empty((W.shape[1], stop - start), g.dtype)
        a = np.empty((4 * n, stop - start), g.dtype)
        tanh_c = np.empty(stop - start, g.dtype)
        scratch = np.empty(stop - start, g.dtype)
        y = np.zeros(stop - start, g.dtype)
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


@njit(**FLAGS)
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


@njit(**FLAGS)
def vjp(
    W, W_hx, w_o, g, h, c, p, log_sign, y_bar, h_bar, c_bar,
    W_bar, w_o_bar, g_bar, h_old_bar, c_old_bar,
):  # fmt: skip
    """One task's vjp; y_bar is the output scale times the cotangent of Δθ. Fills the last line.

    ``W`` (4n, r) comes with halved rows as in :func:`gates`; ``W_hx`` (n + m, 4n) are the weights
    of (h, x) as they are.
    """
    n, d = h.shape
    for start in range(0, d, BLOCK):
        stop = min(start + BLOCK, d)
        width = stop - start
        into = np.empty((W.shape[1], width), g.dtype)
        a = np.empty((4 * n, width), g.dtype)
        h_new = np.empty((n, width), g.dtype)
        c_new, tanh_c, scratch = (
            np.empty(width, g.dtype),
            np.empty(width, g.dtype),
            np.empty(width, g.dtype),
        )
        y_block = y_bar[start:stop]
        inputs(g[start:stop], h[:, start:stop], p, log_sign, into)
        gates(W, into, a, scratch)
        for v in range(n):
            a_i, a_f, u, a_o = a[v], a[n + v], a[2 * n + v], a[3 * n + v]
            c_row, c_bar_row = c[v, start:stop], c_old_bar[v, start:stop]
            new_state(a_i, a_f, u, a_o, c_row, c_new, tanh_c, h_new[v], scratch)
            c_bar_row[:] = c_bar[v, start:stop]
            unit_vjp(
                a_i, a_f, u, a_o, tanh_c, c_row, y_block, w_o[v], h_bar[v, start:stop], c_bar_row
            )
        w_o_bar += np.dot(h_new, y_block)
        W_bar += np.dot(a, into.T)
        into_bar = np.dot(W_hx, a)
        h_old_bar[:, start:stop] = into_bar[:n]
        features_vjp(g[start:stop], into_bar[n:], g_bar[start:stop], p, log_sign)


@njit(**FLAGS)
def step_tasks(W, w_o, b_o, g, h, c, p, log_sign, scale, delta, h_new, c_new):
    """Run :func:`step` for each task of a batch: g (tasks, d), h and c (tasks, n, d)."""
    for t in range(g.shape[0]):
        step(W, w_o, b_o, g[t], h[t], c[t], p, log_sign, scale, delta[t], h_new[t], c_new[t])


@njit(**FLAGS)
def vjp_tasks(
    W, W_hx, w_o, g, h, c, p, log_sign, y_bar, h_bar, c_bar,
    W_bar, w_o_bar, g_bar, h_old_bar, c_old_bar,
):  # fmt: skip
    """Run :func:`vjp` for each task of a batch, each with a Φ̄ of its own."""
    for t in range(g.shape[0]):
        vjp(
            W, W_hx, w_o, g[t], h[t], c[t], p, log_sign, y_bar[t], h_bar[t], c_bar[t],
            W_bar[t], w_o_bar[t], g_bar[t], h_old_bar[t], c_old_bar[t],
        )  # fmt: skip
