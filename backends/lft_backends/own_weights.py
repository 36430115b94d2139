"""Tuned networks, where every task has weights of its own: what fused twins share on any device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from math import prod
from typing import Any, ClassVar

import numpy as np

from lft_backends.kernels.dense_table import N_IN, N_OUT
from lft_ref import Activation, Dense, Flatten, Network
from lft_ref._array import Array
from lft_ref.layers import Layer


@cache
def size_of(network: Network) -> int:
    """Number of parameters: asked for in every pass, added up once."""
    return network.size


def own_examples(size: int, axes: int, theta: Array, x: Array) -> tuple[int, ...] | None:
    """(..., N) if every θ (..., size) has its own examples, or shares them along first axes.

    None for all else, which is left to the reference: kernels look at no bounds.

    Args:
        size: number of parameters of the network.
        axes: axes of x without those of the batch, N included.
        theta: parameters.
        x: examples.
    """
    batch, own = x.shape[:-axes], theta.shape[:-1]
    fits = theta.shape[-1:] == (size,) and x.ndim >= axes and 0 not in (*own, *x.shape)
    same = theta.dtype.char in "fd" and theta.dtype.isnative and x.dtype == theta.dtype
    if not (fits and same) or own[max(0, len(own) - len(batch)) :] != batch:
        return None
    return (*own, x.shape[-axes])


def alike(a: Array, b: Array) -> bool:
    """Whether two arrays have one shape and one type, as kernels want cotangents and tangents."""
    return bool(a.shape == b.shape and a.dtype == b.dtype)


def is_perceptron(network: Network) -> bool:
    """Say whether a network is dense layers with ReLU between them, after a Flatten or not."""
    layers = network.layers[network.first :]
    wanted = [Dense if i % 2 == 0 else Activation for i in range(len(layers))]
    return (
        [type(layer) for layer in layers] == wanted
        and isinstance(layers[-1], Dense)
        and [*map(type, network.layers[: network.first])] in ([], [Flatten])
        and all(layer.kind == "relu" for layer in layers if isinstance(layer, Activation))
    )


def table_of(network: Network) -> np.ndarray:
    """Return the dense layers of a perceptron, as :mod:`.kernels.dense_table` says."""
    dense = [layer for layer in network.layers if isinstance(layer, Dense)]
    starts = accumulate((layer.size for layer in dense), initial=0)
    before = accumulate((layer.n_out for layer in dense), initial=0)
    return np.asarray(
        [(s, *layer, b) for layer, s, b in zip(dense, starts, before, strict=False)], dtype=np.int64
    )


@dataclass(frozen=True, eq=False)
class Perceptron:
    """A perceptron with ReLU; θ (..., d) against examples with the same batch axes, or the last.

    Where an argument has other batch axes than θ (many directions at one point, one θ for many data
    sets), the reference's passes are used. A device's twin says where its arrays and kernels are.
    """

    network: Network
    first: int  # index of the first dense layer
    table: np.ndarray  # (layers, 4): see :mod:`.kernels.dense_table`

    xp: ClassVar[Any]  # has empty() and concatenate()
    rows: ClassVar[Any]  # (array, axes to keep) -> contiguous, the other axes as one

    @property
    def kernels(self) -> Any:
        """Has ``forwards``, ``backwards``, ``forwards_dot``, ``backwards_dot``."""
        raise NotImplementedError

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of the network."""
        return self.network.layers

    @property
    def size(self) -> int:
        """Number of parameters d."""
        return size_of(self.network)

    def activations(self, theta: Array, x: Array, keep: bool = False) -> list[Array]:
        """Return the input of each layer and, last, the output.

        In place of what goes into a ReLU stands what comes out of it: they have the same slope.
        """
        shape = self._batch(theta, x)
        if shape is None:
            return self.network.activations(theta, x, keep)
        inputs = x.reshape((*x.shape[:-3], -1)) if self.first else x
        hidden, units, y = self._memory(shape, theta.dtype)
        self.kernels.forwards(self.rows(theta, 1), self.rows(inputs, 2), self.table, hidden, y)
        start = [x, inputs] if self.first else [x]
        return [*start, *units, y.reshape((*shape, y.shape[-1]))]

    def vjp(self, theta: Array, xs: list[Array], y_bar: Array) -> Array:
        """Backpropagate the output's cotangent: return θ̄ (..., d)."""
        shape = self._batch(theta, xs[0])
        if shape is None or not alike(y_bar, xs[-1]):
            return self.network.vjp(theta, xs, y_bar)
        theta_bar = self.xp.empty((prod(shape[:-1]), self.size), theta.dtype)
        self.kernels.backwards(*self._at(theta, xs), self.rows(y_bar, 2), theta_bar)
        return theta_bar.reshape(theta.shape)

    def jvp(self, theta: Array, xs: list[Array], theta_dot: Array) -> list[Any]:
        """Push θ̇ forwards: return the tangents of every entry of ``xs``; None for the data's."""
        shape = self._batch(theta, xs[0])
        if shape is None or not alike(theta_dot, theta):
            return self.network.jvp(theta, xs, theta_dot)
        hidden_dot, units_dot, y_dot = self._memory(shape, theta.dtype)
        at = self._at(theta, xs)
        self.kernels.forwards_dot(*at, self.rows(theta_dot, 1), hidden_dot, y_dot)
        still = [None] * (self.first + 1)
        return [*still, *units_dot, y_dot.reshape((*shape, y_dot.shape[-1]))]

    def vjp_dot(
        self,
        theta: Array,
        xs: list[Array],
        y_bar: Array,
        theta_dot: Array,
        xs_dot: list[Any],
        y_bar_dot: Array,
    ) -> Array:
        """Tangent of :meth:`vjp` along θ̇, forward over reverse: return (..., d)."""
        shape = self._batch(theta, xs[0])
        fit = alike(theta_dot, theta) and alike(y_bar, xs[-1]) and alike(y_bar_dot, xs[-1])
        if shape is None or not fit:
            return self.network.vjp_dot(theta, xs, y_bar, theta_dot, xs_dot, y_bar_dot)
        theta_bar_dot = self.xp.empty((prod(shape[:-1]), self.size), theta.dtype)
        self.kernels.backwards_dot(
            *self._at(theta, xs), self.rows(y_bar, 2), self.rows(theta_dot, 1),
            self._units(xs_dot, theta.dtype), self.rows(y_bar_dot, 2), theta_bar_dot,
        )  # fmt: skip
        return theta_bar_dot.reshape(theta.shape)

    def _at(self, theta: Array, xs: list[Array]) -> tuple[Array, ...]:
        """What every kernel is told of the point: θ, the examples, the layers, the hidden units."""
        inputs, units = self.rows(xs[self.first], 2), self._units(xs, theta.dtype)
        return self.rows(theta, 1), inputs, self.table, units

    def _units(self, xs: list[Array], dtype: Any) -> Array:
        """What went into each dense layer but the first, in one row of memory."""
        parts = [a.ravel() for a in xs[self.first + 2 : -1 : 2]]
        return self.xp.concatenate(parts) if parts else self.xp.empty(0, dtype)

    def _batch(self, theta: Array, x: Array) -> tuple[int, ...] | None:
        """(..., N) if the kernels serve θ and the examples; else None."""
        axes = 4 if self.first else 2
        if prod(x.shape[1 - axes :]) != self.table[0, N_IN]:
            return None
        return own_examples(self.size, axes, theta, x)

    def _memory(self, shape: tuple[int, ...], dtype: Any) -> tuple[Array, list[Array], Array]:
        """Room for the hidden units, what of it goes into each layer, and room for the output."""
        *widths, last = self.table[:, N_OUT].tolist()
        examples, views, first = prod(shape), list[Array](), 0
        hidden = self.xp.empty(examples * sum(widths), dtype)
        for width in widths:
            view = hidden[first : first + examples * width].reshape((*shape, width))
            views += [view, view]  # into the ReLU, by its sign, and into the dense layer
            first += view.size
        return hidden, views, self.xp.empty((prod(shape[:-1]), shape[-1], last), dtype)
