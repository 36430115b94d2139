"""The fused CPU twin of a CNN that is tuned: every task has its own θ.

For blocks of convolution, 2 × 2 max pooling and ReLU, and one dense layer: the classifiers of
:func:`lft_ref.cnn`. Results are those of ``lft_ref.networks``, to within rounding. Where an
argument has other batch axes than θ, the reference's passes are used. Where images or weights are
not finite, other entries of gradients may be NaN than in the reference, since it multiplies others
by 0; values are the same.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from math import prod
from typing import Any, NamedTuple

import numpy as np

from lft_backends import numba_mlp
from lft_backends.kernels import cnn_cpu
from lft_backends.kernels.victim_cpu import C, H, W
from lft_backends.numba_backend import rows
from lft_backends.numba_network import BLOCK, blocks_of, dense_of
from lft_backends.own_weights import alike, own_examples, size_of
from lft_ref import Activation, Conv2d, Dense, Flatten, Network, Pool2d
from lft_ref.layers import Layer, bare
from lft_ref.networks import Optimizee


@cache
def fuse(network: Network) -> Optimizee:
    """Return the twin of a CNN or of a perceptron if there is one, else the network itself.

    Example:
        >>> from lft_ref import cnn, mlp
        >>> type(fuse(cnn((1, 8, 8), 2, 4, 2))).__name__, type(fuse(mlp((1, 9, 1)))).__name__
        ('FusedCNN', 'FusedMLP')
        >>> type(fuse(cnn((1, 8, 8), 2, 4, 2, "tanh"))).__name__
        'Network'
    """
    return FusedCNN(network) if _is_cnn(network) else numba_mlp.fuse(network)


def _is_cnn(network: Network) -> bool:
    """Say whether a network is blocks, Flatten, and one dense layer, of the kinds with kernels."""
    *blocks, flatten, dense = network.layers if len(network.layers) > 4 else (None, None)
    return (
        isinstance(flatten, Flatten)
        and isinstance(dense, Dense)
        and [type(layer) for layer in blocks] == [BLOCK[i % 3] for i in range(len(blocks))]
        and len(blocks) % 3 == 0
        and all(layer.stride == 1 for layer in blocks if isinstance(layer, Conv2d))
        and all(layer == Pool2d("max", 2) for layer in blocks if isinstance(layer, Pool2d))
        and all(layer.kind == "relu" for layer in blocks if isinstance(layer, Activation))
    )


class Plan(NamedTuple):
    """How a network works on N images of one shape; see :mod:`.kernels.cnn_cpu`."""

    blocks: np.ndarray  # (blocks, 14)
    starts: np.ndarray  # (blocks + 1,): where in ``kept`` each input lies, and the features
    dense: np.ndarray  # (3,)
    shifts: np.ndarray
    kept: int  # numbers a task keeps
    winners: int  # and bytes


@cache
def _plan(network: Network, N: int, *shape: int) -> Plan:
    blocks, shifts, winners = blocks_of(network, 1, N, shape)
    (dense,) = dense_of(network)
    sizes = [*(blocks[:, C] * blocks[:, H] * blocks[:, W] * N), dense[1] * N]
    *starts, kept = accumulate(map(int, sizes), initial=0)
    return Plan(blocks, np.asarray(starts), dense, shifts, kept, winners)


class FusedCNN(NamedTuple):
    """A CNN with ReLU; θ (..., d) against images with the same batch axes, or the last of them."""

    network: Network

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of the network."""
        return self.network.layers

    @property
    def size(self) -> int:
        """Number of parameters d."""
        return size_of(self.network)

    def activations(self, theta: np.ndarray, x: np.ndarray, keep: bool = False) -> list[np.ndarray]:
        """Return x, what the other passes need of the way, and, last, the output."""
        shape = self._batch(theta, x)
        if shape is None:
            return self.network.activations(theta, x, keep)
        T, plan = prod(shape[:-1]), self._plan(x)
        kept = np.zeros((T, plan.kept), theta.dtype)
        which = np.empty((T, plan.winners), np.uint8)
        y = np.empty((T, shape[-1], int(plan.dense[2])), theta.dtype)
        cnn_cpu.forwards(rows(theta, 1), rows(x, 4), *plan[:4], kept, which, y)
        return [x, kept, which, y.reshape((*shape, y.shape[-1]))]

    def vjp(self, theta: np.ndarray, xs: list[np.ndarray], y_bar: np.ndarray) -> np.ndarray:
        """Backpropagate the output's cotangent: return θ̄ (..., d)."""
        shape = self._batch(theta, bare(xs[0]))
        if shape is None or not alike(y_bar, xs[-1]):
            reference: np.ndarray = self.network.vjp(theta, self._layers(theta, xs, shape), y_bar)
            return reference
        theta_bar = np.zeros((prod(shape[:-1]), self.size), theta.dtype)
        x, kept, which, _ = xs
        cnn_cpu.backwards(
            rows(theta, 1), rows(y_bar, 2), *self._plan(x)[:4], kept, which, theta_bar
        )
        return theta_bar.reshape(theta.shape)

    def jvp(self, theta: np.ndarray, xs: list[np.ndarray], theta_dot: np.ndarray) -> list[Any]:
        """Push θ̇ forwards: return the tangents of every entry of ``xs``; None for what has none."""
        shape = self._batch(theta, bare(xs[0]))
        if shape is None or not alike(theta_dot, theta):
            return self.network.jvp(theta, self._layers(theta, xs, shape), theta_dot)
        x, kept, which, y = xs
        kept_dot = np.zeros_like(kept)
        y_dot = np.empty((len(kept), *y.shape[-2:]), theta.dtype)
        cnn_cpu.forwards_dot(
            rows(theta, 1), rows(theta_dot, 1), *self._plan(x)[:4], kept, which, kept_dot, y_dot
        )
        return [None, kept_dot, None, y_dot.reshape(y.shape)]

    def vjp_dot(
        self,
        theta: np.ndarray,
        xs: list[np.ndarray],
        y_bar: np.ndarray,
        theta_dot: np.ndarray,
        xs_dot: list[Any],
        y_bar_dot: np.ndarray,
    ) -> np.ndarray:
        """Tangent of :meth:`vjp` along θ̇, forward over reverse: return (..., d)."""
        shape = self._batch(theta, bare(xs[0]))
        pushed = shape is not None and alike(theta_dot, theta)  # xs_dot is the kernels'
        if not (pushed and alike(y_bar, xs[-1]) and alike(y_bar_dot, xs[-1])):
            layers = self._layers(theta, xs, shape)
            if pushed:
                xs_dot = self.network.jvp(theta, layers, theta_dot)
            reference: np.ndarray = self.network.vjp_dot(
                theta, layers, y_bar, theta_dot, xs_dot, y_bar_dot
            )
            return reference
        (x, kept, which, _), kept_dot = xs, xs_dot[1]
        theta_bar_dot = np.zeros((len(kept), self.size), theta.dtype)
        cnn_cpu.backwards_dot(
            rows(theta, 1), rows(theta_dot, 1), rows(y_bar, 2), rows(y_bar_dot, 2),
            *self._plan(x)[:4], kept, kept_dot, which, theta_bar_dot,
        )  # fmt: skip
        return theta_bar_dot.reshape(theta.shape)

    def _plan(self, x: np.ndarray) -> Plan:
        return _plan(self.network, *x.shape[-4:])

    def _layers(
        self, theta: np.ndarray, xs: list[np.ndarray], shape: tuple[int, ...] | None
    ) -> list[np.ndarray]:
        """What the reference wants to know of the way; if shape is None, ``xs`` are its own."""
        return xs if shape is None else self.network.activations(theta, xs[0], keep=True)

    def _batch(self, theta: np.ndarray, x: np.ndarray) -> tuple[int, ...] | None:
        """(..., N) if the kernels serve θ and the images; else None."""
        return own_examples(self.size, 4, theta, x)
