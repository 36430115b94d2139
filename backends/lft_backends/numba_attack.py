"""The fused CPU twin of the attack loss (12) on a victim that has one itself.

A gradient is one call of a kernel: the images are perturbed and cut off, go through the victim and
back, and their cotangents are added up. Results are those of :class:`lft_ref.AttackLoss`, to within
rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from lft_backends import numba_network
from lft_backends.kernels import attack_cpu
from lft_backends.numba_backend import rows
from lft_backends.numba_network import FusedNetwork, plan_of
from lft_ref import AttackLoss, Data


def fuse(loss: AttackLoss) -> AttackLoss:
    """Return the loss's twin if its victim has one, and otherwise the loss itself.

    Example:
        >>> from lft_ref import lenet5
        >>> network = lenet5()
        >>> type(fuse(AttackLoss(network, np.zeros(network.size)))).__name__
        'FusedAttack'
    """
    network: Any = loss.network
    twin = numba_network.fuse(network)
    if not isinstance(twin, FusedNetwork) or network.layers[-1].n_out < 2:  # no other class
        return loss
    return FusedAttack(*loss._replace(network=twin))


class FusedAttack(AttackLoss):
    """(12) on a :class:`~lft_backends.numba_network.FusedNetwork`: one kernel a value or gradient.

    What needs single passes of the victim, such as its logits, is inherited.
    """

    __slots__ = ()

    def value(self, theta: np.ndarray, data: Data) -> np.ndarray:
        """Return f (...,)."""
        return self._call(attack_cpu.value, theta, data)

    def grad(self, theta: np.ndarray, data: Data) -> np.ndarray:
        """Return ∇_θ f (..., d)."""
        return self._call(attack_cpu.gradient, theta, data)

    def hvp(self, theta: np.ndarray, data: Data, v: np.ndarray) -> np.ndarray:
        """Return ∇²_θ f v: zeros, since such a victim is piecewise linear."""
        batch = np.broadcast_shapes(theta.shape[:-1], v.shape[:-1], data.x.shape[:-4])
        return np.zeros((*batch, theta.shape[-1]), theta.dtype)

    def _call(self, kernel: Callable[..., Any], theta: np.ndarray, data: Data) -> np.ndarray:
        """Run a kernel on all tasks, their batch axes collapsed into one."""
        network: Any = self.network
        x, y, dtype = data.x, data.y, theta.dtype
        if y.shape[-1:] != x.shape[-4:-3] or theta.shape[-1] != prod(x.shape[-3:]):
            raise ValueError(
                f"images {x.shape}, classes {y.shape} and theta {theta.shape} do not fit together"
            )
        batch = np.broadcast_shapes(theta.shape[:-1], x.shape[:-4], y.shape[:-1])
        thetas = rows(_spread(theta, batch, 1), 1)
        images = rows(_spread(x, batch, 4), 3)
        plan = plan_of(network.network, len(images), *x.shape[-3:])
        kept = np.empty(plan.winners, np.uint8), np.empty(plan.features, dtype)
        low, high = self.box if self.clip else (-np.inf, np.inf)
        found: np.ndarray = kernel(
            thetas, images, rows(_spread(y, batch, 1), 0).astype(np.int64, copy=False),
            *map(dtype.type, (self.kappa, self.l1, low, high)), rows(self.weights, 1)[0],
            *plan[:4], *kept,
        )  # fmt: skip
        return found.reshape((*batch, *found.shape[1:]))


def _spread(a: np.ndarray, batch: tuple[int, ...], rank: int) -> np.ndarray:
    """Repeat an array over batch axes that it lacks; its last ``rank`` axes are its own."""
    kept = a.shape[a.ndim - rank :]
    return a if a.shape == (*batch, *kept) else np.broadcast_to(a, (*batch, *kept))
