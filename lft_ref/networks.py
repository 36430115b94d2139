"""Small networks as chains of layers: output, gradient and Hessian-vector product by hand.

θ (..., d) holds the layers' parameters one after the other. Nothing here knows a loss: a loss hands
in the cotangent of the output, and its tangent.
"""

from __future__ import annotations

from typing import NamedTuple

from lft_ref._array import Array, namespace
from lft_ref.layers import Activation, Dense, Layer


class Network(NamedTuple):
    """y = layer_L(… layer_1(x)), with θ = (p_1, …, p_L)."""

    layers: tuple[Layer, ...]

    @property
    def size(self) -> int:
        """Number of parameters d."""
        return sum(layer.size for layer in self.layers)

    def split(self, theta: Array) -> list[Array]:
        """Return the layers' parameters p_1 … p_L, each (..., size of the layer)."""
        parts, start = [], 0
        for layer in self.layers:
            parts.append(theta[..., start : start + layer.size])
            start += layer.size
        return parts

    def activations(self, theta: Array, x: Array) -> list[Array]:
        """Return the input of each layer and, last, the output."""
        xs = [x]
        for layer, p in zip(self.layers, self.split(theta), strict=True):
            xs.append(layer.forward(p, xs[-1]))
        return xs

    def vjp(self, theta: Array, xs: list[Array], y_bar: Array) -> Array:
        """Backpropagate the output's cotangent: return θ̄ (..., d).

        Args:
            theta: parameters (..., d).
            xs: what :meth:`activations` returned.
            y_bar: cotangent of the output, shape of ``xs[-1]``.
        """
        p_bars: list[Array] = []
        for layer, p, x in self._backwards(theta, xs):
            p_bar, y_bar = layer.vjp(p, x, y_bar)
            p_bars.append(p_bar)
        return _join(p_bars)

    def jvp(self, theta: Array, xs: list[Array], theta_dot: Array) -> list[Array]:
        """Push θ̇ forwards: return the tangents of every entry of ``xs`` (the input's is 0)."""
        xs_dot = [namespace(theta).zeros_like(xs[0])]
        parts = zip(self.layers, self.split(theta), xs[:-1], self.split(theta_dot), strict=True)
        for layer, p, x, p_dot in parts:
            xs_dot.append(layer.jvp(p, x, p_dot, xs_dot[-1]))
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
        p_bar_dots: list[Array] = []
        tangents = list(zip(self.split(theta_dot), xs_dot[:-1], strict=True))
        backwards = self._backwards(theta, xs)
        for (layer, p, x), (p_dot, x_dot) in zip(backwards, reversed(tangents), strict=True):
            p_bar_dot, next_dot = layer.vjp_dot(p, x, y_bar, p_dot, x_dot, y_bar_dot)
            _, y_bar = layer.vjp(p, x, y_bar)
            y_bar_dot = next_dot
            p_bar_dots.append(p_bar_dot)
        return _join(p_bar_dots)

    def _backwards(self, theta: Array, xs: list[Array]) -> list[tuple[Layer, Array, Array]]:
        return list(zip(self.layers, self.split(theta), xs[:-1], strict=True))[::-1]


def _join(p_bars: list[Array]) -> Array:
    """Concatenate the layers' cotangents, collected from the last layer to the first."""
    return namespace(*p_bars).concat(p_bars[::-1], axis=-1)


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
    for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [Dense(n_in, n_out), Activation(activation)]
    return Network(tuple(layers[:-1]))


def mlp_from_draws(network: Network, draws: Array) -> Array:
    """Turn standard normals (..., d) into initial parameters of an MLP (He et al. 2015).

    Weights become N(0, 2 / n_in), biases 0.
    """
    xp = namespace(draws)
    parts = []
    for layer, p in zip(network.layers, network.split(draws), strict=True):
        if isinstance(layer, Dense):
            W, b = layer.unpack(p)
            parts.append(layer.pack(W * (2.0 / layer.n_in) ** 0.5, xp.zeros_like(b[..., 0, :])))
    return xp.concat(parts, axis=-1)
