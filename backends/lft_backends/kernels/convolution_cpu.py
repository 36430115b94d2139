"""Numba kernels for CNNs: convolution, max pooling with ReLU, their way back and their tangent.

Images lie as (groups, C, H, W, B): B of them side by side, so that a pixel is a run of B numbers
and a shift by some pixels moves along one row of memory. All of a plane is worked on as one row of
H W B numbers, margins included: the k − 1 columns that a filter cannot stand on are computed with
the rest and never looked at. Rows of it, one for each weight of a filter (a tap), make the output
(:mod:`lft_backends.kernels.products_cpu`). Loops are short and free of branches, which makes
compilers vectorise them (:mod:`lft_backends.kernels.elementary`).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lft_backends.kernels.elementary import INNER
from lft_backends.kernels.products_cpu import (
    MANY,
    WIDTH,
    add_products,
    add_transposed,
    whole_weights,
)

DEAD = 4  # marks a window whose largest entry ReLU cuts off


@njit(**INNER)
def copy(x, y):
    """Set the row y to x; as a loop it is four times as fast as ``y[:] = x``."""
    for j in range(y.size):
        y[j] = x[j]


@njit(**INNER)
def add(x, y):
    """Add the row x to y."""
    for j in range(y.size):
        y[j] += x[j]


@njit(**INNER)
def fill(y, b):
    """Set all of the row y to b."""
    for j in range(y.size):
        y[j] = b


@njit(**INNER)
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


@njit(**INNER)
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


@njit(**INNER)
def convolve(x, shifts, W, b, y, L):
    """Fill L numbers of each plane y[group, o] with b[o] + Σ_t W[o, t] of x moved by t's shift.

    x (groups, C H W B) holds the channels one after the other; a tap t is one weight of a filter,
    and shifts (taps,) says where its channel and its pixel lie.
    """
    weights = whole_weights(W, MANY)
    sums = np.zeros(weights.shape[0] * WIDTH, x.dtype)
    for group in range(x.shape[0]):
        for start in range(0, L, WIDTH):
            size = min(WIDTH, L - start)
            for o in range(b.size):
                fill(sums[o * WIDTH : o * WIDTH + size], b[o])
            add_products(x[group], shifts, weights, start, size, sums)
            for o in range(b.size):
                copy(sums[o * WIDTH : o * WIDTH + size], y[group, o, start : start + size])


@njit(**INNER)
def convolve_more(x, shifts, W, y, L):
    """Add to L numbers of each plane y[group, o] what :func:`convolve` would fill, without b."""
    weights = whole_weights(W, MANY)
    sums = np.zeros(weights.shape[0] * WIDTH, x.dtype)
    for group in range(x.shape[0]):
        for start in range(0, L, WIDTH):
            size = min(WIDTH, L - start)
            for o in range(W.shape[0]):
                copy(y[group, o, start : start + size], sums[o * WIDTH : o * WIDTH + size])
            add_products(x[group], shifts, weights, start, size, sums)
            for o in range(W.shape[0]):
                copy(sums[o * WIDTH : o * WIDTH + size], y[group, o, start : start + size])


@njit(**INNER)
def convolve_back(y_bar, shifts, W, x_bar, L):
    """Add to x_bar, moved by each tap's shift, the L numbers of Σ_o W[o, t] ȳ[group, o]."""
    weights = whole_weights(W, MANY)
    rows = np.zeros(weights.shape[0] * WIDTH, y_bar.dtype)
    for group in range(y_bar.shape[0]):
        for start in range(0, L, WIDTH):
            size = min(WIDTH, L - start)
            for o in range(W.shape[0]):
                copy(y_bar[group, o, start : start + size], rows[o * WIDTH : o * WIDTH + size])
            add_transposed(rows, shifts, weights, start, size, x_bar[group])


@njit(**INNER)
def apart(row, even, odd):
    """Lay the even and the odd pixels of a row (at least 2 columns, B) apart: (columns, B) each."""
    for j in range(even.shape[0]):
        left, right, to_even, to_odd = row[2 * j], row[2 * j + 1], even[j], odd[j]
        for b in range(to_even.size):
            to_even[b] = left[b]
            to_odd[b] = right[b]


@njit(**INNER)
def largest(windows, target, winner):
    """Set target to ReLU of the largest of four rows' numbers, winner to its row, or to DEAD."""
    a_0, a_1, a_2, a_3 = windows[0], windows[1], windows[2], windows[3]
    zero = target.dtype.type(0.0)
    for j in range(target.size):
        won = (a_1[j] > a_0[j]) | (a_1[j] != a_1[j])
        best, number = (a_1[j], 1) if won else (a_0[j], 0)
        won = (a_2[j] > best) | (a_2[j] != a_2[j])
        best, number = (a_2[j], 2) if won else (best, number)
        won = (a_3[j] > best) | (a_3[j] != a_3[j])
        best, number = (a_3[j], 3) if won else (best, number)
        target[j] = zero if best <= zero else best
        winner[j] = number if best > zero else DEAD


@njit(**INNER)
def pool(y, out, which, margin, top, rows):
    """ReLU of the largest of each 2 × 2 window of y (groups, C, 2 rows, W, B).

    It goes to the rows of out from ``top`` on, and to the middle of them: out has a margin; which
    (groups, C, H/2, W/2, B) says the number of the winner there, the first one if several are
    equal, or DEAD. NaN wins, and stays NaN.
    """
    groups, C, _, columns, B = which.shape
    room = np.empty((4, columns, B), y.dtype)
    for group in range(groups):
        for c in range(C):
            for i in range(rows):
                apart(y[group, c, 2 * i], room[0], room[1])
                apart(y[group, c, 2 * i + 1], room[2], room[3])
                target = out[group, c, top + i + margin, margin : margin + columns]
                largest(
                    room.reshape((4, columns * B)),
                    target.reshape(columns * B),
                    which[group, c, top + i].reshape(columns * B),
                )


@njit(**INNER)
def pool_back(out_bar, which, y_bar, margin, top, rows):
    """Hand the cotangent of each window to its winner; y_bar is zero before. As :func:`pool`."""
    groups, C, _, columns, B = which.shape
    for group in range(groups):
        for c in range(C):
            for i in range(rows):
                sources, winners = out_bar[group, c, top + i + margin], which[group, c, top + i]
                for j in range(columns):
                    source, winner = sources[j + margin], winners[j]
                    for b in range(B):
                        number = winner[b]
                        if number != DEAD:
                            y_bar[group, c, 2 * i + number // 2, 2 * j + number % 2, b] = source[b]


@njit(**INNER)
def pool_dot(y_dot, which, out_dot, margin, top, rows):
    """Hand on the tangent of each window's winner; 0 where ReLU cuts. As :func:`pool`."""
    groups, C, _, columns, B = which.shape
    for group in range(groups):
        for c in range(C):
            for i in range(rows):
                targets, winners = out_dot[group, c, top + i + margin], which[group, c, top + i]
                for j in range(columns):
                    target, winner = targets[j + margin], winners[j]
                    for b in range(B):
                        number = winner[b]
                        if number != DEAD:
                            target[b] = y_dot[group, c, 2 * i + number // 2, 2 * j + number % 2, b]
