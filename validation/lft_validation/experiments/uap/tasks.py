"""Attack tasks of section 4: few images of few classes of one source, and a victim to fool.

D_tr comes from the source's training set and D_val from its test set, both of the same classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lft_backends.backend import Backend
from lft_backends.draws import Stage, directions, stream
from lft_ref import AttackLoss, Data
from lft_validation.datasets import SPLITS, Dataset, Split, read_once
from lft_validation.errors import UserError
from lft_validation.experiments.uap.config import KEYS, Config
from lft_validation.victims import (
    OTHER,
    Attacked,
    OtherVictim,
    Victim,
    checksum,
    load_victim,
    logits,
    read_victim,
    victim_with,
)

LEAST_ACCURACY = 0.2  # of a victim of one's own; guessing has 0.1


class Pool(NamedTuple):
    """The images of one split, and where those of each class are."""

    dataset: Dataset
    by_class: list[np.ndarray]

    def scaled(self, numbers: np.ndarray) -> np.ndarray:
        """Return some images in the box, (N, C, H, W) float32."""
        images = self.dataset.images
        some = images._replace(pixels=images.pixels[numbers], labels=images.labels[numbers])
        return self.dataset._replace(images=some).scaled()


class AttackProblem(NamedTuple):
    """One source with its victim: where tasks come from, and the loss (12) on them."""

    name: str
    backend: Backend
    config: Config
    victim: Victim
    loss: AttackLoss

    @property
    def d(self) -> int:
        """Number of pixels of a perturbation."""
        return prod(self.victim.about["shape"])

    def data(self, seed: int, stage: Stage, tasks: Sequence[int]) -> tuple[Data, Data]:
        """Return (D_tr, D_val): images (tasks, N, C, H, W) and classes (tasks, N)."""
        drawn = [self._draw(seed, stage, task) for task in tasks]
        x, y, x_val, y_val = (self.backend.asarray(np.stack(a)) for a in zip(*drawn, strict=True))
        return Data(x, y), Data(x_val, y_val)

    def theta_0(self, seed: int, stage: Stage, tasks: Sequence[int]) -> Any:
        """Return a small random perturbation for each task, (tasks, d)."""
        rows = [stream(seed, stage, self._key(task)).standard_normal(self.d) for task in tasks]
        return self.backend.asarray(self.config.initial_scale * np.stack(rows))

    def directions(
        self, seed: int, stage: Stage, tasks: Sequence[int], steps: Sequence[int]
    ) -> Any:
        """Return the directions of (6) for the given steps, (steps, q, tasks, d)."""
        q = self.config.directions
        host = np.empty((len(steps), q, len(tasks), self.d), self.backend.dtype)
        for i, step in enumerate(steps):
            for j, task in enumerate(tasks):
                host[i, :, j] = directions(seed, stage, self._key(task), step, q, self.d)
        return self.backend.asarray(host)

    def _key(self, task: int) -> int:
        return 16 * task + KEYS.index(self.name)

    def _draw(self, seed: int, stage: Stage, task: int) -> tuple[np.ndarray, ...]:
        """Draw one task: its classes, then images of each from both splits."""
        rng, config = stream(seed, stage, self._key(task)), self.config
        classes = rng.choice(10, config.classes, replace=False)
        drawn: list[np.ndarray] = []
        for split, shots in zip(SPLITS, (config.shots, config.val_shots), strict=True):
            victim = self.victim if config.images == "correct" else None
            images = [of_class(pool(self.name, split), victim, rng, int(c), shots) for c in classes]
            drawn += [np.concatenate(images), np.repeat(classes, shots)]
        return tuple(drawn)


def of_class(
    source: Pool,
    victim: Attacked | None,
    rng: np.random.Generator,
    wanted: int,
    shots: int,
    remedy: str = "use fewer shots, or --set images=all",
) -> np.ndarray:
    """Return the first images of a class in random order, those that the victim gets right.

    Args:
        source: where they come from.
        victim: the classifier; None to take images whatever it says.
        rng: draws the order.
        wanted: the class.
        shots: how many.
        remedy: what to do if there are not so many.

    Raises:
        UserError: if there are not so many.
    """
    order = rng.permutation(source.by_class[wanted])
    found: list[np.ndarray] = []
    block = 4 * shots
    for start in range(0, len(order), block):
        x = source.scaled(order[start : start + block])
        if victim is not None:
            z = logits(victim.network, victim.weights, x)
            x = x[np.argmax(z, axis=-1) == wanted]
        found += list(x)
        if len(found) >= shots:
            return np.stack(found[:shots])
    raise UserError(
        f"{source.dataset.name} has {len(found)} usable {source.dataset.split} images of class "
        f"{wanted}, and {shots} are needed; {remedy}"
    )


def make_pool(dataset: Dataset) -> Pool:
    """Find the images of each class."""
    labels = dataset.images.labels
    return Pool(dataset, [np.flatnonzero(labels == c) for c in range(10)])


@cache
def pool(name: str, split: Split) -> Pool:
    """Return a split of a source; it is read once in each process."""
    return make_pool(read_once(name, split))


def victim_of(config: Config, name: str) -> Victim:
    """Return the victim of that name, of the user's own training if there is one.

    Raises:
        UserError: if its file cannot be used, it was trained on another source, or guesses.
    """
    file, wanted = config.victim_files.get(name), config.victim_sum(name)
    return _shipped(name) if file is None else _own(name, file, wanted)


def pinned(config: Config) -> Config:
    """Return the settings with the hashes of the victims of one's own: a job reads no others.

    Raises:
        UserError: as :func:`victim_of`.
    """
    names = config.victim_files
    unpinned = replace(config, victim_sums=())
    return replace(config, victim_sums=tuple(checksum(victim_of(unpinned, n)) for n in names))


@cache
def _shipped(name: str) -> Victim:
    """Read a victim of the package; once in each process."""
    return load_victim(name)


def _own(name: str, file: str, wanted: str | None) -> Victim:
    """Read a victim of the user's own, of this checksum if it is known."""
    try:
        victim = read_victim(Path(file)) if wanted is None else victim_with(Path(file), wanted)
    except OtherVictim:
        raise UserError(
            f"--victim {name}={file} was changed after the run started; put that file back and go "
            "on with --resume, or start a new run"
        ) from None
    except UserError as error:
        raise UserError(f"--victim {name}={file} cannot be read: {error.message}") from None
    source = name.removesuffix(OTHER)
    if victim.about["source"] != source:
        raise UserError(
            f"--victim {name}={file} was trained on {victim.about['source']}; train one with: "
            f"lft victims train {source}"
        )
    if victim.about["accuracy"] < LEAST_ACCURACY:
        raise UserError(
            f"--victim {name}={file} is right on {victim.about['accuracy']:.0%} of the test "
            "images, little better than guessing, so there is nothing to fool; train it longer"
        )
    return victim


def make_problem(config: Config, backend: Backend, name: str) -> AttackProblem:
    """Return the tasks of one source."""
    victim = victim_of(config, name)
    weights = backend.asarray(victim.weights)
    loss = AttackLoss(victim.network, weights, config.kappa, config.l1, clip=config.clip_images)
    return AttackProblem(name, backend, config, victim, backend.fuse_attack(loss))
