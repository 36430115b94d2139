"""Training of victims with the project's own networks and Adam: float32, one thread, keyed draws.

The same recipe on the same data gives the same bits on the same machine.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import numpy as np

from lft_backends.backend import Backend, get_backend
from lft_backends.draws import Stage, stream
from lft_ref import CrossEntropy, Data, Network, NetworkLoss, Optimizer, adam, network_from_draws
from lft_validation.datasets import Dataset
from lft_validation.errors import CheckFailed, UserError
from lft_validation.experiments.training import (
    CHECKPOINT_SECONDS,
    LearnerState,
    Progress,
    decaying,
    read_checkpoint,
    save_checkpoint,
)
from lft_validation.files import fingerprint
from lft_validation.runs import installed
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
        if self.seed >= 2**64:  # no array holds it, so no file of the victim
            raise UserError(f"seed must be less than 2^64, found {self.seed}; use a smaller one")


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


def train(
    recipe: Recipe, data: Dataset, backend: Backend | None = None, checkpoint: Path | None = None
) -> Generator[Any, None, None]:
    """Yield the weights after every minibatch, the last ones being the result.

    Args:
        recipe: how to train.
        data: the training images.
        backend: where to compute, in float32, and where the weights are; NumPy if None.
        checkpoint: a file that is gone on from if it is there (its weights stand in the place of
            those that led there); written every few seconds, and when the loop is left or ends.

    Raises:
        CheckFailed: if training diverges.
        UserError: if the checkpoint is damaged, or of another training.
    """
    backend = backend or get_backend("numpy", "float32")
    shape = data.images.pixels.shape[1:]
    victim = network(recipe.network, shape, recipe.activation, recipe.pooling)
    loss = NetworkLoss(victim, CrossEntropy("mean"))
    steps = recipe.epochs * steps_per_epoch(recipe, data)
    optimizer = decaying(adam(recipe.learning_rate), steps)
    state, key = _start(recipe, victim, optimizer, backend), _key(recipe, data, backend)
    if checkpoint is not None and checkpoint.exists():
        state = _resumed(checkpoint, key, backend, state, steps)
    yield from repeat(state.flat, state.adam.updates)
    saved = time.monotonic()
    try:
        for batch in _remaining(recipe, data, state.adam.updates):
            new = _step(loss, optimizer, state, backend.put(batch))
            _check_finite(recipe, data, new, backend)
            state = new
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                _keep(checkpoint, key, state, backend)
                saved = time.monotonic()
            yield state.flat
        _keep(checkpoint, key, state, backend)  # what is done with the weights may fail
    except (KeyboardInterrupt, GeneratorExit):
        _keep(checkpoint, key, state, backend)
        raise


def _start(recipe: Recipe, victim: Network, optimizer: Optimizer, backend: Backend) -> LearnerState:
    draws = stream(recipe.seed, Stage.VICTIM, 0, START).uniform(-1.0, 1.0, victim.size)
    weights = backend.asarray(network_from_draws(victim, draws))
    return LearnerState(weights, optimizer.init(weights))


def _resumed(
    checkpoint: Path, key: str, backend: Backend, like: LearnerState, steps: int
) -> LearnerState:
    """Return the state of a checkpoint, which lies within the training."""
    state = read_checkpoint(checkpoint, key, backend, like, 0).state
    if state.adam.updates > steps:
        raise UserError(
            f"{checkpoint}: updates must be at most {steps}, the minibatches of all epochs, found "
            f"{state.adam.updates}; delete it to start anew"
        )
    return state


def _keep(checkpoint: Path | None, key: str, state: LearnerState, backend: Backend) -> None:
    if checkpoint is not None:
        save_checkpoint(checkpoint, key, Progress(state, []), backend)


def _key(recipe: Recipe, data: Dataset, backend: Backend) -> str:
    """Fingerprint of all that the weights depend on."""
    return fingerprint([dataclasses.asdict(recipe), data.checksum, backend.name, installed()])


def _remaining(recipe: Recipe, data: Dataset, done: int) -> Iterator[Data]:
    """The minibatches of all epochs but the first ``done``."""
    epochs, skipped = divmod(done, steps_per_epoch(recipe, data))
    for epoch in range(epochs, recipe.epochs):
        yield from islice(minibatches(recipe, data, epoch), skipped, None)
        skipped = 0


def _step(
    loss: NetworkLoss, optimizer: Optimizer, state: LearnerState, batch: Data
) -> LearnerState:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        delta, adam_state = optimizer.update(loss.grad(state.flat, batch), state.adam)
    return LearnerState(state.flat - delta, adam_state)


def _check_finite(recipe: Recipe, data: Dataset, state: LearnerState, backend: Backend) -> None:
    """Look at the weights after a minibatch, so that no others are kept."""
    if not np.isfinite(backend.to_host(state.flat)).all():
        each = steps_per_epoch(recipe, data)
        epoch, minibatch = divmod(state.adam.updates - 1, each)
        raise CheckFailed(
            f"training diverged in epoch {epoch + 1} of {recipe.epochs}, at minibatch "
            f"{minibatch + 1} of {each}; try a smaller --learning-rate"
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
