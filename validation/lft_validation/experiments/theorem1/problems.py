"""The tasks that Theorem 1 is measured on: each a population of equally likely examples.

A data set D is drawn from its task's population with replacement. So examples are independent, as
A1 and A2 assume, and the expectation over D of a mean loss or its gradient is the mean over the
population: exact, where a continuous distribution would leave a second Monte-Carlo error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lft_backends.draws import Stage, stream
from lft_ref import (
    CrossEntropy,
    Data,
    Network,
    NetworkLoss,
    Objective,
    SquaredError,
    mlp,
    network_from_draws,
)
from lft_validation.datasets_sources import bundled_digits
from lft_validation.errors import UserError
from lft_validation.experiments.sine import AMPLITUDE, INPUT, PHASE
from lft_validation.experiments.theorem1.config import Config

DIGITS = 10


class Tasks(NamedTuple):
    """N tasks of one shape: populations of M examples, and where fine-tuning starts."""

    objective: Objective  # f, a mean over examples
    population: Data  # x (N, M, ...), y (N, M, ...), on the host
    theta_0: np.ndarray  # (N, d)


def make_tasks(
    config: Config, family: str, seed: int, stages: tuple[Stage, Stage], numbers: Sequence[int]
) -> Tasks:
    """Return the tasks with the given numbers; ``stages`` key their populations and θ^(0).

    Raises:
        UserError: if the family needs scikit-learn and it is not installed.
    """
    rngs = [stream(seed, stages[0], number) for number in numbers]
    if family == "sine":
        network = mlp((1, *config.hidden, 1))
        objective = NetworkLoss(network, SquaredError("mean"))
        examples = [_sine(config.population, rng) for rng in rngs]
    else:
        network = mlp(((8 // config.pool) ** 2, 2))
        objective = NetworkLoss(network, CrossEntropy("mean"))
        images, labels = digit_images(config.pool)
        examples = [_two_digits(images, labels, config.population, rng) for rng in rngs]
    x, y = (np.stack(part) for part in zip(*examples, strict=True))
    return Tasks(objective, Data(x, y), _starts(network, seed, stages[1], numbers))


def _starts(network: Network, seed: int, stage: Stage, numbers: Sequence[int]) -> np.ndarray:
    draws = [stream(seed, stage, number).uniform(-1, 1, network.size) for number in numbers]
    return np.asarray(network_from_draws(network, np.stack(draws)))


def _sine(population: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sine wave z = A sin(r + ξ), eq. (S28), at the midpoints of equal parts of [−5, 5]."""
    amplitude, phase = rng.uniform(*AMPLITUDE), rng.uniform(*PHASE)
    r = INPUT[0] + (INPUT[1] - INPUT[0]) * (np.arange(population) + 0.5) / population
    return r[:, None], amplitude * np.sin(r + phase)[:, None]


def _two_digits(
    images: np.ndarray, labels: np.ndarray, population: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Two digits to tell apart; as many images of each, drawn from all that there are."""
    chosen = rng.choice(DIGITS, size=2, replace=False)
    counts = (population - population // 2, population // 2)
    rows = [
        rng.choice(np.flatnonzero(labels == digit), size=count, replace=True)
        for digit, count in zip(chosen, counts, strict=True)
    ]
    return images[np.concatenate(rows)], np.repeat(np.arange(2), counts)


def digit_images(pool: int) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's bundled 8 × 8 digits, averaged over squares, in [−1, 1]: (1797, p), labels.

    Raises:
        UserError: if scikit-learn is not installed.
    """
    try:
        pixels, labels = bundled_digits()[:2]
    except UserError as error:
        remedy = (
            ", or leave them out: --family sine of lft theorem1, or --set 'families=[\"sine\"]'"
        )
        raise UserError(error.message + remedy) from None
    side = 8 // pool
    pooled = pixels.reshape(-1, side, pool, side, pool).mean(axis=(2, 4)).reshape(-1, side**2)
    return pooled / 8.0 - 1.0, labels


BESIDE = 2**20  # more examples than any data set has


def draw(
    tasks: Tasks,
    seed: int,
    stage: Stage,
    numbers: Sequence[int],
    size: int,
    draws: int,
    beside: int = 0,
) -> Data:
    """Draw so many data sets of that size for each task: x (draws, N, size, ...), on the host.

    Draws that stand ``beside`` different numbers (|D_tr|, for D_val) are independent.
    """
    M, key = tasks.population.x.shape[1], size + BESIDE * beside
    rows = np.stack(
        [stream(seed, stage, number, key).integers(M, size=(draws, size)) for number in numbers],
        axis=1,
    )  # (draws, N, size)
    task = np.arange(len(numbers))[:, None]
    return Data(tasks.population.x[task, rows], tasks.population.y[task, rows])
