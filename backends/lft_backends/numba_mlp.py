"""The fused CPU twin of a perceptron that is tuned: every task has its own θ.

Results are those of ``lft_ref.networks``, to within rounding. Where an argument has other batch
axes than θ (many directions at one point, one θ for many data sets), the reference's passes are
used.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from math import prod
from typing import Any, NamedTuple

import numpy as np

from lft_backends.kernels import mlp_cpu
from lft_backends.numba_backend import rows
from lft_backends.numba_network import alike, own_examples, size_of
from lft_ref import Activation, Dense, Flatten, Network
from lft_ref.layers import Layer
from lft_ref.networks import Optimizee


@cache
def fuse(network: Network) -> Optimizee:
    """Return the network's twin if there is one, and otherwise the network itself.

    Example:
        >>> from lft_ref import mlp
        >>> type(fuse(mlp((1, 40, 40, 1)))).__name__, type(fuse(mlp((1, 9, 1), "tanh"))).__name__
        ('FusedMLP', 'Network')
    """
    if not _is_perceptron(network):
        return network
    return FusedMLP(network, network.first, _table(network))


def _is_perceptron(network: Network) -> bool:
    """Say whether a network is dense layers with ReLU between them, after a Flatten or not."""
    layers = network.layers[network.first :]
    wanted = [Dense if i % 2 == 0 else Activation for i in range(len(layers))]
    return (
        [type(layer) for layer in layers] == wanted
        and isinstance(layers[-1], Dense)
        and [*map(type, network.layers[: network.first])] in ([], [Flatten])
        and all(layer.kind == "relu" for layer in layers if isinstance(layer, Activation))
    )


def _table(network: Network) -> np.ndarray:
    """The dense layers as the kernels read them."""
    dense = [layer for layer in network.layers if isinstance(layer, Dense)]
    starts = accumulate((layer.size for layer in dense), initial=0)
    before = accumulate((layer.n_out for layer in dense), initial=0)
    return np.asarray(
        [(s, *layer, b) for layer, s, b in zip(dense, starts, before, strict=False)], dtype=np.int64
    )


class FusedMLP(NamedTuple):
    """A perceptron with ReLU; θ (..., d) against examples with the same batch axes, or the last."""

    network: Network
    first: int  # index of the first dense layer
    table: np.ndarray  # (layers, 4): see :mod:`.kernels.mlp_cpu`

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of the network."""
        return self.network.layers

    @property
    def size(self) -> int:
        """Number of parameters d."""
        return size_of(self.network)

    def activations(self, theta: np.ndarray, x: np.ndarray, keep: bool = False) -> list[np.ndarray]:
        """Return the input of each layer and, last, the output.

        In place of what goes into a ReLU stands what comes out of it: they have the same slope.
        """
        shape = self._batch(theta, x)
        if shape is None:
            return self.network.activations(theta, x, keep)
        inputs = x.reshape((*x.shape[:-3], -1)) if self.first else x
        hidden, units, y = self._memory(shape, theta.dtype)
        mlp_cpu.forwards(rows(theta, 1), rows(inputs, 2), self.table, hidden, y)
        start = [x, inputs] if self.first else [x]
        return [*start, *units, y.reshape((*shape, y.shape[-1]))]

    def vjp(self, theta: np.ndarray, xs: list[np.ndarray], y_bar: np.ndarray) -> np.ndarray:
        """Backpropagate the output's cotangent: return θ̄ (..., d)."""
        shape = self._batch(theta, xs[0])
        if shape is None or not alike(y_bar, xs[-1]):
            back: np.ndarray = self.network.vjp(theta, xs, y_bar)
            return back
        theta_bar = np.empty((prod(shape[:-1]), self.size), theta.dtype)
        mlp_cpu.backwards(*self._at(theta, xs), rows(y_bar, 2), theta_bar)
        return theta_bar.reshape(theta.shape)

    def jvp(self, theta: np.ndarray, xs: list[np.ndarray], theta_dot: np.ndarray) -> list[Any]:
        """Push θ̇ forwards: return the tangents of every entry of ``xs``; None for the data's."""
        shape = self._batch(theta, xs[0])
        if shape is None or not alike(theta_dot, theta):
            return self.network.jvp(theta, xs, theta_dot)
        hidden_dot, units_dot, y_dot = self._memory(shape, theta.dtype)
        mlp_cpu.forwards_dot(*self._at(theta, xs), rows(theta_dot, 1), hidden_dot, y_dot)
        still = [None] * (self.first + 1)
        return [*still, *units_dot, y_dot.reshape((*shape, y_dot.shape[-1]))]

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
        shape = self._batch(theta, xs[0])
        fit = alike(theta_dot, theta) and alike(y_bar, xs[-1]) and alike(y_bar_dot, xs[-1])
        if shape is None or not fit:
            back: np.ndarray = self.network.vjp_dot(theta, xs, y_bar, theta_dot, xs_dot, y_bar_dot)
            return back
        theta_bar_dot = np.empty((prod(shape[:-1]), self.size), theta.dtype)
        mlp_cpu.backwards_dot(
            *self._at(theta, xs), rows(y_bar, 2), rows(theta_dot, 1),
            self._units(xs_dot, theta.dtype), rows(y_bar_dot, 2), theta_bar_dot,
        )  # fmt: skip
        return theta_bar_dot.reshape(theta.shape)

    def _at(self, theta: np.ndarray, xs: list[np.ndarray]) -> tuple[np.ndarray, ...]:
        """What every kernel is told of the point: θ, the examples, the layers, the hidden units."""
        inputs, units = rows(xs[self.first], 2), self._units(xs, theta.dtype)
        return rows(theta, 1), inputs, self.table, units

    def _units(self, xs: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
        """What went into each dense layer but the first, in one row of memory."""
        parts = [a.ravel() for a in xs[self.first + 2 : -1 : 2]]
        return np.concatenate(parts) if parts else np.empty(0, dtype)

    def _batch(self, theta: np.ndarray, x: np.ndarray) -> tuple[int, ...] | None:
        """(..., N) if the kernels serve θ and the examples; else None."""
        axes = 4 if self.first else 2
        if prod(x.shape[1 - axes :]) != self.table[0, mlp_cpu.N_IN]:
            return None
        return own_examples(self.size, axes, theta, x)

    def _memory(
        self, shape: tuple[int, ...], dtype: np.dtype
    ) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
        """Room for the hidden units, what of it goes into each layer, and room for the output."""
        *widths, last = self.table[:, mlp_cpu.N_OUT].tolist()
        examples, views, first = prod(shape), list[np.ndarray](), 0
        hidden = np.empty(examples * sum(widths), dtype)
        for width in widths:
            view = hidden[first : first + examples * width].reshape((*shape, width))
            views += [view, view]  # into the ReLU, by its sign, and into the dense layer
            first += view.size
        return hidden, views, np.empty((prod(shape[:-1]), shape[-1], last), dtype)
