"""The fused GPU twin of a perceptron that is tuned: all layers of all tasks in one launch.

A layer of a small network is less work than starting a kernel, and the reference starts several for
each. Results are those of ``lft_ref.networks``, to within rounding. What is not served, also a
network or a data set that one block would be too slow for, goes to the reference's matrix products.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import cupy
import numpy as np

from lft_backends.kernels.dense_table import N_IN, N_OUT
from lft_backends.own_weights import Perceptron, is_perceptron, table_of
from lft_ref import Network
from lft_ref._array import Array
from lft_ref.networks import Optimizee

SOURCE = Path(__file__).parent / "kernels" / "mlp.cu"
BLOCK = 256  # threads of a block, which does one task
# A block does some 40 multiply-adds a cycle (an estimate), so that one pass over this many products
# takes as long as starting the few launches that it replaces.
MOST_PRODUCTS = 2**20
NAMES = ("forwards", "backwards", "forwards_dot", "backwards_dot")


@cache
def fuse(network: Network) -> Optimizee:
    """Return the network's twin if there is one, and otherwise the network itself."""
    if not is_perceptron(network):
        return network
    return CudaMLP(network, network.first, table_of(network))


def rows(a: Array, axes: int) -> Array:
    """Return the array contiguous, with its last ``axes`` axes and one before them."""
    a = cupy.ascontiguousarray(a)
    return a.reshape((-1, *a.shape[a.ndim - axes :]))


class CudaMLP(Perceptron):
    """A perceptron by CUDA kernels, on CuPy arrays."""

    xp: ClassVar[Any] = cupy
    rows: ClassVar[Any] = staticmethod(rows)

    @property
    def kernels(self) -> MLPKernels:
        """The kernels of :file:`kernels/mlp.cu`, on the current device."""
        return MLPKernels(self.table)

    def _batch(self, theta: Array, x: Array) -> tuple[int, ...] | None:
        shape = super()._batch(theta, x)
        return shape if shape is not None and shape[-1] * self.size <= MOST_PRODUCTS else None


class MLPKernels:
    """Starts the kernels for the layers of one table; arguments are as in :mod:`.kernels.mlp_cpu`.

    Where :class:`.own_weights.Perceptron` puts them together, everything is contiguous and fits.
    """

    def __init__(self, table: np.ndarray) -> None:
        self.widths = (*map(int, table[:, N_IN]), int(table[-1, N_OUT]))

    def forwards(self, theta: Array, x: Array, table: Array, hidden: Array, y: Array) -> None:
        """Fill ``hidden`` and y (tasks, N, n_out)."""
        self._launch("forwards", x, y.shape, theta, x, hidden, y)

    def backwards(
        self, theta: Array, x: Array, table: Array, hidden: Array, y_bar: Array, theta_bar: Array
    ) -> None:
        """Fill theta_bar (tasks, d)."""
        room = self._room(2, y_bar)
        self._launch("backwards", x, y_bar.shape, theta, x, hidden, y_bar, room, theta_bar)

    def forwards_dot(
        self,
        theta: Array,
        x: Array,
        table: Array,
        hidden: Array,
        theta_dot: Array,
        hidden_dot: Array,
        y_dot: Array,
    ) -> None:
        """Fill ``hidden_dot`` and y_dot (tasks, N, n_out)."""
        arrays = theta, x, hidden, theta_dot, hidden_dot, y_dot
        self._launch("forwards_dot", x, y_dot.shape, *arrays)

    def backwards_dot(
        self,
        theta: Array,
        x: Array,
        table: Array,
        hidden: Array,
        y_bar: Array,
        theta_dot: Array,
        hidden_dot: Array,
        y_bar_dot: Array,
        theta_bar_dot: Array,
    ) -> None:
        """Fill theta_bar_dot (tasks, d)."""
        given = theta, x, hidden, y_bar, theta_dot, hidden_dot, y_bar_dot
        room = self._room(4, y_bar)
        self._launch("backwards_dot", x, y_bar.shape, *given, room, theta_bar_dot)

    def _room(self, arrays: int, y_bar: Array) -> Array:
        """Where the kernels keep cotangents of hidden layers, by turns."""
        tasks, N, _ = y_bar.shape
        return cupy.empty((tasks, arrays, N, _widest(self.widths)), dtype=y_bar.dtype)

    def _launch(self, name: str, x: Array, shape: tuple[int, ...], *arrays: Array) -> None:
        tasks, N, _ = shape
        functions = _functions(self.widths, x.dtype.name, cupy.cuda.runtime.getDevice())
        functions[name]((tasks,), (BLOCK,), (*arrays, np.int64(x.shape[0]), np.int32(N)))


def options(widths: tuple[int, ...], dtype: str) -> tuple[str, ...]:
    """Return the names that mlp.cu is compiled with."""
    defined = {
        "REAL": "float" if dtype == "float32" else "double",
        "WIDTHS": ",".join(map(str, widths)),
        "WIDEST": _widest(widths),
        "BLOCK": BLOCK,
    }
    return ("--std=c++17", *(f"-DLFT_{name}={value}" for name, value in defined.items()))


def _widest(widths: tuple[int, ...]) -> int:
    return max(widths[1:-1], default=1)


@cache
def _functions(widths: tuple[int, ...], dtype: str, device: int) -> dict[str, Any]:  # noqa: ARG001
    """Compile for these widths, dtype and device; CuPy keeps what it compiles on disk."""
    code = SOURCE.read_text(encoding="utf-8")
    module = cupy.RawModule(code=code, options=options(widths, dtype))
    return {name: module.get_function(f"lft_mlp_{name}") for name in NAMES}
