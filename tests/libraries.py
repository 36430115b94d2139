"""The array libraries that tests run on: how arrays are sent there, and brought back."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from lft_backends.backend import OLDEST, Backend, BackendUnavailable, get_backend
from lft_backends.libraries import import_library
from lft_ref import Ops


class Library(NamedTuple):
    """An array library under test: how to send arrays there and back."""

    name: str
    put_array: Callable[[np.ndarray], Any]
    get_array: Callable[[Any], np.ndarray]
    module: Any
    ops: Ops | None = None  # its twins of the cell's functions, where it has some

    def put(self, tree: Any) -> Any:
        """Send every NumPy array in nested tuples, lists and NamedTuples to the library.

        Twins, where there are some, take the place of the cell's functions.
        """

        def put_own(a: Any) -> Any:
            return self.ops if isinstance(a, Ops) else self.put_array(np.asarray(a))

        kinds = (np.ndarray, np.generic) if self.ops is None else (np.ndarray, np.generic, Ops)
        return _map(put_own, tree, kinds)

    def get(self, tree: Any) -> Any:
        """Bring every array back to NumPy; none may be of another library or on another device."""
        own = type(self.put_array(np.zeros(1)))
        kinds = (own, np.ndarray, np.generic)

        def get_own(a: Any) -> np.ndarray:
            scalar = issubclass(own, np.ndarray) and isinstance(a, np.generic)
            assert isinstance(a, own) or scalar, f"{self.name}: found a {type(a)}"
            return self.get_array(a)

        return _map(get_own, tree, kinds)

    def call(self, f: Callable[[Any], Any], tree: Any) -> Any:
        """Call a function; JAX compiles it as a whole, which is how it is meant to be used."""
        return _jitted(f, tree) if self.name == "jax" else f(tree)


def _jitted(f: Callable[[Any], Any], tree: Any) -> list[Any]:
    """The arrays that ``f(tree)`` returns; what is no array in ``tree`` is fixed."""
    import jax

    arrays: list[Any] = []
    _map(arrays.append, tree, (jax.Array,))

    def compiled(given: list[Any]) -> list[Any]:
        rest, found = iter(given), list[Any]()
        _map(found.append, f(_map(lambda _: next(rest), tree, (jax.Array,))), (jax.Array,))
        return found

    results: list[Any] = jax.jit(compiled)(arrays)
    return results


def _map(f: Callable[[Any], Any], tree: Any, kinds: tuple[type, ...]) -> Any:
    if isinstance(tree, kinds):
        return f(tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(_map(f, leaf, kinds) for leaf in tree))
    if isinstance(tree, tuple | list):
        return type(tree)(_map(f, leaf, kinds) for leaf in tree)
    if isinstance(tree, dict):
        return {name: _map(f, leaf, kinds) for name, leaf in tree.items()}
    return tree


def _numpy() -> Library:
    return Library("numpy", np.array, np.asarray, np)


def _put_read_only(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.flags.writeable = False
    return a


def _read_only() -> Library:
    return Library("numpy, read-only", _put_read_only, np.asarray, np)


def _numba(put: Callable[[np.ndarray], np.ndarray]) -> Library:
    """NumPy's arrays, with Numba's twins of the cell's functions wherever ops are handed in."""
    return Library("numba", put, np.asarray, np, get_backend("numba").ops)


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
    """CuPy's arrays, with the CUDA twins of the cell's functions wherever ops are handed in."""
    ops = get_backend("cupy").ops  # or says what is missing
    import cupy

    return Library("cupy", cupy.asarray, cupy.asnumpy, cupy, ops)


def _torch(device: str) -> Library:
    there = get_backend("torch", device=device).device
    import torch

    def get(a: Any) -> np.ndarray:
        assert a.device.type == there.type, f"a result lies on {a.device}, not on {there}"
        return a.cpu().numpy()

    return Library(f"torch on {device}", lambda a: torch.tensor(a, device=there), get, torch)


def _jax() -> Library:
    # Compile quickly rather than well.
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
    jax = import_library("jax", "pip install 'lft-ref[jax]'", OLDEST["jax"])

    def get(a: Any) -> np.ndarray:
        return np.asarray(a)

    jax.config.update("jax_enable_x64", True)
    return Library("jax", jax.numpy.asarray, get, jax)


LIBRARIES: dict[str, Callable[[], Library]] = {
    "numpy": _numpy,
    "numpy-read-only": _read_only,
    "numba": lambda: _numba(np.array),
    "numba-read-only": lambda: _numba(_put_read_only),
    "strict": lambda: _strict("CPU_DEVICE"),
    "strict-device1": lambda: _strict("device1"),
    "cupy": _cupy,
    "torch": lambda: _torch("cpu"),
    "torch-cuda": lambda: _torch("cuda"),
    "jax": _jax,
}
ON_A_GPU = ("cupy", "torch-cuda")


def usable(name: str, *arguments: str | None) -> Backend:
    """Return a backend; skip the test, for the reason that the probe gives, where it has none."""
    try:
        return get_backend(name, *arguments)
    except BackendUnavailable as error:
        pytest.skip(str(error))
