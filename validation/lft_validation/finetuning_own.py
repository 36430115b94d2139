"""A network of a user's own for ``lft finetune``: what is wrong with its layers is said at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from lft_ref import CrossEntropy, Data, Network, NetworkLoss
from lft_validation.errors import UserError
from lft_validation.finetuning import Images


def check_network(network: Any, images: Images) -> Network:
    """Say what is wrong with a user's network: of what type it is, what it takes and gives.

    Raises:
        UserError: naming it.
    """
    if not isinstance(network, Network):
        kind = type(network).__name__
        raise UserError(f"--network must name an lft_ref.Network, found an object of type {kind}")
    x = np.zeros((1, *images.shape))
    try:
        z = network.activations(np.zeros(network.size), x)[-1]
    except Exception as error:  # whatever a layer of the user's own may raise
        raise UserError(
            f"--network does not take images of shape {images.shape} ({_reason(error)}); does it "
            "begin with Flatten() or a convolution of as many channels?"
        ) from error
    if z.shape != (1, len(images.names)):
        raise UserError(
            f"--network must have one output for each of {len(images.names)} classes, found "
            f"outputs of shape {z.shape[1:]}"
        )
    _check_gradient(network, x)
    return network


def _check_gradient(network: Network, x: np.ndarray) -> None:
    for layer in network.layers:
        if layer.size and not layer.fan_in:
            raise UserError(
                f"--network: {type(layer).__name__} has {layer.size} parameters and fan_in 0, so "
                "nobody knows how large they are at the start; set its fan_in"
            )
    loss, theta = NetworkLoss(network, CrossEntropy("mean")), np.zeros(network.size)
    try:
        found = np.shape(loss.grad(theta, Data(x, np.zeros(len(x), np.int64))))
    except Exception as error:  # whatever a layer of the user's own may raise
        raise UserError(f"--network has no gradient of its loss ({_reason(error)})") from error
    if found != theta.shape:
        raise UserError(f"--network: the gradient of its loss has shape {found}, expected "
                        f"{theta.shape}")  # fmt: skip


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
