"""Pooling and flattening: layers without parameters between convolutions and dense layers.

Images are (..., N, C, H, W). Windows are k × k, side by side; rows and columns that fill no window
are left out. Both kinds of pooling are linear once it is known which pixel of a window is the
largest, so the tangent of x̄ is x̄ of the tangent.
"""

from __future__ import annotations

from math import prod
from typing import Any, Literal, NamedTuple

from lft_ref._array import Array, assign, device, namespace
from lft_ref.layers import Kept, bare, examples_first


class Pool2d(NamedTuple):
    """Mean or largest entry of each k × k window, channel by channel.

    Where several entries of a window are the largest, the first in row-major order stands for the
    window: it gets the whole cotangent, and its tangent alone is handed on. Every pass raises
    ``ValueError`` for another kind.

    Example:
        >>> import numpy as np
        >>> image = np.asarray([[1.0, 2.0], [3.0, 6.0]])[None, None]
        >>> none = np.zeros(0)
        >>> [float(Pool2d(kind).forward(none, image)[0, 0, 0, 0]) for kind in ("max", "average")]
        [6.0, 3.0]
    """

    kind: Literal["max", "average"]
    window: int = 2

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
        """No: it is piecewise linear."""
        return False

    def keep(self, p: Array, x: Array) -> Array | Kept:
        """Keep x, and the largest entries with the shares that say which they are."""
        return x if self._averages else Kept(x, (self.forward(p, x), self._shares(x)))

    def forward(self, p: Array, x: Array | Kept) -> Array:
        """Return y (..., N, C, ⌊H/k⌋, ⌊W/k⌋): the mean or the maximum of the k² entries."""
        if isinstance(x, Kept):
            return x.made[0]
        entries = self._entries(x)
        if self._averages:
            return sum(entries[1:], start=entries[0]) * (1.0 / len(entries))
        xp, y = namespace(entries[0]), entries[0]
        for entry in entries[1:]:
            y = xp.maximum(y, entry)
        return y

    def jvp(self, p: Array, x: Array | Kept, p_dot: Array | None, x_dot: Array) -> Array:
        """ẏ = Σ of the entries' shares times their ẋ."""
        terms = [
            share * x_dot_entry
            for share, x_dot_entry in zip(self._made(x), self._entries(x_dot), strict=True)
        ]
        return sum(terms[1:], start=terms[0])

    def x_bar(self, p: Array, x: Array | Kept, y_bar: Array) -> Array:
        """x̄ = each entry's share times its window's ȳ."""
        xp, shares, x = namespace(y_bar), self._made(x), bare(x)
        # Filled with the examples on the last axis, which is how convolutions lay images out.
        *batch, N, C, _, _ = y_bar.shape
        x_bar = xp.zeros((*batch, C, *x.shape[-2:], N), dtype=y_bar.dtype, device=device(y_bar))
        x_bar = examples_first(x_bar)
        for share, (rows, columns) in zip(shares, self._windows(x), strict=True):
            x_bar = assign(x_bar, (..., rows, columns), share * y_bar)
        return x_bar

    def p_bar(self, x: Array, y_bar: Array) -> None:
        """No parameters."""

    def x_bar_dot(
        self, p: Array, x: Array, y_bar: Array, p_dot: Array | None, x_dot: Array, y_bar_dot: Array
    ) -> Array:
        """Each entry's share times its window's ȳ̇."""
        return self.x_bar(p, x, y_bar_dot)

    def p_bar_dot(self, x: Array, y_bar: Array, x_dot: Array, y_bar_dot: Array) -> None:
        """No parameters."""

    @property
    def _averages(self) -> bool:
        if self.kind not in ("max", "average"):
            raise ValueError(f"kind must be 'max' or 'average', found {self.kind!r}")
        return self.kind == "average"

    def _made(self, x: Array | Kept) -> list[Any]:
        """The shares, made already or now."""
        return x.made[1] if isinstance(x, Kept) else self._shares(x)

    def _windows(self, x: Array) -> list[tuple[slice, slice]]:
        """For each entry of a window, where it lies in all windows."""
        k = self.window
        rows, columns = ([slice(a, n - n % k, k) for a in range(k)] for n in x.shape[-2:])
        return [(row, column) for row in rows for column in columns]

    def _entries(self, x: Array) -> list[Array]:
        """The k² entries of all windows, each (..., N, C, H/k, W/k)."""
        return [x[..., rows, columns] for rows, columns in self._windows(x)]

    def _shares(self, x: Array) -> list[Any]:
        """∂y/∂x of each entry: 1/k², or 1 for the first of the largest and 0 for the others."""
        entries = self._entries(x)
        if self._averages:
            return [1.0 / len(entries)] * len(entries)
        xp, y = namespace(x), entries[0]
        larger = []  # than all entries before
        for entry in entries[1:]:
            larger.append(entry > y)
            y = xp.maximum(y, entry)
        shares, not_later = list[Any](), xp.ones_like(y, dtype=xp.bool)
        for is_larger in larger[::-1]:
            shares.append(xp.astype(is_larger & not_later, x.dtype))
            not_later = not_later & ~is_larger
        return [xp.astype(not_later, x.dtype), *shares[::-1]]


class Flatten(NamedTuple):
    """Images (..., N, C, H, W) as rows (..., N, C H W), row-major."""

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
        """No: it is linear."""
        return False

    def keep(self, p: Array, x: Array) -> Array:
        """Nothing but x."""
        return x

    def forward(self, p: Array, x: Array) -> Array:
        """Return y (..., N, C H W): the entries of x in a row."""
        return namespace(x).reshape(x, (*x.shape[:-3], prod(x.shape[-3:])))

    def jvp(self, p: Array, x: Array, p_dot: Array | None, x_dot: Array) -> Array:
        """ẏ = the entries of ẋ in a row."""
        return self.forward(p, x_dot)

    def x_bar(self, p: Array, x: Array, y_bar: Array) -> Array:
        """x̄ = ȳ as images."""
        return namespace(y_bar).reshape(y_bar, (*y_bar.shape[:-1], *x.shape[-3:]))

    def p_bar(self, x: Array, y_bar: Array) -> None:
        """No parameters."""

    def x_bar_dot(
        self, p: Array, x: Array, y_bar: Array, p_dot: Array | None, x_dot: Array, y_bar_dot: Array
    ) -> Array:
        """ȳ̇ as images."""
        return self.x_bar(p, x, y_bar_dot)

    def p_bar_dot(self, x: Array, y_bar: Array, x_dot: Array, y_bar_dot: Array) -> None:
        """No parameters."""
