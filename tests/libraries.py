"""The array libraries that tests run on: how arrays are sent there, and brought back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Library(NamedTuple):
    """An array library under test: how to send arrays there and back."""

    name: str
    put_array: Callable[[np.ndarray], Any]
    get_array: Callable[[Any], np.ndarray]
    module: Any

    def put(self, tree: Any) -> Any:
        """Send every NumPy array in nested tuples, lists and NamedTuples to the library."""
        return _map(lambda a: self.put_array(np.asarray(a)), tree, (np.ndarray, np.generic))

    def get(self, tree: Any) -> Any:
        """Bring every array back to NumPy; none may be of another library or on another device."""
        own = type(self.put_array(np.zeros(1)))
        kinds = (own, np.ndarray, np.generic)

        def get_own(a: Any) -> np.ndarray:
            scalar = issubclass(own, np.ndarray) and isinstance(a, np.generic)
            assert isinstance(a, own) or scalar, f"{self.name}: found a {type(a)}"
            return self.get_array(a)

        return _map(get_own, tree, kinds)


def _map(f: Callable[[Any], Any], tree: Any, kinds: tuple[type, ...]) -> Any:
    if isinstance(tree, kinds):
        return f(tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(_map(f, leaf, kinds) for leaf in tree))
    if isinstance(tree, tuple | list):
        return type(tree)(_map(f, leaf, kinds) for leaf in tree)
    return tree


def _numpy() -> Library:
    return Library("numpy", np.array, np.asarray, np)


def _read_only() -> Library:
    def put(a: np.ndarray) -> np.ndarray:
        a = a.copy()
        a.flags.writeable = False
        return a

    return Library("numpy, read-only", put, np.asarray, np)


def _strict(device: str) -> Library:
    import array_api_strict as strict

    there, here = strict.Device(device), strict.Device("CPU_DEVICE")

    def get(a: Any) -> np.ndarray:
        assert a.device == there, f"a result lies on {a.device}, its arguments on {there}"
        return np.asarray(a.to_device(here))

    return Library(
        f"array-api-strict on {device}", lambda a: strict.asarray(a, device=there), get, strict
    )


def _cupy() -> Library:
    import cupy

    if not cupy.cuda.is_available():
        raise RuntimeError("CuPy finds no CUDA device")
    return Library("cupy", cupy.asarray, cupy.asnumpy, cupy)


LIBRARIES: dict[str, Callable[[], Library]] = {
    "numpy": _numpy,
    "numpy-read-only": _read_only,
    "strict": lambda: _strict("CPU_DEVICE"),
    "strict-device1": lambda: _strict("device1"),
    "cupy": _cupy,
}
