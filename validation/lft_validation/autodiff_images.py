"""Convolution, pooling and the attack loss (12) stated again in autograd, by their definitions.

Part of :mod:`lft_validation.autodiff_restatement`: one output pixel, one image at a time, and no
formula of ``lft_ref``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.scipy.special import logsumexp

from lft_ref.attack import AttackLoss
from lft_ref.convolution import Conv2d
from lft_ref.objectives import Data
from lft_ref.pooling import Flatten, Pool2d

Array = Any  # a NumPy array, or autograd's box around one


def image_layer(layer: Conv2d | Pool2d | Flatten, p: Array, x: Array) -> Array:
    """Return the layer's output for images x (N, C, H, W)."""
    if isinstance(layer, Flatten):
        return anp.reshape(x, (x.shape[0], -1))
    if isinstance(layer, Pool2d):
        k = layer.window
        windows = x[:, :, *_pixels(x.shape[2] // k, x.shape[3] // k, k, k)]
        return (anp.max if layer.kind == "max" else anp.mean)(windows, axis=(-2, -1))
    C, F, k, s, m = layer
    W, b = anp.reshape(p[: F * C * k * k], (F, C, k, k)), p[F * C * k * k :]
    x = anp.pad(x, ((0, 0), (0, 0), (m, m), (m, m)), mode="constant")
    seen = x[:, :, *_pixels((x.shape[2] - k) // s + 1, (x.shape[3] - k) // s + 1, s, k)]
    return anp.einsum("ncijae,ocae->noij", seen, W) + b[:, None, None]


def _pixels(height: int, width: int, s: int, k: int) -> tuple[Array, Array]:
    """Row s i + a and column s j + e of what output pixel (i, j) sees at (a, e)."""
    i, j, a, e = np.ogrid[:height, :width, :k, :k]
    rows, columns = np.broadcast_arrays(s * i + a, s * j + e)
    return rows, columns


def attack_loss(
    f: AttackLoss, theta: Array, data: Data, output: Callable[[Any, Array, Array], Array]
) -> Array:
    """Return (12): the C&W loss on log-probabilities, summed over images, plus λ ‖θ‖₁."""
    low, high = f.box
    images = data.x + anp.reshape(theta, data.x.shape[1:])
    if f.clip:
        images = anp.where(images < low, low, anp.where(images > high, high, images))
    z = output(f.network, f.weights, images)
    log_p = z - logsumexp(z, axis=1, keepdims=True)
    # Not anp.abs: its second derivative is 1/|θ| − 1/|θ| in autograd, which leaves rounding.
    total = f.l1 * anp.sum(theta * anp.sign(theta))
    for row, y in zip(log_p, data.y, strict=True):
        others = np.asarray([c for c in range(len(row)) if c != y])
        total = total + anp.maximum(row[int(y)] - anp.max(row[others]), -f.kappa)
    return total
