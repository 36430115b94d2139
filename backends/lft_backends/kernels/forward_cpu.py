"""Numba kernel for one step of Statement 1: (8), and (9) with H^(k), coordinate by coordinate.

With the blocks of one coordinate at hand, (9) is a matrix product, Π_h • H, to which the few terms
of Π_g • Ġ and Π_Φ are added in place. And (8) needs no blocks of its own: Δθ = s (h⁺ · w_o + b_o)
gives Γ = s w_o • Π, so G⁺ = G − s (w_o • (the h rows of H⁺) + ∂(h⁺ · w_o + b_o)/∂Φ at fixed h⁺).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from lft_backends.kernels.elementary import FLAGS, INNER


@njit(**INNER)
def sigmoid(z):
    """Logistic function of a number."""
    half = z * 0 + 0.5
    return half * math.tanh(half * z) + half


@njit(**INNER)
def unit_slopes(z, c, v, slopes):
    """One unit's ∂c⁺/∂z (i, f, u), then ∂h⁺/∂c⁺, ∂h⁺/∂z_o, f and h⁺, into ``slopes`` (7)."""
    n = z.size // 4
    i, f, o = sigmoid(z[v]), sigmoid(z[n + v]), sigmoid(z[3 * n + v])
    u = math.tanh(z[2 * n + v])
    tanh_c = math.tanh(f * c + i * u)
    slopes[0] = u * i * (1 - i)
    slopes[1] = c * f * (1 - f)
    slopes[2] = i * (1 - u * u)
    slopes[3] = o * (1 - tanh_c * tanh_c)
    slopes[4] = tanh_c * o * (1 - o)
    slopes[5] = f
    slopes[6] = o * tanh_c


@njit(**INNER)
def blocks(W_h, z_g, q, Pi_h, Pi_g):
    """Fill Π_h (2n, 2n) and Π_g (2n) from the units' slopes q (n, 7) and ∂z/∂g (4n)."""
    n = W_h.shape[0]
    for v in range(n):
        for w in range(n):
            to_c = q[v, 0] * W_h[w, v] + q[v, 1] * W_h[w, n + v] + q[v, 2] * W_h[w, 2 * n + v]
            Pi_h[n + v, w] = to_c
            Pi_h[v, w] = q[v, 3] * to_c + q[v, 4] * W_h[w, 3 * n + v]
            Pi_h[n + v, n + w] = 0
            Pi_h[v, n + w] = 0
        Pi_h[n + v, n + v] = q[v, 5]
        Pi_h[v, n + v] = q[v, 3] * q[v, 5]
        Pi_g[n + v] = q[v, 0] * z_g[v] + q[v, 1] * z_g[n + v] + q[v, 2] * z_g[2 * n + v]
        Pi_g[v] = q[v, 3] * Pi_g[n + v] + q[v, 4] * z_g[3 * n + v]


@njit(**INNER)
def add_weights(q, inputs, H):
    """Add Π_Φ to H (2n, P): weight (a, gate, v) feeds input a of (x, h, 1) to unit v alone."""
    n = q.shape[0]
    for a in range(inputs.size):
        x = inputs[a]
        for v in range(n):
            column = 4 * n * a + v
            for gate in range(3):
                to_c = q[v, gate] * x
                H[n + v, column + gate * n] += to_c
                H[v, column + gate * n] += q[v, 3] * to_c
            H[v, column + 3 * n] += q[v, 4] * x


@njit(**FLAGS)
def forward_pieces(
    begin, end, W_x, W_h, b, w_o, x, slope, h, c, scale, G, G_dot, H, G_new, H_new,
    first, last, output,
):  # fmt: skip
    """Coordinates begin … end − 1: x, ∂x/∂g (d, m), h, c (d, n), G, Ġ (d, P), H (d, 2n, P)."""
    n, m, P = W_h.shape[0], W_x.shape[0], G.shape[1]
    z, z_g = np.empty(4 * n, G.dtype), np.empty(4 * n, G.dtype)
    q = np.empty((n, 7), G.dtype)
    Pi_h, Pi_g = np.empty((2 * n, 2 * n), G.dtype), np.empty(2 * n, G.dtype)
    inputs = np.ones(m + n + 1, G.dtype)
    change = np.empty(P, G.dtype)
    for j in range(begin, end):
        for a in range(m):  # an assignment of slices takes seconds to compile
            inputs[a] = x[j, a]
        for a in range(n):
            inputs[m + a] = h[j, a]
        for r in range(4 * n):
            z[r], z_g[r] = b[r], 0
            for a in range(m):
                z[r] += x[j, a] * W_x[a, r]
                z_g[r] += slope[j, a] * W_x[a, r]
            for a in range(n):
                z[r] += h[j, a] * W_h[a, r]
        for v in range(n):
            unit_slopes(z, c[j, v], v, q[v])
        blocks(W_h, z_g, q, Pi_h, Pi_g)
        np.dot(Pi_h, H[j], H_new[j])  # Π_h • H
        for r in range(2 * n):
            row, factor = H_new[j, r], Pi_g[r]
            for k in range(P):
                row[k] += factor * G_dot[j, k]  # Π_g • Ġ
        add_weights(q, inputs[first:last], H_new[j])
        change[:] = 0
        for v in range(n):
            row, factor = H_new[j, v], w_o[v]
            for k in range(P):
                change[k] += factor * row[k]
        if output:
            for v in range(n):
                change[P - n - 1 + v] += q[v, 6]
            change[P - 1] += 1
        for k in range(P):
            G_new[j, k] = G[j, k] - scale * change[k]
