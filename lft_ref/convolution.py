"""Convolution as a matrix product: value, tangent, cotangents and their tangents, by hand.

An output pixel sees a patch of k × k pixels of every channel. With all patches as the columns of
one matrix (im2col), a convolution is the product of the filters with it, and each derivative is
again a product with the filters, with the patches, or with their transposes.

Images are (..., N, C, H, W). Inside, examples come last, (C, H, W, N): a shifted image is then made
of long runs of memory, and with filters that all tasks share every axis of tasks joins N, so that
one matrix product serves them all. Source: Chellapilla, Puri & Simard 2006.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from lft_ref._array import Array, add_to, assign, device, namespace
from lft_ref.layers import Kept, bare, examples_first, examples_last


class Conv2d(NamedTuple):
    """y[o, i, j] = b[o] + Σ_{c,a,e} W[o, c, a, e] x[c, s i + a − m, s j + e − m], x zero outside.

    Stride s, margin m (``padding``). p = (W row-major (filters, channels, kernel, kernel), then b);
    x (..., N, channels, H, W) gives y (..., N, filters, H', W') with
    H' = ⌊(H + 2 padding − kernel) / stride⌋ + 1.

    Example:
        >>> import numpy as np
        >>> layer = Conv2d(channels=1, filters=6, kernel=5, padding=2)
        >>> layer.size, layer.forward(np.zeros(156), np.zeros((4, 1, 28, 28))).shape
        (156, (4, 6, 28, 28))
    """

    channels: int
    filters: int
    kernel: int
    stride: int = 1
    padding: int = 0

    @property
    def fan_in(self) -> int:
        """Inputs of one output: C k²."""
        return self.channels * self.kernel**2

    @property
    def size(self) -> int:
        """Number of parameters: (C k² + 1) filters."""
        return (self.fan_in + 1) * self.filters

    @property
    def curved(self) -> bool:
        """No: it is linear in x."""
        return False

    def weight(self, p: Array) -> Array:
        """Return W (..., filters, C k²)."""
        W = p[..., : self.filters * self.fan_in]
        return namespace(p).reshape(W, (*p.shape[:-1], self.filters, self.fan_in))

    def bias(self, p: Array) -> Array:
        """Return b (..., filters, 1)."""
        return p[..., self.filters * self.fan_in :, None]

    def keep(self, p: Array, x: Array) -> Array | Kept:
        """Keep x and its patches; x alone where tasks share p, since they are joined first then."""
        if p.ndim == 1 and x.ndim > 4:
            return x
        return Kept(x, self.patches(x, xp=namespace(x)))

    def forward(self, p: Array, x: Array | Kept) -> Array:
        """Return y = W X + b, with the patches X of x."""
        y = self._product(p, x)
        y += self.bias(p)
        return self._image(y, p, x)

    def jvp(self, p: Array, x: Array | Kept, p_dot: Array | None, x_dot: Array) -> Array:
        """ẏ = W Ẋ + Ẇ X + ḃ."""
        y_dot = self._image(self._product(p, x_dot), p, x_dot)
        return y_dot if p_dot is None else y_dot + self.forward(p_dot, x)

    def x_bar(self, p: Array, x: Array | Kept, y_bar: Array) -> Array:
        """x̄: the columns of Wᵀ ȳ, each added to the pixels that its patch came from."""
        xp, joined = namespace(p, y_bar), join_tasks(p, y_bar)
        columns = self.weight(p).mT @ _matrix(joined, xp=xp)
        return split_tasks(self._add_patches(columns, joined, bare(x).shape[-2:], xp=xp), p, y_bar)

    def p_bar(self, x: Array, y_bar: Array) -> Array:
        """W̄ = ȳ Xᵀ and b̄ = Σ ȳ over examples and pixels."""
        return self._p_bar([(x, y_bar)], y_bar)

    def x_bar_dot(
        self, p: Array, x: Array, y_bar: Array, p_dot: Array | None, x_dot: Array, y_bar_dot: Array
    ) -> Array:
        """Wᵀ ȳ̇ + Ẇᵀ ȳ, added up in the same way."""
        if p_dot is None:
            return self.x_bar(p, x, y_bar_dot)
        xp = namespace(p, y_bar)
        pairs = (self.weight(p), self.weight(p_dot)), (y_bar_dot, y_bar)
        W, y = (xp.broadcast_arrays(*pair) for pair in pairs)
        matrices = [_matrix(a, xp=xp) for a in y]
        columns = xp.concat(W, axis=-2).mT @ xp.concat(matrices, axis=-2)  # both products in one
        return self._add_patches(columns, y_bar, bare(x).shape[-2:], xp=xp)

    def p_bar_dot(self, x: Array, y_bar: Array, x_dot: Array, y_bar_dot: Array) -> Array:
        """ȳ Ẋᵀ + ȳ̇ Xᵀ and Σ ȳ̇."""
        return self._p_bar([(x_dot, y_bar), (x, y_bar_dot)], y_bar_dot)

    def _p_bar(self, products: list[tuple[Array, Array]], y_bar: Array) -> Array:
        """Σ ȳ Xᵀ over the products, then Σ ȳ of the last argument: (..., size)."""
        xp = namespace(y_bar)
        terms = [_matrix(y, xp=xp) @ self._made(x).mT for x, y in products]
        W_bar = sum(terms[1:], start=terms[0])
        b_bar = xp.sum(_matrix(y_bar, xp=xp), axis=-1)
        flat = xp.reshape(W_bar, (*W_bar.shape[:-2], self.filters * self.fan_in))
        return xp.concat([flat, b_bar], axis=-1)

    def _made(self, x: Array | Kept) -> Array:
        """The patches, made already or now."""
        return x.made if isinstance(x, Kept) else self.patches(x, xp=namespace(x))

    def _product(self, p: Array, x: Array | Kept) -> Array:
        """W X (..., filters, H' W' N), for all tasks at once where they share p."""
        return self.weight(p) @ self._made(x if isinstance(x, Kept) else join_tasks(p, x))

    def _image(self, y: Array, p: Array, x: Array | Kept) -> Array:
        """(..., filters, H' W' N) to (..., N, filters, H', W')."""
        xp, x = namespace(y), bare(x)
        height, width = (self.side_after(n) for n in x.shape[-2:])
        N = x.shape[-4] if p.ndim > 1 else prod(x.shape[:-3])
        y = xp.reshape(y, (*y.shape[:-1], height, width, N))
        return split_tasks(examples_first(y), p, x)

    def side_after(self, side: int) -> int:
        """Return H' from H, or W' from W."""
        return (side + 2 * self.padding - self.kernel) // self.stride + 1

    def _shifts(self, height: int, width: int) -> list[tuple[slice, slice]]:
        """The pixels under each of the k² entries of the kernel, for H' × W' patches."""
        s = self.stride
        rows = [slice(a, a + s * (height - 1) + 1, s) for a in range(self.kernel)]
        columns = [slice(a, a + s * (width - 1) + 1, s) for a in range(self.kernel)]
        return [(row, column) for row in rows for column in columns]

    def patches(self, x: Array, *, xp: Any) -> Array:
        """Return X (..., C k², H' W' N): every patch of every example as a column (im2col)."""
        *batch, N, C, H, W = x.shape
        m, shape = self.padding, (self.side_after(H), self.side_after(W))
        framed = xp.zeros((*batch, C, H + 2 * m, W + 2 * m, N), dtype=x.dtype, device=device(x))
        inside = (..., slice(m, m + H), slice(m, m + W), slice(None))
        framed = assign(framed, inside, examples_last(x))
        shifted = [framed[..., rows, columns, :] for rows, columns in self._shifts(*shape)]
        X = xp.stack(shifted, axis=-4)  # (..., C, k², H', W', N)
        return xp.reshape(X, (*batch, self.fan_in, prod(shape) * N))

    def _add_patches(self, X_bar: Array, y: Array, side: tuple[int, int], *, xp: Any) -> Array:
        """The transpose of :meth:`patches`: (..., C k², H' W' N) to (..., N, C, H, W)."""
        (N, _, *shape), (H, W), m = y.shape[-4:], side, self.padding
        batch = X_bar.shape[:-2]
        X_bar = xp.reshape(X_bar, (*batch, self.channels, self.kernel**2, *shape, N))
        framed = xp.zeros(
            (*batch, self.channels, H + 2 * m, W + 2 * m, N),
            dtype=X_bar.dtype,
            device=device(X_bar),
        )
        for index, (rows, columns) in enumerate(self._shifts(*shape)):
            framed = add_to(framed, (..., rows, columns, slice(None)), X_bar[..., index, :, :, :])
        return examples_first(framed[..., m : m + H, m : m + W, :])


def join_tasks(p: Array, x: Array) -> Array:
    """Count every task's examples as examples of one, (N', C, H, W), where tasks share p."""
    if p.ndim > 1 or x.ndim == 4:
        return x
    return namespace(x).reshape(x, (prod(x.shape[:-3]), *x.shape[-3:]))


def split_tasks(y: Array, p: Array, x: Array) -> Array:
    """Give the tasks' axes of x back to y, where :func:`join_tasks` took them."""
    if p.ndim > 1 or x.ndim == 4:
        return y
    return namespace(y).reshape(y, (*x.shape[:-3], *y.shape[-3:]))


def _matrix(y: Array, *, xp: Any) -> Array:
    """(..., N, filters, H', W') to (..., filters, H' W' N)."""
    *batch, N, filters, H, W = y.shape
    return xp.reshape(examples_last(y), (*batch, filters, H * W * N))
