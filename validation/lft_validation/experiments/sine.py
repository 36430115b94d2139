"""The sine-wave tasks of supplement G: z = A sin(r + ξ), eqs. (S28) and (S29)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lft_backends.backend import Backend
from lft_backends.draws import Stage, directions, stream
from lft_ref import Data, Network, NetworkLoss, SquaredError, mlp, network_from_draws

AMPLITUDE = (0.1, 5.0)
PHASE = (0.0, np.pi)
INPUT = (-5.0, 5.0)


class SineProblem(NamedTuple):
    """Regressors with hidden layers of the given widths, fitted to few points of a sine wave."""

    backend: Backend
    hidden: tuple[int, ...]
    shots: int
    val_shots: int

    @property
    def network(self) -> Network:
        """The regressor."""
        return mlp((1, *self.hidden, 1))

    @property
    def d(self) -> int:
        """Number of the regressor's parameters."""
        return self.network.size

    @property
    def sum_loss(self) -> NetworkLoss:
        """F of (S29): the sum of squared errors."""
        return NetworkLoss(self.backend.fuse_optimizee(self.network), SquaredError("sum"))

    @property
    def mean_loss(self) -> NetworkLoss:
        """The mean squared error, which Figure 4 plots."""
        return NetworkLoss(self.backend.fuse_optimizee(self.network), SquaredError("mean"))

    def data(self, seed: int, stage: Stage, tasks: Sequence[int]) -> tuple[Data, Data]:
        """Return (D_tr, D_val) of the given tasks, stacked on a leading axis."""
        points = [_points(seed, stage, task, self.shots, self.val_shots) for task in tasks]
        r, z = (self.backend.asarray(np.stack(a)[..., None]) for a in zip(*points, strict=True))
        train, val = slice(None, self.shots), slice(self.shots, None)
        return Data(r[:, train, :], z[:, train, :]), Data(r[:, val, :], z[:, val, :])

    def theta_0(self, seed: int, stage: Stage, tasks: Sequence[int]) -> Any:
        """Return a random initial regressor for each task (tasks, d)."""
        draws = np.stack([stream(seed, stage, task).uniform(-1, 1, self.d) for task in tasks])
        return network_from_draws(self.network, self.backend.asarray(draws))

    def directions(
        self, seed: int, stage: Stage, tasks: Sequence[int], steps: Sequence[int], q: int
    ) -> Any:
        """Return the directions of (6) for the given steps (steps, q, tasks, d)."""
        host = np.empty((len(steps), q, len(tasks), self.d))
        for i, step in enumerate(steps):
            for j, task in enumerate(tasks):
                host[i, :, j] = directions(seed, stage, task, step, q, self.d)
        return self.backend.asarray(host)


def _points(
    seed: int, stage: Stage, task: int, shots: int, val_shots: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw amplitude and phase of one task, and its points (r, z); D_tr comes first."""
    rng = stream(seed, stage, task)
    amplitude, phase = rng.uniform(*AMPLITUDE), rng.uniform(*PHASE)
    r = rng.uniform(*INPUT, size=shots + val_shots)
    return r, amplitude * np.sin(r + phase)
