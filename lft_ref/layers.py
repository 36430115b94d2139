"""Layers of small networks: value, vjp, jvp, and the jvp of the vjp, written out by hand.

A layer maps (p, x) to y, where p (..., size) are its parameters on the last axis and x (..., N, in)
holds N examples. Leading axes are batch axes and broadcast, so one call serves many tasks with
different parameters, or many directions at one point. With a bar for cotangents and a dot for
tangents, ``vjp_dot`` is what Pearlmutter's R-operator needs: the derivative of
(p̄, x̄) = vjp(p, x, ȳ) along (ṗ, ẋ, ȳ̇). Source: Pearlmutter 1994.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from lft_ref._array import Array, namespace


class Layer(Protocol):
    """What a network asks of its layers; :class:`Dense` says it in shapes."""

    @property
    def size(self) -> int:
        """Number of parameters."""

    def forward(self, p: Array, x: Array) -> Array:
        """Return y."""

    def vjp(self, p: Array, x: Array, y_bar: Array) -> tuple[Array, Array]:
        """Return (p̄, x̄)."""

    def jvp(self, p: Array, x: Array, p_dot: Array, x_dot: Array) -> Array:
        """Return ẏ."""

    def vjp_dot(
        self, p: Array, x: Array, y_bar: Array, p_dot: Array, x_dot: Array, y_bar_dot: Array
    ) -> tuple[Array, Array]:
        """Return the tangents of (p̄, x̄)."""


class Dense(NamedTuple):
    """y = x W + b, with p = (W row-major (n_in, n_out), then b (n_out))."""

    n_in: int
    n_out: int

    @property
    def size(self) -> int:
        """Number of parameters: (n_in + 1) n_out."""
        return (self.n_in + 1) * self.n_out

    def unpack(self, p: Array) -> tuple[Array, Array]:
        """Return W (..., n_in, n_out) and b (..., 1, n_out)."""
        xp = namespace(p)
        weights = self.n_in * self.n_out
        W = xp.reshape(p[..., :weights], (*p.shape[:-1], self.n_in, self.n_out))
        return W, p[..., None, weights:]

    def pack(self, W: Array, b: Array) -> Array:
        """Return p (..., size) from W (..., n_in, n_out) and b (..., n_out)."""
        xp = namespace(W, b)
        return xp.concat([xp.reshape(W, (*W.shape[:-2], -1)), b], axis=-1)

    def forward(self, p: Array, x: Array) -> Array:
        """Return y (..., N, n_out)."""
        W, b = self.unpack(p)
        return x @ W + b

    def vjp(self, p: Array, x: Array, y_bar: Array) -> tuple[Array, Array]:
        """W̄ = xᵀ ȳ, b̄ = Σ_N ȳ, x̄ = ȳ Wᵀ."""
        xp = namespace(p)
        W, _ = self.unpack(p)
        p_bar = self.pack(x.mT @ y_bar, xp.sum(y_bar, axis=-2))
        return p_bar, y_bar @ W.mT

    def jvp(self, p: Array, x: Array, p_dot: Array, x_dot: Array) -> Array:
        """ẏ = ẋ W + x Ẇ + ḃ."""
        (W, _), (W_dot, b_dot) = self.unpack(p), self.unpack(p_dot)
        return x_dot @ W + x @ W_dot + b_dot

    def vjp_dot(
        self, p: Array, x: Array, y_bar: Array, p_dot: Array, x_dot: Array, y_bar_dot: Array
    ) -> tuple[Array, Array]:
        """The product rule applied to each line of :meth:`vjp`."""
        xp = namespace(p)
        (W, _), (W_dot, _) = self.unpack(p), self.unpack(p_dot)
        W_bar_dot = x_dot.mT @ y_bar + x.mT @ y_bar_dot
        x_bar_dot = y_bar_dot @ W.mT + y_bar @ W_dot.mT
        return self.pack(W_bar_dot, xp.sum(y_bar_dot, axis=-2)), x_bar_dot


class Activation(NamedTuple):
    """y = φ(x) entry by entry; φ is ``relu`` or ``tanh``. It has no parameters."""

    kind: str

    @property
    def size(self) -> int:
        """Number of parameters: 0."""
        return 0

    def forward(self, p: Array, x: Array) -> Array:
        """Return φ(x)."""
        xp = namespace(p, x)
        return xp.tanh(x) if self.kind == "tanh" else xp.where(x > 0, x, xp.zeros_like(x))

    def slope(self, x: Array) -> Array:
        """Return φ'(x): 1 − tanh² x, or the step function (0 at the kink, as autograd has it)."""
        xp = namespace(x)
        if self.kind == "tanh":
            return 1.0 - xp.tanh(x) ** 2
        return xp.where(x > 0, xp.ones_like(x), xp.zeros_like(x))

    def curvature(self, x: Array) -> Array:
        """Return φ''(x): −2 tanh x (1 − tanh² x), or 0."""
        xp = namespace(x)
        if self.kind == "tanh":
            return -2.0 * xp.tanh(x) * (1.0 - xp.tanh(x) ** 2)
        return xp.zeros_like(x)

    def vjp(self, p: Array, x: Array, y_bar: Array) -> tuple[Array, Array]:
        """x̄ = φ'(x) ȳ; p̄ is empty."""
        x_bar = self.slope(x) * y_bar
        return _no_parameters(x_bar), x_bar

    def jvp(self, p: Array, x: Array, p_dot: Array, x_dot: Array) -> Array:
        """ẏ = φ'(x) ẋ."""
        return self.slope(x) * x_dot

    def vjp_dot(
        self, p: Array, x: Array, y_bar: Array, p_dot: Array, x_dot: Array, y_bar_dot: Array
    ) -> tuple[Array, Array]:
        """The tangent of x̄ is φ'(x) ȳ̇ + φ''(x) ẋ ȳ."""
        x_bar_dot = self.slope(x) * y_bar_dot + self.curvature(x) * x_dot * y_bar
        return _no_parameters(x_bar_dot), x_bar_dot


def _no_parameters(x_bar: Array) -> Array:
    """An empty p̄ (..., 0) with the batch axes of x̄ (..., N, width)."""
    return x_bar[..., 0, :0]
