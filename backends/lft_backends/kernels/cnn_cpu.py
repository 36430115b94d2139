"""Numba kernels for a CNN that is tuned: every task has its own θ, and all four passes.

The layers are those of :mod:`lft_backends.kernels.convolution_cpu`, with all examples of a task
side by side, then one dense layer. A task's memory is one row of numbers, ``kept``: what goes into
each convolution, in its frame, and last the features (features, N) that go into the dense layer;
and one row of bytes, ``which``: who won each window. ``starts`` says where in ``kept`` each input
begins, the features' as the last. Tangents lie in a row like ``kept``.

Source of the passes: :mod:`lft_ref.networks`, :mod:`lft_ref.convolution`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lft_backends.kernels.blas_cpu import first_transposed, product, second_transposed
from lft_backends.kernels.convolution_cpu import (
    add,
    convolve,
    convolve_back,
    convolve_more,
    fill,
    frame,
    pool,
    pool_back,
    pool_dot,
)
from lft_backends.kernels.elementary import FLAGS, INNER
from lft_backends.kernels.mlp_cpu import add_to, add_up
from lft_backends.kernels.products_cpu import WIDTH, add_correlations
from lft_backends.kernels.strips_cpu import (
    framed,
    images,
    length,
    planes,
    pooled,
    rows_from,
    strip,
    strips,
)
from lft_backends.kernels.victim_cpu import IN, OUT, SHIFTS, TAPS, filters_of, winners_of


@njit(**INNER)
def taps_of(shifts, block):
    """Where each tap of the block's filters begins."""
    return shifts[block[SHIFTS] : block[SHIFTS] + block[TAPS]]


@njit(**INNER)
def head(theta, dense):
    """W (features, classes) and b (classes) of the dense layer."""
    start, n_in, n_out = dense
    stop = start + n_in * n_out
    return theta[start:stop].reshape((n_in, n_out)), theta[stop : stop + n_out]


@njit(**INNER)
def features_of(kept, start, dense, N):
    """What goes into the dense layer, (features, N)."""
    return kept[start : start + dense[1] * N].reshape((dense[1], N))


@njit(**INNER)
def features_bar(weight, y_bar):
    """W ȳᵀ (features, N) of the dense layer, as one row."""
    bar = np.empty((weight.shape[0], y_bar.shape[0]), weight.dtype)
    second_transposed(weight, y_bar, bar)
    return bar.ravel()


@njit(**INNER)
def correlate(y_bar, x, shifts, W_bar, L):
    """Add ȳ Xᵀ to W̄ (filters, taps): X is x moved by each tap's shift, L numbers of each."""
    for start in range(0, L, WIDTH):
        add_correlations(y_bar[0], x[0], shifts, start, min(WIDTH, L - start), W_bar)


@njit(**INNER)
def add_to_rows(rows, b):
    """Add b to every row."""
    for i in range(rows.shape[0]):
        add(b, rows[i])


@njit(**INNER)
def sums(y_bar, b_bar, L):
    """Add the sums of ȳ's planes to b̄ (filters)."""
    for o in range(b_bar.size):
        total = y_bar.dtype.type(0.0)
        row = y_bar[0, o, :L]
        for j in range(L):
            total += row[j]
        b_bar[o] += total


@njit(**INNER)
def spread(out_bar, winners, c_bar, block, top):
    """Set a strip's cotangents c̄ to what comes back through its windows."""
    fill(c_bar.reshape(c_bar.size), c_bar.dtype.type(0.0))
    target = images(c_bar, block)
    pool_back(pooled(out_bar, 0, block), winners, target, block[OUT], top, rows_from(block, top))


@njit(**FLAGS)
def forwards(theta, x, blocks, starts, dense, shifts, kept, which, y):
    """Fill y (T, N, classes), and ``kept`` (T, ...), zero before, and ``which`` on the way.

    θ^(t) of T works on the images x[t mod their number] (..., N, channels, height, width).
    """
    for t in range(theta.shape[0]):
        frame(x[t % x.shape[0]], framed(kept[t], starts[0], blocks[0]), blocks[0, IN])
        for number in range(blocks.shape[0]):
            block, start = blocks[number], starts[number]
            weight, bias = filters_of(theta[t], block)
            target = pooled(kept[t], starts[number + 1], block)
            winners, taps = winners_of(which[t], block, 1), taps_of(shifts, block)
            out = strip(block, theta)
            for top in strips(block):
                inputs, L = planes(kept[t], start, block, top), length(block, top)
                convolve(inputs, taps, weight, bias, out, L)
                rows = rows_from(block, top)
                pool(images(out, block), target, winners, block[OUT], top, rows)
        weight, bias = head(theta[t], dense)
        first_transposed(features_of(kept[t], starts[-1], dense, y.shape[1]), weight, y[t])
        add_to_rows(y[t], bias)


@njit(**FLAGS)
def backwards(theta, y_bar, blocks, starts, dense, shifts, kept, which, theta_bar):
    """Fill θ̄ (T, d), zero before, with the pullback of ȳ (T, N, classes)."""
    N = y_bar.shape[1]
    for t in range(theta.shape[0]):
        weight, _ = head(theta[t], dense)
        W_bar, b_bar = head(theta_bar[t], dense)
        product(features_of(kept[t], starts[-1], dense, N), y_bar[t], W_bar)
        add_up(y_bar[t], b_bar)
        out_bar = features_bar(weight, y_bar[t])
        for number in range(blocks.shape[0] - 1, -1, -1):
            block, start = blocks[number], starts[number]
            winners, taps = winners_of(which[t], block, 1), taps_of(shifts, block)
            weight, _ = filters_of(theta[t], block)
            W_bar, b_bar = filters_of(theta_bar[t], block)
            x_bar, c_bar = np.zeros(starts[number + 1] - start, theta.dtype), strip(block, theta)
            for top in strips(block):
                spread(out_bar, winners, c_bar, block, top)
                x, L = planes(kept[t], start, block, top), length(block, top)
                correlate(c_bar, x, taps, W_bar, L)
                sums(c_bar, b_bar, L)
                if number > 0:
                    convolve_back(c_bar, taps, weight, planes(x_bar, 0, block, top), L)
            out_bar = x_bar


@njit(**FLAGS)
def forwards_dot(
    theta, theta_dot, blocks, starts, dense, shifts, kept, which, kept_dot, y_dot
):  # fmt: skip
    """Fill ẏ (T, N, classes), and ``kept_dot``, zero before, with the tangents along θ̇."""
    for t in range(theta.shape[0]):
        for number in range(blocks.shape[0]):
            block, start = blocks[number], starts[number]
            (weight, _), (weight_dot, bias_dot) = (
                filters_of(theta[t], block), filters_of(theta_dot[t], block)
            )  # fmt: skip
            target = pooled(kept_dot[t], starts[number + 1], block)
            winners, taps = winners_of(which[t], block, 1), taps_of(shifts, block)
            out = strip(block, theta)
            for top in strips(block):
                x, L = planes(kept[t], start, block, top), length(block, top)
                convolve(x, taps, weight_dot, bias_dot, out, L)
                if number > 0:  # the images stand still
                    convolve_more(planes(kept_dot[t], start, block, top), taps, weight, out, L)
                rows = rows_from(block, top)
                pool_dot(images(out, block), winners, target, block[OUT], top, rows)
        (weight, _), (weight_dot, bias_dot) = head(theta[t], dense), head(theta_dot[t], dense)
        N = y_dot.shape[1]
        first_transposed(features_of(kept_dot[t], starts[-1], dense, N), weight, y_dot[t])
        more = np.empty_like(y_dot[t])
        first_transposed(features_of(kept[t], starts[-1], dense, N), weight_dot, more)
        add_to(y_dot[t], more)
        add_to_rows(y_dot[t], bias_dot)


@njit(**INNER)
def head_backwards_dot(
    theta, theta_dot, y_bar, y_bar_dot, features, features_dot, dense, theta_bar_dot
):  # fmt: skip
    """Fill the dense layer's part of θ̄'s tangent; return the features' cotangent, and its own."""
    (weight, _), (weight_dot, _) = head(theta, dense), head(theta_dot, dense)
    W_bar_dot, b_bar_dot = head(theta_bar_dot, dense)
    product(features, y_bar_dot, W_bar_dot)
    more = np.empty_like(weight)
    product(features_dot, y_bar, more)
    add_to(W_bar_dot, more)
    add_up(y_bar_dot, b_bar_dot)
    out_bar_dot = features_bar(weight, y_bar_dot)
    add(features_bar(weight_dot, y_bar), out_bar_dot)
    return features_bar(weight, y_bar), out_bar_dot


@njit(**FLAGS)
def backwards_dot(
    theta, theta_dot, y_bar, y_bar_dot, blocks, starts, dense, shifts, kept, kept_dot, which,
    theta_bar_dot,
):  # fmt: skip
    """Fill the tangent of θ̄ (T, d), zero before, along θ̇, ẏ̄ and what θ̇ does to ``kept``."""
    N = y_bar.shape[1]
    for t in range(theta.shape[0]):
        out_bar, out_bar_dot = head_backwards_dot(
            theta[t], theta_dot[t], y_bar[t], y_bar_dot[t],
            features_of(kept[t], starts[-1], dense, N),
            features_of(kept_dot[t], starts[-1], dense, N), dense, theta_bar_dot[t],
        )  # fmt: skip
        for number in range(blocks.shape[0] - 1, -1, -1):
            block, start, size = blocks[number], starts[number], starts[number + 1] - starts[number]
            winners, taps = winners_of(which[t], block, 1), taps_of(shifts, block)
            (weight, _), (weight_dot, _) = (
                filters_of(theta[t], block), filters_of(theta_dot[t], block)
            )  # fmt: skip
            W_bar_dot, b_bar_dot = filters_of(theta_bar_dot[t], block)
            x_bar, x_bar_dot = np.zeros(size, theta.dtype), np.zeros(size, theta.dtype)
            c_bar, c_bar_dot = strip(block, theta), strip(block, theta)
            for top in strips(block):
                spread(out_bar_dot, winners, c_bar_dot, block, top)
                L = length(block, top)
                correlate(c_bar_dot, planes(kept[t], start, block, top), taps, W_bar_dot, L)
                sums(c_bar_dot, b_bar_dot, L)
                if number > 0:  # the images stand still, and nobody asks for their cotangents
                    spread(out_bar, winners, c_bar, block, top)
                    correlate(c_bar, planes(kept_dot[t], start, block, top), taps, W_bar_dot, L)
                    back, back_dot = planes(x_bar, 0, block, top), planes(x_bar_dot, 0, block, top)
                    convolve_back(c_bar, taps, weight, back, L)
                    convolve_back(c_bar_dot, taps, weight, back_dot, L)
                    convolve_back(c_bar, taps, weight_dot, back_dot, L)
            out_bar, out_bar_dot = x_bar, x_bar_dot
