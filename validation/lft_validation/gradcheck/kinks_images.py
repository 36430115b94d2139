"""Where a network or the attack loss (12) comes close to a kink: ReLU, max, clipping, |·|, κ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from lft_ref import Activation, AttackLoss, Data, Pool2d
from lft_validation.cases import RELU_MARGIN

Array = Any


class Near(NamedTuple):
    """A kink near by: which one, the place in the network or image, and how far it is."""

    what: str
    where: str
    distance: float


def of_network(network: Any, weights: Array, x: Array) -> Iterator[Near]:
    """Yield ReLUs whose input is next to 0, and windows whose two largest entries are."""
    activation = pooling = 0
    xs = network.activations(weights, x)
    for layer, inputs in zip(network.layers, xs[:-1], strict=True):
        if isinstance(layer, Activation):
            activation += 1
            if layer.kind == "relu":
                name = f"of layer {activation}, example"
                yield from _close(np.abs(inputs), "ReLU", "unit", name)
        if isinstance(layer, Pool2d):
            pooling += 1
            if layer.kind == "max":
                lead = _lead(layer, inputs)
                yield from _close(lead, "max pooling", "window", f"of pooling {pooling}, example")


def of_attack(f: AttackLoss, theta: Array, data: Data) -> Iterator[Near]:
    """Yield the kinks of (12): of the victim, the margin at −κ, the best other class, clip, |θ|."""
    images = f.perturbed(theta, data.x)
    yield from of_network(f.network, f.weights, images)
    z = f.logits(theta, data)
    true = np.take_along_axis(z, data.y[:, None], axis=-1)[:, 0]
    others = np.where(np.eye(z.shape[-1], dtype=bool)[data.y], -np.inf, z)
    ranked = np.sort(others, axis=-1)
    for example, margin in enumerate(true - ranked[:, -1]):
        if abs(margin + f.kappa) < RELU_MARGIN:
            yield Near("max(margin, -kappa)", f"example {example}", abs(float(margin + f.kappa)))
        lead = float(ranked[example, -1] - ranked[example, -2])
        if margin > -f.kappa and lead < RELU_MARGIN:
            yield Near("the best other class", f"example {example}", lead)
    if f.clip:
        moved = data.x + theta.reshape(data.x.shape[1:])
        for end in f.box:
            yield from _close(np.abs(moved - end), "clipping", "pixel", "of example")
    if f.l1 > 0.0:
        image = np.abs(theta).reshape(1, *data.x.shape[1:])
        for near in _close(image, "|theta|", "pixel", ""):
            yield near._replace(where=near.where.rsplit("  ", 1)[0])


def _lead(layer: Pool2d, x: Array) -> Array:
    """How far the largest entry of each window is ahead of the second, (N, C, H/k, W/k)."""
    k = layer.window
    N, C, H, W = x.shape
    cut = x[:, :, : H - H % k, : W - W % k]
    windows = (
        cut.reshape(N, C, H // k, k, W // k, k).swapaxes(3, 4).reshape(N, C, H // k, W // k, -1)
    )
    ranked = np.sort(windows, axis=-1)
    return ranked[..., -1] - ranked[..., -2]


def _close(distance: Array, what: str, unit: str, of: str) -> Iterator[Near]:
    """Yield every entry of ``distance`` (N, …) below the margin."""
    for example, *place in np.argwhere(distance < RELU_MARGIN).tolist():
        name = place[0] if len(place) == 1 else place
        found = float(distance[(example, *place)])
        yield Near(what, f"{unit} {name} {of} {example}", found)
