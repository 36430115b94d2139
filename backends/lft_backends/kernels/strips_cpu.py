"""Where a convolution's rows lie, and how they are cut into strips that stay in the cache.

A block is a convolution, ReLU and pooling; its numbers are those of
:mod:`lft_backends.kernels.victim_cpu`. What goes into it lies in ``kept`` from ``start`` on, in its
frame. A strip is a few rows of its windows; ``top`` is the first of them.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lft_backends.kernels.elementary import INNER
from lft_backends.kernels.victim_cpu import COLUMNS, FILTERS, OUT, ROWS, RUN, B, C, H, W

STRIP = 1024  # numbers of a plane that are worked on at once, if one row of windows is not more


@njit(**INNER)
def framed(kept, start, block):
    """The input of a block's convolution, (1, C, H, W, B)."""
    shape = (1, block[C], block[H], block[W], block[B])
    return kept[start : start + block[C] * block[H] * block[W] * block[B]].reshape(shape)


@njit(**INNER)
def pooled(kept, start, block):
    """Where a block's output lies: in the frame of the next one, or as the features."""
    height = block[ROWS] // 2 + 2 * block[OUT]
    width = block[COLUMNS] // 2 + 2 * block[OUT]
    shape = (1, block[FILTERS], height, width, block[B])
    return kept[start : start + block[FILTERS] * height * width * block[B]].reshape(shape)


@njit(**INNER)
def planes(kept, start, block, top):
    """The same input as one row, (1, C H W B), from what the window ``top`` of a column sees on."""
    stop = start + block[C] * block[H] * block[W] * block[B]
    row = kept[start + begin(block, top) : stop]
    return row.reshape((1, row.size))


@njit(**INNER)
def begin(block, top):
    """Where the window ``top`` of the first column begins in a plane."""
    return 2 * top * block[W] * block[B]


@njit(**INNER)
def windows_at_once(block):
    """How many rows of windows make a strip: all that is made of them stays in the cache."""
    return min(max(STRIP // begin(block, 1), 1), block[ROWS] // 2)


@njit(**INNER)
def length(block, top):
    """How many numbers of a plane belong to the strip from the window ``top`` on."""
    return min(begin(block, windows_at_once(block)), block[RUN] - begin(block, top))


@njit(**INNER)
def strip(block, like):
    """Room for what a convolution makes of a strip, (1, filters, rows W B), at 0."""
    return np.zeros((1, block[FILTERS], begin(block, windows_at_once(block))), like.dtype)


@njit(**INNER)
def images(y, block):
    """The same as (1, filters, rows, W, B)."""
    shape = (1, block[FILTERS], 2 * windows_at_once(block), block[W], block[B])
    return y.reshape(shape)


@njit(**INNER)
def strips(block):
    """The strips of a block's windows: the first row of windows of each."""
    return range(0, block[ROWS] // 2, windows_at_once(block))


@njit(**INNER)
def rows_from(block, top):
    """How many rows of windows the strip from ``top`` on has."""
    return min(windows_at_once(block), block[ROWS] // 2 - top)
