"""The array namespace of the arguments: the only place that knows of array-api-compat."""

from __future__ import annotations

from typing import Any, TypeAlias

import array_api_compat
from array_api_compat import array_namespace

Array: TypeAlias = Any
"""An array of any library that follows the Python array API standard."""


def namespace(*arrays: Array) -> Any:
    """Return the array namespace ``xp`` that ``arrays`` share.

    Raises:
        ValueError: if none of ``arrays`` is an array of a known library, or they mix libraries.
    """
    kinds = {type(a) for a in arrays}
    known = _NAMESPACES.get(next(iter(kinds))) if len(kinds) == 1 else None
    if known is not None:
        return known
    try:
        xp = array_namespace(*arrays)
    except TypeError as error:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(
            f"expected arrays of one array library (NumPy, CuPy, ...), found {names}; "
            "convert them first, for example with numpy.asarray"
        ) from error
    _NAMESPACES.update(dict.fromkeys(kinds, xp))
    return xp


def device(a: Array) -> Any:
    """Return where an array lies; None while JAX compiles, when it lies nowhere."""
    return array_api_compat.device(a)


def in_steps(a: Array) -> bool:
    """Say whether a library does one operation after another on the processor: NumPy does."""
    return bool(array_api_compat.is_numpy_array(a))


def in_sight(a: Array) -> bool:
    """Say whether a look at an array's values costs nothing: NumPy's own lie on the host."""
    return in_steps(a) and type(a).__module__ == "numpy"


def assign(a: Array, index: Any, values: Array) -> Array:
    """Return ``a`` with ``a[index] = values``: in place, but for JAX, whose arrays never change."""
    if hasattr(a, "at"):
        return a.at[index].set(values)
    a[index] = values
    return a


def add_to(a: Array, index: Any, values: Array) -> Array:
    """Return ``a`` with ``a[index] += values``, as :func:`assign` does."""
    if hasattr(a, "at"):
        return a.at[index].add(values)
    a[index] += values
    return a


_NAMESPACES: dict[type, Any] = {}  # looked up at every call, so remembered by type
