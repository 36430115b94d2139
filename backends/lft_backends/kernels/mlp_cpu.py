"""Numba kernels for many small perceptrons at once: every task has its own weights.

Layers of a small network are a few microseconds of arithmetic each, far less than the calls of an
array library around them, so one call does all layers of all tasks, one task after the other. The
formulas are those of :mod:`lft_ref.layers`; what comes out of the hidden layers lies in one row of
memory, layer after layer.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lft_backends.kernels.blas_cpu import first_transposed, product, second_transposed
from lft_backends.kernels.dense_table import BEFORE, N_IN, N_OUT, START
from lft_backends.kernels.elementary import FLAGS, INNER


@njit(**INNER)
def weight(theta, layer):
    """Weight W (n_in, n_out) of a layer, a view."""
    start, n_in, n_out = layer[START], layer[N_IN], layer[N_OUT]
    return theta[start : start + n_in * n_out].reshape((n_in, n_out))


@njit(**INNER)
def bias(theta, layer):
    """Bias b (n_out) of a layer, a view."""
    stop = layer[START] + layer[N_IN] * layer[N_OUT]
    return theta[stop : stop + layer[N_OUT]]


@njit(**INNER)
def units(hidden, layer, t, tasks, N):
    """What comes out of a hidden layer for task t (N, n_out), a view."""
    first = (tasks * layer[BEFORE] + t * layer[N_OUT]) * N
    return hidden[first : first + N * layer[N_OUT]].reshape((N, layer[N_OUT]))


@njit(**FLAGS)
def forwards(theta, x, table, hidden, y):
    """Fill ``hidden`` and y (tasks, N, n_out) from θ (tasks, d) and x, of which task t's is x[t].

    Where x has fewer entries than there are tasks, they begin again with the first.
    """
    tasks, N, last = y.shape[0], y.shape[1], table.shape[0] - 1
    zero = theta.dtype.type(0.0)
    for t in range(tasks):
        h = x[t % x.shape[0]]
        for number in range(last + 1):
            layer = table[number]
            z = y[t] if number == last else units(hidden, layer, t, tasks, N)
            product(h, weight(theta[t], layer), z)
            b = bias(theta[t], layer)
            for i in range(N):
                row = z[i]
                for j in range(row.size):
                    row[j] += b[j]
            if number < last:
                flat = z.ravel()
                for j in range(flat.size):
                    flat[j] = zero if flat[j] <= zero else flat[j]  # NaN stays NaN
            h = z


@njit(**FLAGS)
def backwards(theta, x, table, hidden, y_bar, theta_bar):
    """Fill theta_bar (tasks, d): W̄ = hᵀ ȳ, b̄ = Σ_N ȳ, h̄ = ȳ Wᵀ where h > 0."""
    tasks, N = y_bar.shape[0], y_bar.shape[1]
    for t in range(tasks):
        z_bar = y_bar[t]
        for number in range(table.shape[0] - 1, -1, -1):
            layer = table[number]
            h = units(hidden, table[number - 1], t, tasks, N) if number else x[t % x.shape[0]]
            first_transposed(h, z_bar, weight(theta_bar[t], layer))
            add_up(z_bar, bias(theta_bar[t], layer))
            if number:
                h_bar = np.empty((N, layer[N_IN]), theta.dtype)
                second_transposed(z_bar, weight(theta[t], layer), h_bar)
                mask(h_bar, h)
                z_bar = h_bar


@njit(**FLAGS)
def forwards_dot(theta, x, table, hidden, theta_dot, hidden_dot, y_dot):
    """Fill ``hidden_dot`` and y_dot: ż = ḣ W + h Ẇ + ḃ, and 0 where the unit is off."""
    tasks, N, last = y_dot.shape[0], y_dot.shape[1], table.shape[0] - 1
    for t in range(tasks):
        h = h_dot = x[t % x.shape[0]]
        for number in range(last + 1):
            layer = table[number]
            z_dot = y_dot[t] if number == last else units(hidden_dot, layer, t, tasks, N)
            product(h, weight(theta_dot[t], layer), z_dot)
            b_dot = bias(theta_dot[t], layer)
            if number:
                through = np.empty((N, layer[N_OUT]), theta.dtype)
                product(h_dot, weight(theta[t], layer), through)
                add_to(z_dot, through)
            for i in range(N):
                row = z_dot[i]
                for j in range(row.size):
                    row[j] += b_dot[j]
            if number < last:
                h, h_dot = units(hidden, layer, t, tasks, N), z_dot
                mask(h_dot, h)


@njit(**FLAGS)
def backwards_dot(
    theta, x, table, hidden, y_bar, theta_dot, hidden_dot, y_bar_dot, theta_bar_dot
):  # fmt: skip
    """Fill theta_bar_dot (tasks, d), the tangent of what :func:`backwards` fills."""
    tasks, N = y_bar.shape[0], y_bar.shape[1]
    for t in range(tasks):
        z_bar, z_bar_dot = y_bar[t], y_bar_dot[t]
        for number in range(table.shape[0] - 1, -1, -1):
            layer = table[number]
            h = units(hidden, table[number - 1], t, tasks, N) if number else x[t % x.shape[0]]
            W_bar_dot = weight(theta_bar_dot[t], layer)
            first_transposed(h, z_bar_dot, W_bar_dot)
            add_up(z_bar_dot, bias(theta_bar_dot[t], layer))
            if number:
                h_dot = units(hidden_dot, table[number - 1], t, tasks, N)
                W, W_dot = weight(theta[t], layer), weight(theta_dot[t], layer)
                through = np.empty((layer[N_IN], layer[N_OUT]), theta.dtype)
                first_transposed(h_dot, z_bar, through)
                add_to(W_bar_dot, through)
                h_bar = np.empty((N, layer[N_IN]), theta.dtype)
                h_bar_dot = np.empty((N, layer[N_IN]), theta.dtype)
                second_transposed(z_bar, W_dot, h_bar)
                second_transposed(z_bar_dot, W, h_bar_dot)
                add_to(h_bar_dot, h_bar)
                second_transposed(z_bar, W, h_bar)
                mask(h_bar, h)
                mask(h_bar_dot, h)
                z_bar, z_bar_dot = h_bar, h_bar_dot


@njit(**INNER)
def add_to(rows, more):
    """Add one array to another of its shape."""
    flat, others = rows.ravel(), more.ravel()
    for j in range(flat.size):
        flat[j] += others[j]


@njit(**INNER)
def add_up(rows, total):
    """Set total to the sum of the rows."""
    zero = rows.dtype.type(0.0)
    for j in range(total.size):
        total[j] = zero
    for i in range(rows.shape[0]):
        row = rows[i]
        for j in range(row.size):
            total[j] += row[j]


@njit(**INNER)
def mask(rows, h):
    """Multiply by the slope of ReLU, which is 1 where its result h is positive and 0 elsewhere."""
    flat, at, zero = rows.ravel(), h.ravel(), rows.dtype.type(0.0)
    for j in range(flat.size):
        flat[j] = flat[j] if at[j] > zero else zero
