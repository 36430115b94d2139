"""The array namespace of the arguments: the only place that knows of array-api-compat."""

from __future__ import annotations

from typing import Any, TypeAlias

from array_api_compat import array_namespace as _array_namespace

Array: TypeAlias = Any
"""An array of any library that follows the Python array API standard."""


def namespace(*arrays: Array) -> Any:
    """Return the array namespace ``xp`` that ``arrays`` share.

    Raises:
        ValueError: if none of ``arrays`` is an array of a known library, or they mix libraries.
    """
    try:
        return _array_namespace(*arrays)
    except TypeError as error:
        kinds = ", ".join(sorted({type(a).__name__ for a in arrays}))
        raise ValueError(
            f"expected arrays of one array library (NumPy, CuPy, ...), found {kinds}; "
            "convert them first, for example with numpy.asarray"
        ) from error
