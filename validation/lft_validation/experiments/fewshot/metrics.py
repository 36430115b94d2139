"""What is measured of a fine-tuned classifier: accuracy and loss on D_val, accuracy on D_tr."""

from __future__ import annotations

from typing import Any

import numpy as np

from lft_backends.backend import Backend
from lft_ref import Data, NetworkLoss

RAN_AWAY = 1e6  # what a loss counts as that is not finite
NAMES = ("accuracy", "loss", "train_accuracy")


def measure(backend: Backend, loss: NetworkLoss, theta: Any, sets: tuple[Data, Data]) -> np.ndarray:
    """Return the numbers of :data:`NAMES`, (3, tasks) float64.

    Args:
        backend: where θ is.
        loss: with the network.
        theta: parameters (tasks, d).
        sets: D_tr and D_val, images (tasks, N, C, H, W) and classes (tasks, N).
    """
    train, val = sets
    z_train, z = (loss.network.activations(theta, data.x)[-1] for data in sets)
    host = backend.to_host
    value = np.asarray(host(loss.loss.value(z, val.y)), np.float64)
    value = np.clip(np.nan_to_num(value, nan=RAN_AWAY, posinf=RAN_AWAY), 0.0, RAN_AWAY)
    rates = [right(host(z), host(val.y)), right(host(z_train), host(train.y))]
    return np.stack([rates[0], value, rates[1]])


def right(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the share of images whose largest logit is that of their class, (tasks,).

    An image with a logit that is not finite is not classified.

    Example:
        >>> z = np.asarray([[[1.0, 0.0], [0.0, 2.0], [np.nan, 0.0]]])
        >>> right(z, np.asarray([[0, 1, 0]])).round(3).tolist()
        [0.667]
    """
    found = (np.argmax(z, axis=-1) == y) & np.isfinite(z).all(axis=-1)
    return np.asarray(found.mean(axis=-1), np.float64)
