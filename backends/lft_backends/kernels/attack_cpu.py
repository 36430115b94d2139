"""Numba kernels for the attack loss (12): perturbed images, a victim, margins, and the way back."""

from __future__ import annotations

import numpy as np
from numba import njit

from lft_backends.kernels.elementary import FLAGS
from lft_backends.kernels.victim_cpu import backwards, forwards


@njit(**FLAGS)
def perturbed(theta, x, low, high):
    """Add θ to each task's images, cut off at the ends of the box: (tasks N, C, H, W)."""
    images = np.empty(x.shape, x.dtype)
    rows = images.reshape((x.shape[0], theta.shape[1]))
    source, N = x.reshape(rows.shape), x.shape[0] // theta.shape[0]
    for number in range(rows.shape[0]):
        shift, image, row = theta[number // N], source[number], rows[number]
        for i in range(row.size):
            pixel = image[i] + shift[i]
            pixel = low if pixel < low else pixel
            row[i] = high if pixel > high else pixel
    return images


@njit(**FLAGS)
def margin(z, y):
    """z_y − max_{c≠y} z_c of one image, and the first c that is best. NaN wins.

    A class y that there is not has z_y = 0, as in the reference.
    """
    best = 1 if y == 0 else 0
    for c in range(best + 1, z.size):
        if c != y and (z[c] > z[best] or (z[c] != z[c] and z[best] == z[best])):
            best = c
    own = z[y] if 0 <= y < z.size else z.dtype.type(0.0)
    return own - z[best], best


@njit(**FLAGS)
def value(
    theta, x, y, kappa, l1, low, high, weights, groups, blocks, dense, shifts, which, features
):
    """f(θ; D) of each task, (tasks,)."""
    images = perturbed(theta, x, low, high)
    z = forwards(weights, images, groups, blocks, dense, shifts, which, features)
    losses, N = np.empty(theta.shape[0], theta.dtype), z.shape[0] // theta.shape[0]
    for task in range(losses.size):
        size = np.abs(theta[task]).sum()
        attack = theta.dtype.type(0.0)
        for number in range(task * N, (task + 1) * N):
            lead, _ = margin(z[number], y[number])
            attack += lead if lead > -kappa else -kappa
        losses[task] = attack + l1 * size
    return losses


@njit(**FLAGS)
def gradient(
    theta, x, y, kappa, l1, low, high, weights, groups, blocks, dense, shifts, which, features
):
    """∇_θ f(θ; D) of each task, (tasks, d)."""
    images = perturbed(theta, x, low, high)
    z = forwards(weights, images, groups, blocks, dense, shifts, which, features)
    z_bar = np.zeros(z.shape, z.dtype)
    for number in range(z.shape[0]):
        lead, best = margin(z[number], y[number])
        if lead > -kappa:
            if 0 <= y[number] < z.shape[1]:
                z_bar[number, y[number]] = 1.0
            z_bar[number, best] = -1.0
    x_bar = np.empty(x.shape, x.dtype)
    backwards(weights, z_bar, groups, blocks, dense, shifts, which, features, x_bar)
    return theta_bar(theta, x, l1, low, high, x_bar)


@njit(**FLAGS)
def theta_bar(theta, x, l1, low, high, x_bar):
    """Σ over a task's images of x̄ where x + θ is not cut off, and λ sign θ: (tasks, d)."""
    total = np.empty(theta.shape, theta.dtype)
    zero, one = theta.dtype.type(0.0), theta.dtype.type(1.0)
    rows, N = x.reshape((x.shape[0], theta.shape[1])), x.shape[0] // theta.shape[0]
    bars = x_bar.reshape(rows.shape)
    for task in range(theta.shape[0]):
        row, shift = total[task], theta[task]
        for i in range(row.size):
            row[i] = l1 * np.sign(shift[i])
        for number in range(task * N, (task + 1) * N):
            image, bar = rows[number], bars[number]
            for i in range(row.size):
                pixel = image[i] + shift[i]
                row[i] += bar[i] * (one if (pixel >= low) & (pixel <= high) else zero)
    return total
