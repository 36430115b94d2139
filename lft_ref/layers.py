"""Layers of small networks: value, tangent, cotangents and their tangents, written out by hand.

A layer maps (p, x) to y, where p (..., size) are its parameters on the last axis and x (..., N, in)
holds N examples. Leading axes are batch axes and broadcast, so one call serves many tasks with
different parameters, or many directions at one point. A bar marks a cotangent, a dot a tangent:

    x̄ = (∂y/∂x)ᵀ ȳ        p̄ = (∂y/∂p)ᵀ ȳ        ẏ = ∂y/∂x ẋ + ∂y/∂p ṗ

and the tangents of x̄ and p̄ along (ṗ, ẋ, ȳ̇) are what the Hessian-vector product needs.
Source: Pearlmutter 1994.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

from lft_ref._array import Array, namespace


class Layer(Protocol):
    """What a network asks of its layers."""

    @property
    def size(self) -> int:
        """Number of parameters."""

    def forward(self, p: Array, x: Array) -> Array:
        """Return y."""

    def jvp(self, p: Array, x: Array, p_dot: Array, x_dot: Array) -> Array:
        """Return ẏ."""

    def x_bar(self, p: Array, x: Array, y_bar: Array) -> Array:
        """Return x̄."""

    def p_bar(self, x: Array, y_bar: Array) -> Array:
        """Return p̄ (..., size)."""

    def x_bar_dot(
        self, p: Array, x: Array, y_bar: Array, p_dot: Array, x_dot: Array, y_bar_dot: Array
    ) -> Array:
        """Return the tangent of x̄."""

    def p_bar_dot(self, x: Array, y_bar: Array, x_dot: Array, y_bar_dot: Array) -> Array:
        """Return the tangent of p̄."""


class Dense(NamedTuple):
    """y = x W + b, with p = (W row-major (n_in, n_out), then b (n_out))."""

    n_in: int
    n_out: int

    @property
    def size(self) -> int:
        """Number of parameters: (n_in + 1) n_out."""
        return (self.n_in + 1) * self.n_out

    def weight(self, p: Array) -> Array:
        """Return W (..., n_in, n_out)."""
        W = p[..., : self.n_in * self.n_out]
        return namespace(p).reshape(W, (*p.shape[:-1], self.n_in, self.n_out))

    def bias(self, p: Array) -> Array:
        """Return b (..., 1, n_out)."""
        return p[..., None, self.n_in * self.n_out :]

    def pack(self, W: Array, b: Array) -> Array:
        """Return p (..., size) from W (..., n_in, n_out) and b (..., n_out)."""
        xp = namespace(W, b)
        flat = xp.reshape(W, (*W.shape[:-2], self.n_in * self.n_out))
        return xp.concat([flat, b], axis=-1)

    def forward(self, p: Array, x: Array) -> Array:
        """Y = x W + b."""
        return x @ self.weight(p) + self.bias(p)

    def jvp(self, p: Array, x: Array, p_dot: Array, x_dot: Array) -> Array:
        """ẏ = ẋ W + x Ẇ + ḃ."""
        return x_dot @ self.weight(p) + x @ self.weight(p_dot) + self.bias(p_dot)

    def x_bar(self, p: Array, x: Array, y_bar: Array) -> Array:
        """x̄ = ȳ Wᵀ."""
        return y_bar @ self.weight(p).mT

    def p_bar(self, x: Array, y_bar: Array) -> Array:
        """W̄ = xᵀ ȳ and b̄ = Σ_N ȳ."""
        return self.pack(x.mT @ y_bar, namespace(y_bar).sum(y_bar, axis=-2))

    def x_bar_dot(
        self, p: Array, x: Array, y_bar: Array, p_dot: Array, x_dot: Array, y_bar_dot: Array
    ) -> Array:
        """ȳ̇ Wᵀ + ȳ Ẇᵀ."""
        return y_bar_dot @ self.weight(p).mT + y_bar @ self.weight(p_dot).mT

    def p_bar_dot(self, x: Array, y_bar: Array, x_dot: Array, y_bar_dot: Array) -> Array:
        """ẋᵀ ȳ + xᵀ ȳ̇ and Σ_N ȳ̇."""
        W_bar_dot = x_dot.mT @ y_bar + x.mT @ y_bar_dot
        return self.pack(W_bar_dot, namespace(x).sum(y_bar_dot, axis=-2))


class Activation(NamedTuple):
    """y = φ(x) entry by entry; φ is ``relu`` or ``tanh``. It has no parameters."""

    kind: Literal["relu", "tanh"]

    @property
    def size(self) -> int:
        """Number of parameters: 0."""
        return 0

    def forward(self, p: Array, x: Array) -> Array:
        """Y = φ(x)."""
        xp = namespace(x)
        return xp.tanh(x) if self.kind == "tanh" else xp.maximum(x, xp.zeros_like(x))

    def slope(self, x: Array) -> Array:
        """φ'(x): 1 − tanh² x, or the step function, 0 at the kink."""
        xp = namespace(x)
        return 1.0 - xp.tanh(x) ** 2 if self.kind == "tanh" else xp.astype(x > 0, x.dtype)

    def curvature(self, x: Array) -> Array:
        """φ''(x): −2 tanh x (1 − tanh² x), or 0."""
        xp = namespace(x)
        return -2.0 * xp.tanh(x) * self.slope(x) if self.kind == "tanh" else xp.zeros_like(x)

    def jvp(self, p: Array, x: Array, p_dot: Array, x_dot: Array) -> Array:
        """ẏ = φ'(x) ẋ."""
        return self.slope(x) * x_dot

    def x_bar(self, p: Array, x: Array, y_bar: Array) -> Array:
        """x̄ = φ'(x) ȳ."""
        return self.slope(x) * y_bar

    def p_bar(self, x: Array, y_bar: Array) -> Array:
        """No parameters: (..., 0)."""
        return y_bar[..., 0, :0]

    def x_bar_dot(
        self, p: Array, x: Array, y_bar: Array, p_dot: Array, x_dot: Array, y_bar_dot: Array
    ) -> Array:
        """φ'(x) ȳ̇ + φ''(x) ẋ ȳ."""
        linear = self.slope(x) * y_bar_dot
        return linear + self.curvature(x) * x_dot * y_bar if self.kind == "tanh" else linear

    def p_bar_dot(self, x: Array, y_bar: Array, x_dot: Array, y_bar_dot: Array) -> Array:
        """No parameters: (..., 0)."""
        return y_bar_dot[..., 0, :0]
