"""Small networks as chains of layers: output, gradient and Hessian-vector product by hand.

θ (..., d) holds the layers' parameters one after the other. Nothing here knows a loss: a loss hands
in the cotangent of the output, and its tangent. Each pass comes twice: with respect to θ, and (x_…)
with respect to the input, for what perturbs the input of a network that stands still.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, Protocol

from lft_ref._array import Array, namespace
from lft_ref.layers import Activation, Dense, Layer


class Optimizee(Protocol):
    """The passes of :class:`Network` that tuning its θ asks for. A twin may be faster."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, first to last."""

    @property
    def size(self) -> int:
        """Number of parameters d."""

    def activations(self, theta: Array, x: Array, keep: bool = False) -> list[Array]:
        """Return x first and the output last."""

    def vjp(self, theta: Array, xs: list[Array], y_bar: Array) -> Array:
        """Pull the output's cotangent back to θ."""

    def jvp(self, theta: Array, xs: list[Array], theta_dot: Array) -> list[Array]:
        """Push θ's tangent forwards."""

    def vjp_dot(
        self,
        theta: Array,
        xs: list[Array],
        y_bar: Array,
        theta_dot: Array,
        xs_dot: list[Array],
        y_bar_dot: Array,
    ) -> Array:
        """Return the tangent of :meth:`vjp`."""


class Network(NamedTuple):
    """y = layer_L(… layer_1(x)), with θ = (p_1, …, p_L)."""

    layers: tuple[Layer, ...]

    @property
    def size(self) -> int:
        """Number of parameters d."""
        return sum(layer.size for layer in self.layers)

    @property
    def curved(self) -> bool:
        """Whether y is anything but piecewise linear in x; if not, its Hessian there is zero."""
        return any(layer.curved for layer in self.layers)

    @property
    def first(self) -> int:
        """Index of the first layer with parameters: nobody asks what comes of the data before."""
        return next((i for i, layer in enumerate(self.layers) if layer.size), 0)

    def split(self, theta: Array) -> list[Array]:
        """Return the layers' parameters p_1 … p_L, each (..., size of the layer)."""
        parts, start = [], 0
        for layer in self.layers:
            parts.append(theta[..., start : start + layer.size])
            start += layer.size
        return parts

    def activations(self, theta: Array, x: Array, keep: bool = False) -> list[Array]:
        """Return the input of each layer and, last, the output.

        With ``keep``, inputs stand there with what the passes below would else make of them again.
        """
        xs = [x]
        for layer, p in zip(self.layers, self.split(theta), strict=True):
            if keep:
                xs[-1] = layer.keep(p, xs[-1])
            xs.append(layer.forward(p, xs[-1]))
        return xs

    def vjp(self, theta: Array, xs: list[Array], y_bar: Array) -> Array:
        """Backpropagate the output's cotangent: return θ̄ (..., d).

        Args:
            theta: parameters (..., d).
            xs: what :meth:`activations` returned.
            y_bar: cotangent of the output, shape of ``xs[-1]``.
        """
        p_bars: list[Array | None] = []
        for index, (layer, p) in self._backwards(theta):
            p_bars.append(layer.p_bar(xs[index], y_bar))
            if index > self.first:
                y_bar = layer.x_bar(p, xs[index], y_bar)
        return _join(p_bars)

    def x_vjp(self, theta: Array, xs: list[Array], y_bar: Array) -> Array:
        """Backpropagate the output's cotangent to the input: return x̄, of shape ``xs[0]``."""
        for index, (layer, p) in self._backwards(theta):
            y_bar = layer.x_bar(p, xs[index], y_bar)
        return y_bar

    def jvp(self, theta: Array, xs: list[Array], theta_dot: Array) -> list[Array]:
        """Push θ̇ forwards: return the tangents of every entry of ``xs``.

        Up to the first layer with parameters they are zero, and None stands for them.
        """
        first, xs_dot = self.first, [None] * (self.first + 1)
        parts = list(zip(self.layers, self.split(theta), self.split(theta_dot), strict=True))
        xs_dot.append(self.layers[first].forward(parts[first][2], xs[first]))  # linear in p
        for layer, p, p_dot in parts[first + 1 :]:
            xs_dot.append(layer.jvp(p, xs[len(xs_dot) - 1], p_dot, xs_dot[-1]))
        return xs_dot

    def x_jvp(self, theta: Array, xs: list[Array], x_dot: Array) -> list[Array]:
        """Push ẋ forwards, θ standing still: return the tangents of every entry of ``xs``."""
        xs_dot = [x_dot]
        for index, (layer, p) in enumerate(zip(self.layers, self.split(theta), strict=True)):
            xs_dot.append(layer.jvp(p, xs[index], None, xs_dot[index]))
        return xs_dot

    def vjp_dot(
        self,
        theta: Array,
        xs: list[Array],
        y_bar: Array,
        theta_dot: Array,
        xs_dot: list[Array],
        y_bar_dot: Array,
    ) -> Array:
        """Tangent of :meth:`vjp` along θ̇, forward over reverse: return (..., d)."""
        p_bar_dots: list[Array | None] = []
        p_dots = self.split(theta_dot)
        for index, (layer, p) in self._backwards(theta):
            x, x_dot = xs[index], xs_dot[index]
            if index <= self.first:  # its x stands still, and p̄ is linear in ȳ
                p_bar_dots.append(layer.p_bar(x, y_bar_dot))
                continue
            p_bar_dots.append(layer.p_bar_dot(x, y_bar, x_dot, y_bar_dot))
            y_bar_dot = layer.x_bar_dot(p, x, y_bar, p_dots[index], x_dot, y_bar_dot)
            y_bar = layer.x_bar(p, x, y_bar)
        return _join(p_bar_dots)

    def x_vjp_dot(
        self, theta: Array, xs: list[Array], y_bar: Array, xs_dot: list[Array], y_bar_dot: Array
    ) -> Array:
        """Tangent of :meth:`x_vjp` along ẋ, θ standing still: return the shape of ``xs_dot[0]``."""
        for index, (layer, p) in self._backwards(theta):
            x, x_dot = xs[index], xs_dot[index]
            y_bar_dot = layer.x_bar_dot(p, x, y_bar, None, x_dot, y_bar_dot)
            y_bar = layer.x_bar(p, x, y_bar)
        return y_bar_dot

    def _backwards(self, theta: Array) -> list[tuple[int, tuple[Layer, Array]]]:
        """Layers with their index and parameters, from the last to the first."""
        return list(enumerate(zip(self.layers, self.split(theta), strict=True)))[::-1]


def _join(p_bars: list[Array | None]) -> Array:
    """Concatenate the layers' cotangents, collected from the last layer to the first."""
    parts = [p_bar for p_bar in p_bars[::-1] if p_bar is not None]
    return namespace(*parts).concat(parts, axis=-1)


def mlp(sizes: tuple[int, ...], activation: str = "relu") -> Network:
    """Return a multi-layer perceptron: dense layers with ``activation`` on all but the last.

    Args:
        sizes: input width, hidden widths, output width.
        activation: ``relu`` or ``tanh``.

    Raises:
        ValueError: for fewer than two sizes, a size below 1, or another activation.

    Example:
        >>> mlp((1, 40, 40, 1)).size
        1761
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes must be at least two positive widths, found {sizes}")
    if activation not in ("relu", "tanh"):
        raise ValueError(f"activation must be 'relu' or 'tanh', found {activation!r}")
    layers: list[Layer] = []
    for n_in, n_out in pairwise(sizes):
        layers += [Dense(n_in, n_out), Activation("tanh" if activation == "tanh" else "relu")]
    return Network(tuple(layers[:-1]))


def network_from_draws(network: Network, draws: Array) -> Array:
    """Turn numbers drawn uniformly from [-1, 1] (..., d) into initial parameters of a network.

    Weights and biases of a layer become uniform on ±1/√fan_in, the usual default of PyTorch. Random
    biases matter for inputs of one dimension: with zero biases every ReLU has its kink at 0.

    Args:
        network: any network.
        draws: (..., d), with d its number of parameters.

    Raises:
        ValueError: if there are more or fewer than d.
    """
    xp = namespace(draws)
    if tuple(draws.shape[-1:]) != (network.size,):
        raise ValueError(
            f"draws must have shape (..., {network.size}) for this network, found "
            f"{tuple(draws.shape)}"
        )
    parts = [
        p / layer.fan_in**0.5
        for layer, p in zip(network.layers, network.split(draws), strict=True)
        if layer.fan_in
    ]
    return xp.concat(parts, axis=-1)
