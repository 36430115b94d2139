"""Few-shot tasks from images: N classes, k images of each in D_tr and some others in D_val.

The classes of a task are labelled anew, 0 … N − 1. Sources that split their classes (Omniglot,
miniImageNet) give meta-training and meta-testing different classes. In the others all classes serve
both, and the images come from the training set for meta-training and from the test set for
meta-testing. D_tr and D_val of one task come from the same split and share no image.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from lft_backends.backend import Backend
from lft_backends.draws import Stage, stream
from lft_ref import Data, Network, network_from_draws
from lft_validation.datasets import Dataset, Split, read_once
from lft_validation.errors import UserError

# A source's place is part of the key of its tasks' draws; a new source goes to the end.
KEYS = ("digits", "mnist", "fashion-mnist", "cifar10", "svhn", "omniglot", "miniimagenet")
TURNS = 4  # by 0, 90, 180 and 270 degrees


class Episodes(NamedTuple):
    """Which few-shot tasks are drawn, and from what."""

    source: str
    ways: int = 5  # N, classes of a task
    shots: int = 5  # k, images of each class in D_tr
    query: int = 15  # images of each class in D_val
    split: Split = "train"  # "train" for meta-training, "test" for meta-testing
    rotations: bool = (
        False  # whether images turned by 90, 180, 270 degrees are classes of their own
    )
    box: tuple[float, float] = (-0.5, 0.5)  # what the darkest and the brightest pixel become


class Pool(NamedTuple):
    """The images that tasks are drawn from, and where those of each class are."""

    dataset: Dataset
    by_class: list[np.ndarray]

    @property
    def name(self) -> str:
        """Say which images these are."""
        return f"{self.dataset.name} ({self.dataset.split})"


@cache
def pool(source: str, split: Split) -> Pool:
    """Return a split of a source; it is read once in each process.

    Raises:
        UserError: if there is no such source, its files are not found, or one is damaged.
    """
    return make_pool(read_once(source, split))


def make_pool(dataset: Dataset) -> Pool:
    """Return the images of a data set by class."""
    labels = dataset.images.labels
    return Pool(dataset, [np.flatnonzero(labels == c) for c in np.unique(labels)])


def draw(
    episodes: Episodes, backend: Backend, seed: int, stage: Stage, tasks: Sequence[int]
) -> tuple[Data, Data]:
    """Return (D_tr, D_val) of the given tasks, stacked on a leading axis.

    A task depends on its number, the seed, the stage and the source alone, and its D_tr and D_val
    on nothing but the episodes' settings besides.

    Returns:
        Images (tasks, ways · shots, C, H, W) of the backend's dtype with classes (tasks, ways ·
        shots) int64, class after class; and the same with ``query`` in place of ``shots``.

    Raises:
        UserError: if the source has fewer classes or images than a task needs, or is not there.

    Example:
        >>> from lft_backends.backend import get_backend
        >>> some = Episodes("digits", ways=3, shots=2, query=4)
        >>> train, val = draw(some, get_backend(), 0, Stage.FEWSHOT_META_TASK, range(6))
        >>> train.x.shape, train.y[0].tolist(), val.x.shape
        ((6, 6, 1, 8, 8), [0, 0, 1, 1, 2, 2], (6, 12, 1, 8, 8))
    """
    images, key = pool(episodes.source, episodes.split), KEYS.index(episodes.source)
    check_episodes(episodes, images)
    drawn = [draw_one(episodes, images, stream(seed, stage, task, key)) for task in tasks]
    x, x_val = (backend.asarray(np.stack(a)) for a in zip(*drawn, strict=True))
    y, y_val = (
        backend.asarray(np.tile(np.repeat(np.arange(episodes.ways), each), (len(drawn), 1)))
        for each in (episodes.shots, episodes.query)
    )
    return Data(x, y), Data(x_val, y_val)


def draw_one(
    episodes: Episodes, images: Pool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the images of one task, class after class: D_tr's and D_val's, float32.

    With more shots D_tr grows and D_val stays, so that tasks of the same number can be paired.
    """
    turns = TURNS if episodes.rotations else 1
    train, val = list[np.ndarray](), list[np.ndarray]()
    for which in rng.choice(turns * len(images.by_class), episodes.ways, replace=False):
        class_, turn = divmod(int(which), turns)
        of_class = images.by_class[class_]
        numbers = rng.permutation(of_class)[: episodes.query + episodes.shots]
        pixels = np.rot90(images.dataset.images.pixels[numbers], turn, axes=(-2, -1))
        val.append(pixels[: episodes.query])
        train.append(pixels[episodes.query :])
    (low, high), largest = episodes.box, images.dataset.largest
    scale = np.float32((high - low) / largest)
    x, x_val = (np.concatenate(a) * scale + np.float32(low) for a in (train, val))
    return x, x_val


def initial_weights(
    network: Network,
    source: str,
    backend: Backend,
    seed: int,
    stage: Stage,
    tasks: Sequence[int],
) -> Any:
    """Return a random initial θ^(0) for each task (tasks, d), uniform on ±1/√fan_in."""
    key = KEYS.index(source)
    draws = [stream(seed, stage, task, key).uniform(-1.0, 1.0, network.size) for task in tasks]
    return network_from_draws(network, backend.asarray(np.stack(draws)))


def check_episodes(episodes: Episodes, images: Pool) -> None:
    """Raise ``UserError`` unless every task can be drawn from these images."""
    for name, least in (("ways", 2), ("shots", 1), ("query", 1)):
        if getattr(episodes, name) < least:
            raise UserError(f"{name} must be at least {least}, found {getattr(episodes, name)}")
    classes = len(images.by_class) * (TURNS if episodes.rotations else 1)
    if episodes.ways > classes:
        raise UserError(
            f"a task needs {episodes.ways} classes, but {images.name} has {classes}; use fewer ways"
        )
    fewest = min(map(len, images.by_class))
    wanted = episodes.shots + episodes.query
    if wanted > fewest:
        raise UserError(
            f"a task needs {episodes.shots} + {episodes.query} images of a class, but a class of "
            f"{images.name} has {fewest}; use fewer shots or a smaller query set"
        )
