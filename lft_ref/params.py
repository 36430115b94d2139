"""Φ, the parameters of the fine-tuner, and their one flattening order."""

from __future__ import annotations

import math
from typing import NamedTuple

from lft_ref._array import Array, namespace


class LSTMParams(NamedTuple):
    """Φ of RNN_Φ, eq. (3): one LSTM layer of n units fed m features, and a linear output.

    Gates stand in the order input, forget, candidate, output. A gradient with respect to Φ is an
    ``LSTMParams`` too; it may carry leading batch axes, one entry per task.
    """

    W_x: Array  # (m, 4n)
    W_h: Array  # (n, 4n)
    b: Array  # (4n,)
    w_o: Array  # (n,)
    b_o: Array  # ()

    @property
    def m(self) -> int:
        """Number of features that the cell is fed per coordinate."""
        return int(self.W_x.shape[-2])

    @property
    def n(self) -> int:
        """Number of hidden units."""
        return int(self.W_h.shape[-2])


class Columns(NamedTuple):
    """A block of columns of G and H, that is, of entries of the flattened Φ.

    Rows ``first`` to ``last`` (exclusive) of the (m + n + 1, 4n) matrix that W_x, W_h and b form
    when stacked, and then (w_o, b_o) where ``output`` is true.
    """

    first: int
    last: int
    output: bool

    def width(self, n: int) -> int:
        """Return the number of columns, for n hidden units."""
        return 4 * n * (self.last - self.first) + (n + 1) * self.output


def all_columns(m: int, n: int) -> Columns:
    """Return the block that holds the whole of Φ."""
    return Columns(0, m + n + 1, output=True)


def column_blocks(m: int, n: int, rows: int) -> list[Columns]:
    """Cut the columns of Φ into consecutive blocks of at most ``rows`` rows each.

    Example:
        >>> [block.width(10) for block in column_blocks(m=2, n=10, rows=6)]
        [240, 240, 51]
    """
    last = m + n + 1
    return [Columns(a, min(a + rows, last), a + rows >= last) for a in range(0, last, rows)]


def shapes(m: int, n: int) -> LSTMParams:
    """Return the shapes of the five arrays of Φ, as an ``LSTMParams`` of tuples."""
    return LSTMParams((m, 4 * n), (n, 4 * n), (4 * n,), (n,), ())


def size(m: int, n: int) -> int:
    """Return |Φ| = 4n(m + n + 1) + n + 1.

    Example:
        >>> size(m=2, n=10)
        531
    """
    return 4 * n * (m + n + 1) + n + 1


def flatten(params: LSTMParams) -> Array:
    """Return Φ as one axis of length P = |Φ|, fields in order, row-major; batch axes stay in front.

    The first 4n(m + n + 1) entries are the rows of W_x, then of W_h, then b: entry 4n·a + r belongs
    to input a of (x, h, 1) and to gate column r.
    """
    xp = namespace(*params)
    batch = params.b_o.shape
    sizes = [math.prod(shape) for shape in shapes(params.m, params.n)]
    parts = [xp.reshape(a, (*batch, k)) for a, k in zip(params, sizes, strict=True)]
    return xp.concat(parts, axis=-1)


def unflatten(flat: Array, m: int, n: int) -> LSTMParams:
    """Return the ``LSTMParams`` whose flattening is ``flat`` (..., P).

    Raises:
        ValueError: if the last axis is not of length |Φ| for these m and n.
    """
    xp = namespace(flat)
    if tuple(flat.shape[-1:]) != (size(m, n),):
        raise ValueError(
            f"flat Φ must have shape (..., {size(m, n)}) for m={m}, n={n}, found "
            f"{tuple(flat.shape)}; check that it was made with the same preprocessing and number "
            "of hidden units"
        )
    batch = flat.shape[:-1]
    arrays, start = [], 0
    for shape in shapes(m, n):
        stop = start + math.prod(shape)
        arrays.append(xp.reshape(flat[..., start:stop], (*batch, *shape)))
        start = stop
    return LSTMParams(*arrays)


def from_draws(flat: Array, m: int, n: int, forget_bias: float = 1.0) -> LSTMParams:
    """Turn P numbers drawn uniformly from [-1, 1] into a usual initial Φ.

    Weights are scaled by 1/√n, as PyTorch initialises its LSTM; biases are 0, but for the forget
    gate's, which is ``forget_bias`` (Jozefowicz et al. 2015).

    Args:
        flat: (P,), without batch axes.
        m: number of features, 1 or 2.
        n: number of hidden units.
        forget_bias: what the forget gate's n biases are.

    Raises:
        ValueError: if ``flat`` is not of shape (4n(m + n + 1) + n + 1,).
    """
    xp = namespace(flat)
    if flat.ndim != 1:
        raise ValueError(
            f"flat must have shape (P,), found {tuple(flat.shape)}; take one Φ at a time"
        )
    drawn = unflatten(flat / math.sqrt(n), m, n)
    zero = xp.zeros_like(drawn.b[:n])
    b = xp.concat([zero, zero + forget_bias, zero, zero])
    return drawn._replace(b=b, b_o=xp.zeros_like(drawn.b_o))
