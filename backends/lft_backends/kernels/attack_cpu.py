"""Numba kernels for the attack loss (12): what lies before the victim and behind it."""

from __future__ import annotations

import numpy as np
from numba import njit

from lft_backends.kernels.elementary import FLAGS


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
def losses(z, y, theta, kappa, l1):
    """f(θ; D) of each task (tasks,), from the logits of all images (tasks N, classes)."""
    found, N = np.empty(theta.shape[0], theta.dtype), z.shape[0] // theta.shape[0]
    for task in range(found.size):
        attack = size = theta.dtype.type(0.0)
        for number in range(task * N, (task + 1) * N):
            lead, _ = margin(z[number], y[number])
            attack += lead if lead > -kappa else -kappa
        for i in range(theta.shape[1]):
            size += abs(theta[task, i])
        found[task] = attack + l1 * size
    return found


@njit(**FLAGS)
def logits_bar(z, y, kappa):
    """∂Σℓ/∂z: +1 for y and −1 for the best other class, where the margin exceeds −κ."""
    bar = np.zeros(z.shape, z.dtype)
    for number in range(z.shape[0]):
        lead, best = margin(z[number], y[number])
        if lead > -kappa:
            if 0 <= y[number] < z.shape[1]:
                bar[number, y[number]] = 1.0
            bar[number, best] = -1.0
    return bar


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
