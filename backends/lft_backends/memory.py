"""Arrays whose memory is used again: a system takes long to hand out fresh memory.

An unroll keeps the cell's state of every step, and lets go of all of it at the end. Large arrays
go back to the system then, and the next unroll waits for each page anew (a quarter of the time of
float32 steps of 20,000 coordinates). Here their memory is kept for the next that asks for as much.
"""

from __future__ import annotations

import math
import weakref

import numpy as np

SMALL = 2**16  # bytes up to which allocators keep memory anyway
KEPT = 2**28  # bytes that are kept at most

_free: dict[int, list[np.ndarray]] = {}  # by size in bytes
_used: dict[int, weakref.ref[np.ndarray]] = {}  # by identity; a reference must live to call back


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an array like ``np.empty``, contiguous and writeable, in memory that is used again.

    The memory is free when the array and all of its views are gone.

    Example:
        >>> a = empty((300, 100), np.dtype("f8"))
        >>> address, view = a.ctypes.data, a[0]
        >>> del a
        >>> empty((300, 100), np.dtype("f8")).ctypes.data == address  # the view holds on to it
        False
        >>> del view
        >>> empty((300, 100), np.dtype("f8")).ctypes.data == address
        True
    """
    size = math.prod(shape) * dtype.itemsize
    if size <= SMALL:
        return np.empty(shape, dtype)
    try:
        memory = _free[size].pop()
    except (KeyError, IndexError):
        memory = np.empty(size, np.uint8)
    array = np.frombuffer(memory.data, dtype)  # its views hold on to it, not to ``memory``
    key = id(array)

    def give_back(_: object) -> None:
        del _used[key]
        kept = [*_free.items()]  # other threads add sizes of their own meanwhile
        if size + sum(each * len(free) for each, free in kept) > KEPT:
            _free.clear()  # sizes that nobody asks for any more would stay for good
        if size <= KEPT:
            _free.setdefault(size, []).append(memory)

    _used[key] = weakref.ref(array, give_back)
    return array.reshape(shape)
