"""The fused CPU twin of the attack loss (12) on a victim that has one itself.

A gradient is five calls of kernels: images are perturbed and cut off, go through the victim, turn
into cotangents of its logits, come back, and are added up. Results are those of
:class:`lft_ref.AttackLoss`, to within rounding.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from lft_backends import numba_network
from lft_backends.kernels import attack_cpu
from lft_backends.numba_backend import rows
from lft_backends.numba_network import FusedNetwork, native
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


class _Batch(NamedTuple):
    """Tasks and the settings of (12) as kernels take them: batch axes are collapsed into one."""

    shape: tuple[int, ...]  # the batch axes
    theta: np.ndarray  # (tasks, d)
    x: np.ndarray  # (tasks N, C, H, W)
    y: np.ndarray  # (tasks N,)
    kappa: np.floating[Any]
    l1: np.floating[Any]
    box: tuple[np.floating[Any], np.floating[Any]]  # all numbers if nothing is cut off


class FusedAttack(AttackLoss):
    """(12) on a :class:`~lft_backends.numba_network.FusedNetwork`, in a few calls of kernels."""

    __slots__ = ()

    def value(self, theta: np.ndarray, data: Data) -> np.ndarray:
        """Return f (...,)."""
        a = self._batch(theta, data)
        z = self.network.activations(self.weights, attack_cpu.perturbed(a.theta, a.x, *a.box))[-1]
        found: np.ndarray = attack_cpu.losses(z, a.y, a.theta, a.kappa, a.l1)
        return found.reshape(a.shape)

    def grad(self, theta: np.ndarray, data: Data) -> np.ndarray:
        """Return ∇_θ f (..., d)."""
        a = self._batch(theta, data)
        return self._passes(a)[0].reshape((*a.shape, theta.shape[-1]))

    def value_and_grad(self, theta: np.ndarray, data: Data) -> tuple[np.ndarray, np.ndarray]:
        """Return f (...,) and ∇_θ f (..., d), of one pass forwards."""
        a = self._batch(theta, data)
        found, z = self._passes(a)
        value = attack_cpu.losses(z, a.y, a.theta, a.kappa, a.l1)
        return value.reshape(a.shape), found.reshape((*a.shape, theta.shape[-1]))

    def hvp(self, theta: np.ndarray, data: Data, v: np.ndarray) -> np.ndarray:
        """Return ∇²_θ f v: zeros, since such a victim is piecewise linear."""
        batch = _broadcast(theta.shape[:-1], v.shape[:-1], data.x.shape[:-4])
        return np.zeros((*batch, theta.shape[-1]), theta.dtype)

    def _passes(self, a: _Batch) -> tuple[np.ndarray, np.ndarray]:
        """∇_θ f (tasks, d), and the logits that were on the way."""
        xs = self.network.activations(self.weights, attack_cpu.perturbed(a.theta, a.x, *a.box))
        z_bar = attack_cpu.logits_bar(xs[-1], a.y, a.kappa)
        x_bar = self.network.x_vjp(self.weights, xs, z_bar)
        return attack_cpu.theta_bar(a.theta, a.x, a.l1, *a.box, x_bar), xs[-1]

    def _batch(self, theta: np.ndarray, data: Data) -> _Batch:
        (x, y), real = data, theta.dtype.type
        if not (theta.dtype.isnative and x.dtype.isnative):
            theta, x = native(theta), native(x)
        if y.shape[-1:] != x.shape[-4:-3] or theta.shape[-1] != prod(x.shape[-3:]):
            raise ValueError(
                f"images {x.shape}, classes {y.shape} and theta {theta.shape} do not fit together"
            )
        shape = _broadcast(theta.shape[:-1], x.shape[:-4], y.shape[:-1])
        low, high = self.box if self.clip else (-np.inf, np.inf)
        return _Batch(
            shape,
            rows(_spread(theta, shape, 1), 1),
            rows(_spread(x, shape, 4), 3),
            rows(_spread(y, shape, 1), 0).astype(np.int64, copy=False),
            real(self.kappa),
            real(self.l1),
            (real(low), real(high)),
        )


def _broadcast(a: tuple[int, ...], b: tuple[int, ...], c: tuple[int, ...]) -> tuple[int, ...]:
    """Broadcast three shapes; NumPy takes its time where they are the same, as they mostly are."""
    return a if a == b == c else np.broadcast_shapes(a, b, c)


def _spread(a: np.ndarray, batch: tuple[int, ...], rank: int) -> np.ndarray:
    """Repeat an array over batch axes that it lacks; its last ``rank`` axes are its own."""
    kept = a.shape[a.ndim - rank :]
    return a if a.shape == (*batch, *kept) else np.broadcast_to(a, (*batch, *kept))
