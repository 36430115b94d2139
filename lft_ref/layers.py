"""Layers of small networks: value, tangent, cotangents and their tangents, written out by hand.

A layer maps (p, x) to y, where p (..., size) are its parameters on the last axis and x (..., N, in)
holds N examples. Leading axes are batch axes and broadcast, so one call serves many tasks with
different parameters, or many directions at one point. A bar marks a cotangent, a dot a tangent:

    x̄ = (∂y/∂x)ᵀ ȳ        p̄ = (∂y/∂p)ᵀ ȳ        ẏ = ∂y/∂x ẋ + ∂y/∂p ṗ

and the tangents of x̄ and p̄ along (ṗ, ẋ, ȳ̇) are what the Hessian-vector product needs. Where the
parameters stand still, as in an attack on a network, ṗ is None. In p every layer is linear.
Source: Pearlmutter 1994.
"""

from __future__ import annotations

from math import prod
from typing import Any, Literal, NamedTuple, Protocol

from lft_ref._array import Array, namespace


class Kept(NamedTuple):
    """An input of a layer, with what its passes make of it: made once, for all of them."""

    x: Array  # (..., N, in), or images (..., N, C, H, W)
    made: Any


def bare(x: Array | Kept) -> Array:
    """Return the input itself."""
    return x.x if isinstance(x, Kept) else x


class Layer(Protocol):
    """What a network asks of its layers. Where they take an x, what they keep of it will do too."""

    @property
    def size(self) -> int:
        """Number of parameters."""

    @property
    def fan_in(self) -> int:
        """Number of inputs that one output is a weighted sum of; 0 without parameters."""

    @property
    def curved(self) -> bool:
        """Whether y is anything but piecewise linear in x."""

    def keep(self, p: Array, x: Array) -> Array | Kept:
        """Return x with what more than one pass needs of it; x itself if that is nothing."""

    def forward(self, p: Array, x: Array) -> Array:
        """Return y."""

    def jvp(self, p: Array, x: Array, p_dot: Array | None, x_dot: Array) -> Array:
        """Return ẏ."""

    def x_bar(self, p: Array, x: Array, y_bar: Array) -> Array:
        """Return x̄."""

    def p_bar(self, x: Array, y_bar: Array) -> Array | None:
        """Return p̄ (..., size), or None without parameters."""

    def x_bar_dot(
        self, p: Array, x: Array, y_bar: Array, p_dot: Array | None, x_dot: Array, y_bar_dot: Array
    ) -> Array:
        """Return the tangent of x̄."""

    def p_bar_dot(self, x: Array, y_bar: Array, x_dot: Array, y_bar_dot: Array) -> Array | None:
        """Return the tangent of p̄, or None without parameters."""


def examples_last(x: Array) -> Array:
    """Images (..., N, C, H, W) as (..., C, H, W, N), without a copy."""
    n = x.ndim
    return namespace(x).permute_dims(x, (*range(n - 4), n - 3, n - 2, n - 1, n - 4))


def examples_first(x: Array) -> Array:
    """Images (..., C, H, W, N) as (..., N, C, H, W), without a copy."""
    n = x.ndim
    return namespace(x).permute_dims(x, (*range(n - 4), n - 1, n - 4, n - 3, n - 2))


def times(x: Array, W: Array) -> Array:
    """Return x W (..., N, out); with a W (in, out) that all tasks share it is one large product."""
    if W.ndim > 2 or x.ndim == 2:
        return x @ W
    xp = namespace(x, W)
    rows = xp.reshape(x, (prod(x.shape[:-1]), x.shape[-1]))
    return xp.reshape(rows @ W, (*x.shape[:-1], W.shape[-1]))


class Dense(NamedTuple):
    """y = x W + b, with p = (W row-major (n_in, n_out), then b (n_out))."""

    n_in: int
    n_out: int

    @property
    def size(self) -> int:
        """Number of parameters: (n_in + 1) n_out."""
        return (self.n_in + 1) * self.n_out

    @property
    def fan_in(self) -> int:
        """Inputs of one output: n_in."""
        return self.n_in

    @property
    def curved(self) -> bool:
        """No: it is linear in x."""
        return False

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

    def keep(self, p: Array, x: Array) -> Array:
        """Nothing but x."""
        return x

    def forward(self, p: Array, x: Array) -> Array:
        """Return y = x W + b."""
        return times(x, self.weight(p)) + self.bias(p)

    def jvp(self, p: Array, x: Array, p_dot: Array | None, x_dot: Array) -> Array:
        """ẏ = ẋ W + x Ẇ + ḃ."""
        y_dot = times(x_dot, self.weight(p))
        return y_dot if p_dot is None else y_dot + self.forward(p_dot, x)

    def x_bar(self, p: Array, x: Array, y_bar: Array) -> Array:
        """x̄ = ȳ Wᵀ."""
        return times(y_bar, self.weight(p).mT)

    def p_bar(self, x: Array, y_bar: Array) -> Array:
        """W̄ = xᵀ ȳ and b̄ = Σ_N ȳ."""
        return self.pack(x.mT @ y_bar, namespace(y_bar).sum(y_bar, axis=-2))

    def x_bar_dot(
        self, p: Array, x: Array, y_bar: Array, p_dot: Array | None, x_dot: Array, y_bar_dot: Array
    ) -> Array:
        """ȳ̇ Wᵀ + ȳ Ẇᵀ."""
        linear = self.x_bar(p, x, y_bar_dot)
        return linear if p_dot is None else linear + self.x_bar(p_dot, x, y_bar)

    def p_bar_dot(self, x: Array, y_bar: Array, x_dot: Array, y_bar_dot: Array) -> Array:
        """ẋᵀ ȳ + xᵀ ȳ̇ and Σ_N ȳ̇."""
        W_bar_dot = x_dot.mT @ y_bar + x.mT @ y_bar_dot
        return self.pack(W_bar_dot, namespace(x).sum(y_bar_dot, axis=-2))


class Activation(NamedTuple):
    """y = φ(x) entry by entry; φ is ``relu`` or ``tanh``. It has no parameters.

    Every pass raises ``ValueError`` for another kind.
    """

    kind: Literal["relu", "tanh"]

    @property
    def size(self) -> int:
        """Number of parameters: 0."""
        return 0

    @property
    def fan_in(self) -> int:
        """0: it has no parameters."""
        return 0

    @property
    def curved(self) -> bool:
        """Whether φ is tanh."""
        if self.kind not in ("relu", "tanh"):
            raise ValueError(f"kind must be 'relu' or 'tanh', found {self.kind!r}")
        return self.kind == "tanh"

    def keep(self, p: Array, x: Array) -> Array:
        """Nothing but x."""
        return x

    def forward(self, p: Array, x: Array) -> Array:
        """Return y = φ(x)."""
        xp = namespace(x)
        return xp.tanh(x) if self.curved else xp.maximum(x, xp.zeros_like(x))

    def slope(self, x: Array) -> Array:
        """φ'(x): 1 − tanh² x, or the step function, 0 at the kink."""
        xp = namespace(x)
        return 1.0 - xp.tanh(x) ** 2 if self.curved else xp.astype(x > 0, x.dtype)

    def curvature(self, x: Array) -> Array:
        """φ''(x): −2 tanh x (1 − tanh² x), or 0."""
        xp = namespace(x)
        return -2.0 * xp.tanh(x) * self.slope(x) if self.curved else xp.zeros_like(x)

    def jvp(self, p: Array, x: Array, p_dot: Array | None, x_dot: Array) -> Array:
        """ẏ = φ'(x) ẋ."""
        return self.slope(x) * x_dot

    def x_bar(self, p: Array, x: Array, y_bar: Array) -> Array:
        """x̄ = φ'(x) ȳ."""
        return self.slope(x) * y_bar

    def p_bar(self, x: Array, y_bar: Array) -> None:
        """No parameters."""

    def x_bar_dot(
        self, p: Array, x: Array, y_bar: Array, p_dot: Array | None, x_dot: Array, y_bar_dot: Array
    ) -> Array:
        """φ'(x) ȳ̇ + φ''(x) ẋ ȳ."""
        linear = self.slope(x) * y_bar_dot
        return linear + self.curvature(x) * x_dot * y_bar if self.curved else linear

    def p_bar_dot(self, x: Array, y_bar: Array, x_dot: Array, y_bar_dot: Array) -> None:
        """No parameters."""
