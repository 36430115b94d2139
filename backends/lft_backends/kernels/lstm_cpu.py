"""Numba kernels for the cell: gates, step and vjp of ``lft_ref.lstm``, block by block.

Coordinates are worked on in blocks that stay in the cache; a block is feature-major, so that every
loop runs along one row and vectorises. Gates are computed again in the vjp instead of being kept.
Loops are many and small on purpose: one large loop over everything does not vectorise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

BLOCK = 512
_FLAGS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",  # a check for division by zero would stop vectorisation
    "fastmath": {"reassoc", "contract", "arcp", "nsz"},  # NaN and infinity keep their meaning
}


@njit(**_FLAGS)
def tanh32(row):
    """Set row to tanh(row): rational 13/6 on the clamped argument, 2.6e-7 absolute (Eigen)."""
    top = np.float32(7.90531110763549805)
    for j in range(row.size):
        x = row[j]
        x = top if x > top else x  # written so that NaN stays NaN
        x = -top if x < -top else x
        y = x * x
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
        row[j] = x * p / q


@njit(**_FLAGS)
def tanh64(row):
    """Set row to tanh(row): Padé [9/8] at x/16, then tanh 2x = 2t/(1 + t²) four times.

    Doubling does not amplify relative errors: the result is within a few units in the last place.
    """
    for j in range(row.size):
        x = row[j]
        x = 20.0 if x > 20.0 else x
        x = -20.0 if x < -20.0 else x
        x = x * 0.0625
        y = x * x
        p = (((y + 990.0) * y + 135135.0) * y + 4729725.0) * y + 34459425.0
        q = (((45.0 * y + 13860.0) * y + 945945.0) * y + 16216200.0) * y + 34459425.0
        t = x * p / q
        t = (t + t) / (1.0 + t * t)
        t = (t + t) / (1.0 + t * t)
        t = (t + t) / (1.0 + t * t)
        row[j] = (t + t) / (1.0 + t * t)


@njit(**_FLAGS)
def features(g, x, p, log_sign):
    """Fill x (m, block) with the preprocessing of g (block)."""
    one = g.dtype.type(1.0)
    if not log_sign:
        x[0, :] = g
        return
    threshold, scale = g.dtype.type(math.exp(-p)), g.dtype.type(math.exp(p))
    for j in range(g.size):
        a = abs(g[j])
        if a >= threshold:
            x[0, j] = g.dtype.type(math.log(a)) / g.dtype.type(p)
            x[1, j] = one if g[j] > 0 else -one
        else:
            x[0, j] = -one
            x[1, j] = scale * g[j]
        if math.isnan(a):
            x[0, j] = a
            x[1, j] = a


@njit(**_FLAGS)
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


@njit(**_FLAGS)
def fill_row(z_row, x, W_row, bias, s):
    """z_row ← s (z_row + W_row · x + bias) for features x (m, block)."""
    for a in range(x.shape[0]):
        x_row, w = x[a], W_row[a]
        for j in range(z_row.size):
            z_row[j] += w * x_row[j]
    for j in range(z_row.size):
        z_row[j] = s * (z_row[j] + bias)


@njit(**_FLAGS)
def gates(W_x, W_h, b, x, h, z):
    """Fill z (4n, block) with tanh(s (W_x x + W_h h + b)); s is ½ for the logistic gates."""
    n = h.shape[0]
    half, one = z.dtype.type(0.5), z.dtype.type(1.0)
    np.dot(W_h, h, z)
    for r in range(4 * n):
        row = z[r]
        fill_row(row, x, W_x[r], b[r], one if r // n == 2 else half)
        if z.itemsize == 4:
            tanh32(row)
        else:
            tanh64(row)


@njit(**_FLAGS)
def new_state(a_i, a_f, u, a_o, c, c_new, tanh_c, h_new):
    """One unit's c⁺ = f c + i u and h⁺ = o tanh c⁺, with σ = ½ a + ½."""
    half = c.dtype.type(0.5)
    for j in range(c.size):
        c_new[j] = (half * a_f[j] + half) * c[j] + (half * a_i[j] + half) * u[j]
    tanh_c[:] = c_new
    if c.itemsize == 4:
        tanh32(tanh_c)
    else:
        tanh64(tanh_c)
    for j in range(c.size):
        h_new[j] = (half * a_o[j] + half) * tanh_c[j]


@njit(**_FLAGS)
def step(W_x, W_h, b, w_o, b_o, g, h, c, p, log_sign, scale, delta, h_new, c_new):
    """One task's step: W_x (4n, m), W_h (4n, n), g (d), h and c (n, d); fills the last three."""
    n, d = h.shape
    m = W_x.shape[1]
    for start in range(0, d, BLOCK):
        stop = min(start + BLOCK, d)
        x = np.empty((m, stop - start), g.dtype)
        z = np.empty((4 * n, stop - start), g.dtype)
        tanh_c = np.empty(stop - start, g.dtype)
        y = np.zeros(stop - start, g.dtype)
        features(g[start:stop], x, p, log_sign)
        gates(W_x, W_h, b, x, np.ascontiguousarray(h[:, start:stop]), z)
        for v in range(n):
            h_row = h_new[v, start:stop]
            new_state(
                z[v], z[n + v], z[2 * n + v], z[3 * n + v],
                c[v, start:stop], c_new[v, start:stop], tanh_c, h_row,
            )  # fmt: skip
            w = w_o[v]
            for j in range(y.size):
                y[j] += w * h_row[j]
        for j in range(y.size):
            delta[start + j] = scale * (y[j] + b_o)


@njit(**_FLAGS)
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


@njit(**_FLAGS)
def vjp(
    W_x, W_h, w_o, b, g, h, c, p, log_sign, y_bar, h_bar, c_bar,
    W_x_bar, W_h_bar, b_bar, w_o_bar, g_bar, h_old_bar, c_old_bar,
):  # fmt: skip
    """One task's vjp; y_bar is the output scale times the cotangent of Δθ. Fills the last line."""
    n, d = h.shape
    m = W_x.shape[1]
    W_xT, W_hT = np.ascontiguousarray(W_x.T), np.ascontiguousarray(W_h.T)
    for start in range(0, d, BLOCK):
        stop = min(start + BLOCK, d)
        width = stop - start
        x = np.empty((m, width), g.dtype)
        z = np.empty((4 * n, width), g.dtype)
        c_new, tanh_c, h_new = (
            np.empty(width, g.dtype),
            np.empty(width, g.dtype),
            np.empty(width, g.dtype),
        )
        h_block = np.ascontiguousarray(h[:, start:stop])
        y_block = y_bar[start:stop]
        features(g[start:stop], x, p, log_sign)
        gates(W_x, W_h, b, x, h_block, z)
        for v in range(n):
            a_i, a_f, u, a_o = z[v], z[n + v], z[2 * n + v], z[3 * n + v]
            c_row, c_bar_row = c[v, start:stop], c_old_bar[v, start:stop]
            new_state(a_i, a_f, u, a_o, c_row, c_new, tanh_c, h_new)
            c_bar_row[:] = c_bar[v, start:stop]
            w_o_bar[v] += np.dot(y_block, h_new)
            unit_vjp(
                a_i, a_f, u, a_o, tanh_c, c_row, y_block, w_o[v], h_bar[v, start:stop], c_bar_row
            )
        W_x_bar += np.dot(z, x.T)
        W_h_bar += np.dot(z, h_block.T)
        for r in range(4 * n):
            b_bar[r] += z[r].sum()
        features_vjp(g[start:stop], np.dot(W_xT, z), g_bar[start:stop], p, log_sign)
        h_old_bar[:, start:stop] = np.dot(W_hT, z)
