"""A network of a user's own for ``lft finetune``: what is wrong with its layers is said at once."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from lft_ref import CrossEntropy, Data, Network, NetworkLoss, network_from_draws
from lft_validation.errors import UserError
from lft_validation.finetuning import Images

ANY = (Exception, SystemExit)  # that a layer of the user's own may raise


def check_network(network: Any, images: Images) -> Network:
    """Return a user's network, its layers a tuple, or say what is wrong with it.

    It must take the images, give an output for each class, have a gradient, and work on several
    tasks at once as on each alone.

    Raises:
        UserError: naming what is wrong.
    """
    if not isinstance(network, Network):
        kind = type(network).__name__
        raise UserError(f"--network must name an lft_ref.Network, found an object of type {kind}")
    chain = _with_sound_layers(network)
    x = np.zeros((1, *images.shape))
    try:
        shape = np.shape(chain.activations(np.zeros(chain.size), x)[-1])
    except ANY as error:
        raise UserError(
            f"--network does not take images of shape {images.shape} ({_reason(error)}); does it "
            "begin with Flatten() or a convolution of as many channels?"
        ) from error
    if shape != (1, len(images.names)):
        raise UserError(
            f"--network must have one output for each of {len(images.names)} classes, found "
            f"outputs of shape {shape[1:]}"
        )
    _check_gradient(chain, x)
    _check_tasks(chain, images.shape)
    return chain


def _with_sound_layers(network: Network) -> Network:
    """Check what is asked of layers before they compute anything."""
    try:
        network = Network(tuple(network.layers))
    except TypeError as error:
        raise UserError(
            f"--network: its layers must be a tuple, found {type(network.layers).__name__}"
        ) from error
    for layer in network.layers:
        name = type(layer).__name__
        size, fan_in = (_whole(layer, number) for number in ("size", "fan_in"))
        if size is None or fan_in is None:
            missing = "size" if size is None else "fan_in"
            raise UserError(
                f"--network: {name} has no {missing} that is a whole number of at least 0; "
                "write its layers like those of lft_ref (lft_ref.layers.Layer)"
            )
        if size and not fan_in:
            raise UserError(
                f"--network: {name} has {size} parameters and fan_in 0, so nobody knows how large "
                "they are at the start; set its fan_in"
            )
        try:
            hash(layer)
        except ANY as error:
            raise UserError(
                f"--network: {name} cannot be hashed; make it a NamedTuple, or a dataclass with "
                "frozen=True"
            ) from error
    return network


def _whole(layer: Any, name: str) -> int | None:
    """A layer's whole number of that name that is not negative; None if it has none."""
    try:
        number = operator.index(getattr(layer, name))
    except ANY:
        return None
    return number if number >= 0 else None


def _check_gradient(network: Network, x: np.ndarray) -> None:
    loss, theta = NetworkLoss(network, CrossEntropy("mean")), np.zeros(network.size)
    try:
        found = np.shape(loss.grad(theta, Data(x, np.zeros(len(x), np.int64))))
    except ANY as error:
        raise UserError(f"--network has no gradient of its loss ({_reason(error)})") from error
    if found != theta.shape:
        raise UserError(f"--network: the gradient of its loss has shape {found}, expected "
                        f"{theta.shape}")  # fmt: skip


def _check_tasks(network: Network, shape: tuple[int, int, int]) -> None:
    """Draws are fine-tuned at once: compare two of them with each alone."""
    rng, loss = np.random.default_rng(0), NetworkLoss(network, CrossEntropy("mean"))
    data = Data(rng.uniform(-0.5, 0.5, (2, 3, *shape)), np.zeros((2, 3), np.int64))
    theta = np.asarray(network_from_draws(network, rng.uniform(-1.0, 1.0, (2, network.size))))
    shapes = f"θ (tasks, {network.size}) and images (tasks, N, {', '.join(map(str, shape))})"
    try:
        alone = [_passes(loss, theta[i], Data(*(a[i] for a in data))) for i in range(2)]
        both = _passes(loss, theta, data)
    except ANY as error:
        raise UserError(
            f"--network does not work on {shapes} ({_reason(error)}); its layers must take axes "
            "before those of one task"
        ) from error
    for name, found, each in zip(
        ("outputs", "gradients"), both, zip(*alone, strict=True), strict=True
    ):
        expected = np.stack(each)
        if found.shape != expected.shape or not _close(found, expected):
            raise UserError(
                f"--network: its {name} for two tasks at once are not those of each alone; its "
                f"layers must work on {shapes}, task by task"
            )


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.allclose(a, b, rtol=1e-6, atol=1e-9, equal_nan=True))


def _passes(loss: NetworkLoss, theta: np.ndarray, data: Data) -> tuple[np.ndarray, np.ndarray]:
    """The outputs, and the gradient of the loss."""
    with np.errstate(all="ignore"):
        z = loss.network.activations(theta, data.x)[-1]
        return np.asarray(z), np.asarray(loss.grad(theta, data))


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
