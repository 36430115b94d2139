"""Training of victims with the project's own networks and Adam: float32, one thread, keyed draws.

The same recipe on the same data gives the same bits on the same machine.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lft_backends.backend import Backend, get_backend
from lft_backends.draws import Stage, stream
from lft_ref import CrossEntropy, Data, NetworkLoss, adam, mlp_from_draws
from lft_validation.datasets import Dataset
from lft_validation.errors import CheckFailed, UserError
from lft_validation.experiments.training import decaying
from lft_validation.victims import Victim, accuracy, network

START, ORDER, AUGMENT = 0, 1, 2  # steps of Stage.VICTIM


@dataclass(frozen=True)
class Recipe:
    """How a victim is trained: Adam on the mean cross-entropy, its rate falling along a cosine."""

    source: str
    network: str = "lenet5"
    activation: str = "relu"
    pooling: str = "max"
    epochs: int = 8
    batch: int = 128
    learning_rate: float = 0.002
    shift: int = 0  # each image is moved by up to so many pixels in each direction
    flip: bool = False  # and mirrored every other time
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            UserError: naming the first that cannot be.
        """
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, found {getattr(self, name)}")
        if not 0.0 < self.learning_rate < 1.0:
            raise UserError(f"learning_rate must lie between 0 and 1, found {self.learning_rate}")
        if self.seed < 0:
            raise UserError(f"seed must not be negative, found {self.seed}")


NETWORKS = ("lenet5", "small", "mlp")
RECIPES = {
    recipe.source: recipe
    for recipe in (
        Recipe("mnist", epochs=8),
        Recipe("cifar10", epochs=10, flip=True),
        Recipe("digits", "small", epochs=60, batch=64, learning_rate=0.005),
        Recipe("fashion-mnist", epochs=12),
        Recipe("svhn", epochs=8),
    )
}


def train(recipe: Recipe, data: Dataset, backend: Backend | None = None) -> Iterator[Any]:
    """Yield the weights after every minibatch, the last ones being the result.

    Args:
        recipe: how to train.
        data: the training images.
        backend: where to compute, in float32, and where the weights are; NumPy if None.

    Raises:
        CheckFailed: if training diverges.
    """
    from threadpoolctl import threadpool_limits

    shape = data.images.pixels.shape[1:]
    victim = network(recipe.network, shape, recipe.activation, recipe.pooling)
    loss = NetworkLoss(victim, CrossEntropy("mean"))
    draws = stream(recipe.seed, Stage.VICTIM, 0, START).uniform(-1.0, 1.0, victim.size)
    backend = backend or get_backend("numpy", "float32")
    weights = backend.asarray(mlp_from_draws(victim, draws))
    optimizer = decaying(adam(recipe.learning_rate), recipe.epochs * steps_per_epoch(recipe, data))
    state = optimizer.init(weights)
    for epoch in range(recipe.epochs):
        for batch in minibatches(recipe, data, epoch):
            with threadpool_limits(1):
                delta, state = optimizer.update(loss.grad(weights, backend.put(batch)), state)
            weights = weights - delta
            yield weights
        if not np.isfinite(backend.to_host(weights)).all():
            raise CheckFailed(
                f"training diverged in epoch {epoch + 1} of {recipe.epochs}; "
                "try a smaller --learning-rate"
            )


def steps_per_epoch(recipe: Recipe, data: Dataset) -> int:
    """Return how many minibatches an epoch has; the last may be smaller."""
    return -(-data.images.number // recipe.batch)


def minibatches(recipe: Recipe, data: Dataset, epoch: int) -> Iterator[Data]:
    """Yield the images of an epoch once, in a new order, moved and mirrored as the recipe says."""
    task = epoch + 1
    order = stream(recipe.seed, Stage.VICTIM, task, ORDER).permutation(data.images.number)
    rng = stream(recipe.seed, Stage.VICTIM, task, AUGMENT)
    for start in range(0, len(order), recipe.batch):
        chosen = order[start : start + recipe.batch]
        pixels = data.images.pixels[chosen]
        if recipe.shift or recipe.flip:
            pixels = moved(pixels, recipe, rng)
        x = pixels.astype(np.float32) / np.float32(data.largest) - np.float32(0.5)
        yield Data(x, data.images.labels[chosen])


def moved(pixels: np.ndarray, recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """Move each image by up to ``shift`` pixels, black coming in, and mirror it if ``flip``."""
    N, C, H, W = pixels.shape
    s = recipe.shift
    framed = np.pad(pixels, ((0, 0), (0, 0), (s, s), (s, s)))
    rows, columns = (rng.integers(2 * s + 1, size=(N, 1)) + np.arange(n) for n in (H, W))
    mirrored = rng.integers(2, size=(N, 1)).astype(bool) & recipe.flip
    columns = np.where(mirrored, columns[:, ::-1], columns)
    examples, channels = np.arange(N)[:, None, None, None], np.arange(C)[:, None, None]
    shifted: np.ndarray = framed[
        examples, channels, rows[:, None, :, None], columns[:, None, None, :]
    ]
    return shifted


def finish(recipe: Recipe, weights: np.ndarray, train_data: Dataset, test_data: Dataset) -> Victim:
    """Judge the weights on the test images, and record how they came about."""
    shape = tuple(train_data.images.pixels.shape[1:])
    victim = network(recipe.network, shape, recipe.activation, recipe.pooling)
    about = {
        "network": recipe.network,
        "shape": shape,
        "source": recipe.source,
        "activation": recipe.activation,
        "pooling": recipe.pooling,
        "recipe": json.dumps(dataclasses.asdict(recipe), sort_keys=True),
        "seed": recipe.seed,
        "accuracy": accuracy(victim, weights, test_data),
        "train_images": train_data.images.number,
        "test_images": test_data.images.number,
        "train_sha256": train_data.checksum,
        "test_sha256": test_data.checksum,
        "official": train_data.official and test_data.official,
    }
    return Victim(recipe.source, weights, about)
