"""Numba kernels for CNNs: convolution, max pooling with ReLU, their way back and their tangent.

Images lie as (groups, C, H, W, B): B of them side by side, so that a pixel is a run of B numbers
and a shift by some pixels moves along one row of memory. All of a plane is worked on as one row of
H W B numbers, margins included: the k − 1 columns that a filter cannot stand on are computed with
the rest and never looked at. A tile of such rows, one for each weight of a filter (a tap), stays in
the cache, and one matrix product with the filters makes the output of it. Loops are short and free
of branches, which is what makes compilers vectorise them (:mod:`lft_backends.kernels.elementary`).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lft_backends.kernels.elementary import FLAGS

TILE = 40_000  # numbers of all taps' rows together
DEAD = 4  # marks a window whose largest entry ReLU cuts off


@njit(**FLAGS)
def copy(x, y):
    """Set the row y to x; as a loop it is four times as fast as ``y[:] = x``."""
    for j in range(y.size):
        y[j] = x[j]


@njit(**FLAGS)
def add(x, y):
    """Add the row x to y."""
    for j in range(y.size):
        y[j] += x[j]


@njit(**FLAGS)
def add_constant(x, b, y):
    """Set the row y to x + b."""
    for j in range(y.size):
        y[j] = x[j] + b


@njit(**FLAGS)
def frame(x, framed, margin):
    """Lay images (N, C, H, W) out in the middle of framed (groups, C, H + 2m, W + 2m, B)."""
    B = framed.shape[4]
    for n in range(x.shape[0]):
        group, b = n // B, n % B
        for c in range(x.shape[1]):
            for i in range(x.shape[2]):
                source, target = x[n, c, i], framed[group, c, i + margin]
                for j in range(source.size):
                    target[j + margin, b] = source[j]


@njit(**FLAGS)
def unframe(framed, x, margin):
    """Undo :func:`frame`: fill x (N, C, H, W)."""
    B = framed.shape[4]
    for n in range(x.shape[0]):
        group, b = n // B, n % B
        for c in range(x.shape[1]):
            for i in range(x.shape[2]):
                source, target = framed[group, c, i + margin], x[n, c, i]
                for j in range(target.size):
                    target[j] = source[j + margin, b]


@njit(**FLAGS)
def convolve(x, shifts, W, b, y, L):
    """Fill L numbers of each plane y[group, o] with b[o] + Σ_t W[o, t] of x moved by t's shift.

    x (groups, C H W B) holds the channels one after the other; a tap t is one weight of a filter,
    and shifts (taps,) says where its channel and its pixel lie.
    """
    filters, taps = W.shape
    most = min(max(TILE // taps, 1), L)
    rows, totals = np.empty(taps * most, x.dtype), np.empty(filters * most, x.dtype)
    for group in range(x.shape[0]):
        for start in range(0, L, most):
            size = min(most, L - start)
            X = rows[: taps * size].reshape((taps, size))
            total = totals[: filters * size].reshape((filters, size))
            for t in range(taps):
                first = start + shifts[t]
                copy(x[group, first : first + size], X[t])
            np.dot(W, X, total)
            for o in range(filters):
                add_constant(total[o], b[o], y[group, o, start : start + size])


@njit(**FLAGS)
def convolve_back(y_bar, shifts, W_T, x_bar, L):
    """Add to x_bar, moved by each tap's shift, the L numbers of Σ_o W[o, t] ȳ[group, o]."""
    taps, filters = W_T.shape
    most = min(max(TILE // taps, 1), L)
    rows, parts = np.empty(taps * most, y_bar.dtype), np.empty(filters * most, y_bar.dtype)
    for group in range(y_bar.shape[0]):
        for start in range(0, L, most):
            size = min(most, L - start)
            X_bar = rows[: taps * size].reshape((taps, size))
            part = parts[: filters * size].reshape((filters, size))
            for o in range(filters):
                copy(y_bar[group, o, start : start + size], part[o])
            np.dot(W_T, part, X_bar)
            for t in range(taps):
                first = start + shifts[t]
                add(X_bar[t], x_bar[group, first : first + size])


@njit(**FLAGS)
def pool(y, out, which, margin):
    """ReLU of the largest of each 2 × 2 window of y (groups, C, H, W, B).

    It goes to the middle of out, which has a margin; which (groups, C, H/2, W/2, B) says the number
    of the winner, the first one if several are equal, or DEAD. NaN wins, and stays NaN.
    """
    zero = y.dtype.type(0.0)
    groups, C, rows, columns, B = which.shape
    for group in range(groups):
        for c in range(C):
            for i in range(rows):
                for j in range(columns):
                    top, bottom = y[group, c, 2 * i], y[group, c, 2 * i + 1]
                    a_0, a_1 = top[2 * j], top[2 * j + 1]
                    a_2, a_3 = bottom[2 * j], bottom[2 * j + 1]
                    target = out[group, c, i + margin, j + margin]
                    winner = which[group, c, i, j]
                    for b in range(B):
                        won = (a_1[b] > a_0[b]) | (a_1[b] != a_1[b])
                        best, number = (a_1[b], 1) if won else (a_0[b], 0)
                        won = (a_2[b] > best) | (a_2[b] != a_2[b])
                        best, number = (a_2[b], 2) if won else (best, number)
                        won = (a_3[b] > best) | (a_3[b] != a_3[b])
                        best, number = (a_3[b], 3) if won else (best, number)
                        target[b] = zero if best <= zero else best
                        winner[b] = number if best > zero else DEAD


@njit(**FLAGS)
def pool_back(out_bar, which, y_bar, margin):
    """Hand the cotangent of each window to its winner; y_bar is zero before."""
    groups, C, rows, columns, B = which.shape
    for group in range(groups):
        for c in range(C):
            for i in range(rows):
                for j in range(columns):
                    source, winner = (
                        out_bar[group, c, i + margin, j + margin],
                        which[group, c, i, j],
                    )
                    for b in range(B):
                        number = winner[b]
                        if number != DEAD:
                            y_bar[group, c, 2 * i + number // 2, 2 * j + number % 2, b] = source[b]


@njit(**FLAGS)
def pool_dot(y_dot, which, out_dot, margin):
    """Hand on the tangent of each window's winner, to the middle of out_dot; 0 where ReLU cuts."""
    groups, C, rows, columns, B = which.shape
    for group in range(groups):
        for c in range(C):
            for i in range(rows):
                for j in range(columns):
                    target = out_dot[group, c, i + margin, j + margin]
                    winner = which[group, c, i, j]
                    for b in range(B):
                        number = winner[b]
                        if number != DEAD:
                            target[b] = y_dot[group, c, 2 * i + number // 2, 2 * j + number % 2, b]
