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

from lft_backends.kernels.convolution_cpu import (
    add,
    convolve,
    convolve_back,
    convolve_more,
    frame,
    pool,
    pool_back,
    pool_dot,
)
from lft_backends.kernels.elementary import FLAGS, INNER
from lft_backends.kernels.mlp_cpu import add_up
from lft_backends.kernels.products_cpu import WIDTH, add_correlations, whole_shifts
from lft_backends.kernels.victim_cpu import (
    COLUMNS,
    FILTERS,
    IN,
    OUT,
    ROWS,
    RUN,
    SHIFTS,
    TAPS,
    B,
    C,
    H,
    W,
    filters_of,
    winners_of,
)


@njit(**INNER)
def framed(kept, start, block):
    """The input of a block's convolution, (1, C, H, W, B)."""
    shape = (1, block[C], block[H], block[W], block[B])
    return kept[start : start + block[C] * block[H] * block[W] * block[B]].reshape(shape)


@njit(**INNER)
def pooled(kept, start, block):
    """Where a block's output lies: in the frame of the next one, or as the features."""
    height = block[ROWS] // 2 + 2 * block[OUT]
    width = block[COLUMNS] // 2 + 2 * block[OUT]
    shape = (1, block[FILTERS], height, width, block[B])
    return kept[start : start + block[FILTERS] * height * width * block[B]].reshape(shape)


@njit(**INNER)
def planes(kept, start, block):
    """The same input as one row, (1, C H W B)."""
    size = block[C] * block[H] * block[W] * block[B]
    return kept[start : start + size].reshape((1, size))


@njit(**INNER)
def outputs(block, like):
    """Room for what a convolution makes, (1, filters, rows W B)."""
    return np.empty((1, block[FILTERS], block[ROWS] * block[W] * block[B]), like.dtype)


@njit(**INNER)
def no_cotangents(block, like):
    """The same for its cotangents, at 0."""
    return np.zeros((1, block[FILTERS], block[ROWS] * block[W] * block[B]), like.dtype)


@njit(**INNER)
def images(y, block):
    """The same as (1, filters, rows, W, B)."""
    return y.reshape((1, block[FILTERS], block[ROWS], block[W], block[B]))


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
def correlate(y_bar, x, shifts, W_bar, L):
    """Add ȳ Xᵀ to W̄ (filters, taps): X is x moved by each tap's shift, L numbers of each."""
    all_shifts = whole_shifts(shifts)
    sums = np.zeros((W_bar.shape[0], all_shifts.size), x.dtype)
    for start in range(0, L, WIDTH):
        add_correlations(y_bar[0], x[0], all_shifts, start, min(WIDTH, L - start), sums)
    for o in range(W_bar.shape[0]):
        add(sums[o, : W_bar.shape[1]], W_bar[o])


@njit(**INNER)
def add_to_rows(rows, b):
    """Add b to every row."""
    for i in range(rows.shape[0]):
        add(b, rows[i])


@njit(**INNER)
def sums(y_bar, b_bar, L):
    """Set b̄ (filters) to the sums of ȳ's planes."""
    for o in range(b_bar.size):
        total = y_bar.dtype.type(0.0)
        row = y_bar[0, o, :L]
        for j in range(L):
            total += row[j]
        b_bar[o] = total


@njit(**INNER)
def transposed(weight):
    """Wᵀ, as one row after the other."""
    return np.ascontiguousarray(weight.T)


@njit(**FLAGS)
def forwards(theta, x, blocks, starts, dense, shifts, kept, which, y):
    """Fill y (T, N, classes), and ``kept`` (T, ...), zero before, and ``which`` on the way.

    θ^(t) of T works on the images x[t mod their number] (..., N, channels, height, width).
    """
    for t in range(theta.shape[0]):
        frame(x[t % x.shape[0]], framed(kept[t], starts[0], blocks[0]), blocks[0, IN])
        for number in range(blocks.shape[0]):
            block = blocks[number]
            weight, bias = filters_of(theta[t], block)
            out, inputs = outputs(block, theta), planes(kept[t], starts[number], block)
            convolve(inputs, taps_of(shifts, block), weight, bias, out, block[RUN])
            target = pooled(kept[t], starts[number + 1], block)
            pool(images(out, block), target, winners_of(which[t], block, 1), block[OUT])
        weight, bias = head(theta[t], dense)
        np.dot(features_of(kept[t], starts[-1], dense, y.shape[1]).T, weight, y[t])
        add_to_rows(y[t], bias)


@njit(**FLAGS)
def backwards(theta, y_bar, blocks, starts, dense, shifts, kept, which, theta_bar):
    """Fill θ̄ (T, d), zero before, with the pullback of ȳ (T, N, classes)."""
    N = y_bar.shape[1]
    for t in range(theta.shape[0]):
        weight, _ = head(theta[t], dense)
        W_bar, b_bar = head(theta_bar[t], dense)
        np.dot(features_of(kept[t], starts[-1], dense, N), y_bar[t], W_bar)
        add_up(y_bar[t], b_bar)
        out_bar = np.dot(weight, y_bar[t].T).ravel()
        for number in range(blocks.shape[0] - 1, -1, -1):
            block = blocks[number]
            c_bar = no_cotangents(block, theta)
            winners = winners_of(which[t], block, 1)
            pool_back(pooled(out_bar, 0, block), winners, images(c_bar, block), block[OUT])
            filters_bar, biases_bar = filters_of(theta_bar[t], block)
            taps = taps_of(shifts, block)
            correlate(c_bar, planes(kept[t], starts[number], block), taps, filters_bar, block[RUN])
            sums(c_bar, biases_bar, block[RUN])
            if number > 0:
                weight, _ = filters_of(theta[t], block)
                out_bar = np.zeros(starts[number + 1] - starts[number], theta.dtype)
                x_bar = planes(out_bar, 0, block)
                convolve_back(c_bar, taps, transposed(weight), x_bar, block[RUN])


@njit(**FLAGS)
def forwards_dot(
    theta, theta_dot, blocks, starts, dense, shifts, kept, which, kept_dot, y_dot
):  # fmt: skip
    """Fill ẏ (T, N, classes), and ``kept_dot``, zero before, with the tangents along θ̇."""
    for t in range(theta.shape[0]):
        for number in range(blocks.shape[0]):
            block = blocks[number]
            taps, start = taps_of(shifts, block), starts[number]
            weight_dot, bias_dot = filters_of(theta_dot[t], block)
            out = outputs(block, theta)
            convolve(planes(kept[t], start, block), taps, weight_dot, bias_dot, out, block[RUN])
            if number > 0:  # the images stand still
                weight, _ = filters_of(theta[t], block)
                convolve_more(planes(kept_dot[t], start, block), taps, weight, out, block[RUN])
            target = pooled(kept_dot[t], starts[number + 1], block)
            pool_dot(images(out, block), winners_of(which[t], block, 1), target, block[OUT])
        (weight, _), (weight_dot, bias_dot) = head(theta[t], dense), head(theta_dot[t], dense)
        N = y_dot.shape[1]
        np.dot(features_of(kept_dot[t], starts[-1], dense, N).T, weight, y_dot[t])
        more = np.dot(features_of(kept[t], starts[-1], dense, N).T, weight_dot)
        add(more.ravel(), y_dot[t].reshape(more.size))
        add_to_rows(y_dot[t], bias_dot)


@njit(**FLAGS)
def backwards_dot(
    theta, theta_dot, y_bar, y_bar_dot, blocks, starts, dense, shifts, kept, kept_dot, which,
    theta_bar_dot,
):  # fmt: skip
    """Fill the tangent of θ̄ (T, d), zero before, along θ̇, ẏ̄ and what θ̇ does to ``kept``."""
    N = y_bar.shape[1]
    for t in range(theta.shape[0]):
        (weight, _), (weight_dot, _) = head(theta[t], dense), head(theta_dot[t], dense)
        W_bar_dot, b_bar_dot = head(theta_bar_dot[t], dense)
        np.dot(features_of(kept[t], starts[-1], dense, N), y_bar_dot[t], W_bar_dot)
        more = np.dot(features_of(kept_dot[t], starts[-1], dense, N), y_bar[t])
        add(more.ravel(), W_bar_dot.reshape(more.size))
        add_up(y_bar_dot[t], b_bar_dot)
        out_bar = np.dot(weight, y_bar[t].T).ravel()
        out_bar_dot = np.dot(weight, y_bar_dot[t].T).ravel()
        add(np.dot(weight_dot, y_bar[t].T).ravel(), out_bar_dot)
        for number in range(blocks.shape[0] - 1, -1, -1):
            block, start = blocks[number], starts[number]
            winners, taps = winners_of(which[t], block, 1), taps_of(shifts, block)
            c_bar, c_bar_dot = no_cotangents(block, theta), no_cotangents(block, theta)
            pool_back(pooled(out_bar, 0, block), winners, images(c_bar, block), block[OUT])
            pool_back(pooled(out_bar_dot, 0, block), winners, images(c_bar_dot, block), block[OUT])
            filters_bar_dot, biases_bar_dot = filters_of(theta_bar_dot[t], block)
            x = planes(kept[t], start, block)
            correlate(c_bar_dot, x, taps, filters_bar_dot, block[RUN])
            sums(c_bar_dot, biases_bar_dot, block[RUN])
            if number > 0:
                x_dot = planes(kept_dot[t], start, block)
                correlate(c_bar, x_dot, taps, filters_bar_dot, block[RUN])
                weight, _ = filters_of(theta[t], block)
                weight_dot, _ = filters_of(theta_dot[t], block)
                out_bar = np.zeros(starts[number + 1] - start, theta.dtype)
                out_bar_dot = np.zeros(starts[number + 1] - start, theta.dtype)
                x_bar_dot, W_T = planes(out_bar_dot, 0, block), transposed(weight)
                convolve_back(c_bar, taps, W_T, planes(out_bar, 0, block), block[RUN])
                convolve_back(c_bar_dot, taps, W_T, x_bar_dot, block[RUN])
                convolve_back(c_bar, taps, transposed(weight_dot), x_bar_dot, block[RUN])
