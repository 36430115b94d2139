"""The fused GPU backend: ``lft_ref.ops`` as CUDA kernels, compiled by CuPy once per size.

Same names, signatures and results as the reference, to within rounding. A call sends work to the
current stream and never waits for it. What the kernels do not serve goes to the reference.
"""

from __future__ import annotations

import functools
import math
import threading
from pathlib import Path
from typing import Any, NamedTuple

import cupy
import numpy as np

from lft_backends.kernels import LARGEST_P
from lft_ref import REFERENCE, Identity, LogSign, Ops
from lft_ref._array import Array
from lft_ref.lstm import Cell, LSTMState
from lft_ref.params import Columns, LSTMParams, shapes, size, unflatten

SOURCE = Path(__file__).parent / "kernels" / "lstm.cu"
MAX_N, MAX_M = 64, 4
SHARED_BYTES, CONSTANT_BYTES = 48 * 1024, 64 * 1024  # what every GPU has, without asking
GRID_Y = 65535  # largest second axis of a grid; kernels loop over further tasks
SUM_COLUMNS, SUM_ROWS = 32, 16  # as in lstm.cu
NAMES = ("lft_pack", "lft_step", "lft_vjp", "lft_sum", "lft_forward")
GIVEN, IDENTITY, LOG_SIGN = 0, 1, 2  # LFT_INPUT


class Kernels(NamedTuple):
    """The kernels for one (n, m, dtype, preprocessing) on one device."""

    module: Any  # keeps constant memory alive
    functions: dict[str, Any]  # by name
    block: int
    phi: Array  # Φ as the kernels read it, a workspace
    constant: Any  # constant memory for Φ; None where it does not fit
    turn: _Turn


class _Turn:
    """Whose turn it is to use the one copy of Φ: calls of other threads and streams wait.

    Streams wait for one another on the device; the host does not.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.stream: Any = None

    def take(self, stream: Any) -> None:
        if self.stream is not None and self.stream.ptr != stream.ptr:
            stream.wait_event(self.stream.record())
        self.stream = stream


def layout(n: int, m: int, itemsize: int) -> tuple[int, int]:
    """Return (threads of a block, units summed together) so that shared memory is enough.

    For each coordinate of a tile the vjp keeps m + n inputs, ȳ, and 5 numbers for each unit of a
    group; the last group shall not be much smaller than the others.
    """
    for block in (128, 64):
        rows = SHARED_BYTES // itemsize // (block + 1)
        most = min((rows - (m + n) - 1) // 5, n)
        if most >= min(2, n):
            break
    return block, math.ceil(n / math.ceil(n / most))


def options(n: int, m: int, dtype: str, kind: int) -> tuple[str, ...]:
    """Return the names that lstm.cu is compiled with."""
    itemsize = np.dtype(dtype).itemsize
    block, group = layout(n, m, itemsize)
    defined = {
        "REAL": "float" if itemsize == 4 else "double",
        "N": n,
        "M": m,
        "INPUT": kind,
        "CONSTANT": int(phi_bytes(n, m, itemsize) <= CONSTANT_BYTES),
        "BLOCK": block,
        "GROUP": group,
    }
    return ("--std=c++17", *(f"-DLFT_{name}={value}" for name, value in defined.items()))


def phi_bytes(n: int, m: int, itemsize: int) -> int:
    """Return the size of ``Phi`` in lstm.cu, which is padded to 16 bytes."""
    return 16 * math.ceil(size(m, n) * itemsize / 16)


def kernels(n: int, m: int, dtype: str, kind: int) -> Kernels:
    """Return the kernels for the current device; CuPy compiles once and caches on disk."""
    with _ONE_AT_A_TIME:  # two copies would share constant memory, but not whose turn it is
        return _kernels(n, m, dtype, kind, cupy.cuda.runtime.getDevice())


_ONE_AT_A_TIME = threading.Lock()


@functools.cache
def _kernels(n: int, m: int, dtype: str, kind: int, device: int) -> Kernels:  # noqa: ARG001
    chosen, itemsize = options(n, m, dtype, kind), np.dtype(dtype).itemsize
    module = cupy.RawModule(code=SOURCE.read_text(encoding="utf-8"), options=chosen)
    return Kernels(
        module,
        {name: module.get_function(name) for name in NAMES},
        layout(n, m, itemsize)[0],
        cupy.empty(phi_bytes(n, m, itemsize) // itemsize, dtype=dtype),
        module.get_global("lft_phi") if "-DLFT_CONSTANT=1" in chosen else None,
        _Turn(),
    )


class _Call(NamedTuple):
    """One call's arguments as the kernels take them."""

    kernels: Kernels
    params: LSTMParams
    fed: tuple[Any, ...]  # g, x, dx/dg, p, e^-p, e^p, output scale
    state: tuple[Array, Array]  # h, c (tasks, n, d)
    tasks: int
    d: int

    def launch(self, name: str, blocks: int, *arguments: Any) -> None:
        """Bring Φ to where the kernel reads it, then start the kernel."""
        k, params = self.kernels, self.params
        with k.turn.lock:
            stream = cupy.cuda.get_current_stream()
            k.turn.take(stream)
            k.functions["lft_pack"](
                (math.ceil(size(params.m, params.n) / 128),),
                (128,),
                (*map(cupy.ascontiguousarray, params), k.phi),
            )
            if k.constant is not None:
                k.constant.copy_from_device_async(k.phi.data, k.phi.nbytes, stream)
            k.functions[name](
                (blocks, min(self.tasks, GRID_Y)),
                (k.block,),
                (k.phi, *self.fed, *self.state, *arguments),
            )


def _served(
    params: LSTMParams,
    cell: Cell,
    g: Array,
    state: LSTMState,
    others: tuple[tuple[Array, tuple[int, ...]], ...],
) -> bool:
    """Whether the kernels can do it, and everything belongs together: they look at no bounds."""
    n, m, dtype = params.n, params.m, g.dtype
    arrays = (state.h, (n,)), (state.c, (n,)), *others
    return (
        1 <= n <= MAX_N
        and 1 <= m <= MAX_M
        and dtype in (np.float32, np.float64)
        and g.ndim > 0
        and g.size > 0
        and m == cell.preprocess.m
        and tuple(a.shape for a in params) == shapes(m, n)
        and all(a.dtype == dtype for a in params)
        and all(a.dtype == dtype and a.shape == (*g.shape, *own) for a, own in arrays)
    )


def _prepare(
    params: LSTMParams,
    cell: Cell,
    g: Array,
    state: LSTMState,
    *others: tuple[Array, tuple[int, ...]],
) -> _Call | None:
    """Return what the kernels need, or None where the reference must do the work.

    What does not fit is left to the reference too, which broadcasts it or says what is wrong.
    ``others`` are further arrays with the axes that they must have after those of g (..., d).
    """
    if not _served(params, cell, g, state, others):
        return None
    n, m, d, dtype = params.n, params.m, g.shape[-1], g.dtype
    kind, p = _kind(cell)
    flat = cupy.ascontiguousarray(g)
    x = slope = flat
    if kind == GIVEN:
        x = cupy.ascontiguousarray(cell.preprocess.features(g).mT)
        slope = cupy.ascontiguousarray(cell.preprocess.derivative(g).mT)
    scalars = (p, math.exp(-p), math.exp(p), cell.output_scale)
    return _Call(
        kernels(n, m, dtype.name, kind),
        params,
        (flat, x, slope, *map(dtype.type, scalars)),
        _feature_major(state),
        g.size // d,
        d,
    )


def _kind(cell: Cell) -> tuple[int, float]:
    """LFT_INPUT and p; a class of a user's own, also one derived from ours, is called."""
    if type(cell.preprocess) is LogSign and cell.preprocess.p <= LARGEST_P:
        return LOG_SIGN, float(cell.preprocess.p)
    return (IDENTITY if type(cell.preprocess) is Identity else GIVEN), 0.0


def _feature_major(state: LSTMState) -> tuple[Array, Array]:
    """(h, c) as (..., n, d); no copy for what :func:`step` returned."""
    return cupy.ascontiguousarray(state.h.mT), cupy.ascontiguousarray(state.c.mT)


def step(params: LSTMParams, cell: Cell, g: Array, state: LSTMState) -> tuple[Array, LSTMState]:
    """Fused twin of :func:`lft_ref.lstm.step`."""
    call = _prepare(params, cell, g, state)
    if call is None:
        return REFERENCE.step(params, cell, g, state)
    delta = cupy.empty(g.shape, dtype=g.dtype)
    h_new, c_new = (cupy.empty(a.shape, dtype=a.dtype) for a in call.state)
    blocks = math.ceil(call.d / call.kernels.block)
    call.launch("lft_step", blocks, delta, h_new, c_new, np.int64(call.tasks), np.int64(call.d))
    return delta, LSTMState(h_new.mT, c_new.mT)


def vjp(
    params: LSTMParams,
    cell: Cell,
    g: Array,
    state: LSTMState,
    delta_bar: Array,
    state_bar: LSTMState,
) -> tuple[LSTMParams, Array, LSTMState]:
    """Fused twin of :func:`lft_ref.lstm.vjp`."""
    others = (delta_bar, ()), (state_bar.h, (params.n,)), (state_bar.c, (params.n,))
    call = _prepare(params, cell, g, state, *others)
    if call is None:
        return REFERENCE.vjp(params, cell, g, state, delta_bar, state_bar)
    n, m, tasks = params.n, params.m, call.tasks
    blocks, tiles_per_block = vjp_grid(call.d, call.kernels.block, n)
    g_bar = cupy.empty(g.shape, dtype=g.dtype)
    h_old, c_old = (cupy.empty(a.shape, dtype=a.dtype) for a in call.state)
    partial = cupy.empty((tasks, blocks, size(m, n)), dtype=g.dtype)
    sums = cupy.empty((*g.shape[:-1], size(m, n)), dtype=g.dtype)
    bars = cupy.ascontiguousarray(delta_bar), *_feature_major(state_bar)
    d = np.int64(call.d)
    call.launch(
        "lft_vjp", blocks, *bars, g_bar, h_old, c_old, partial,
        np.int64(tasks), d, np.int64(tiles_per_block),
    )  # fmt: skip
    call.kernels.functions["lft_sum"](
        (math.ceil(size(m, n) / SUM_COLUMNS), min(tasks, GRID_Y)),
        (SUM_COLUMNS, SUM_ROWS),
        (partial, sums, np.int64(tasks), np.int64(blocks)),
    )
    return unflatten(sums, m, n), g_bar, LSTMState(h_old.mT, c_old.mT)


def vjp_grid(d: int, block: int, n: int) -> tuple[int, int]:
    """Return (blocks, tiles of each): it decides the order of sums, so it depends on sizes alone.

    About 1,000 blocks keep a GPU busy. Beyond that, blocks take more tiles each, up to where what
    they hand over, about 4n² numbers, is little beside the state that they read, n numbers for each
    coordinate.
    """
    tiles = math.ceil(d / block)
    tiles_per_block = min(max(math.ceil(tiles / 1024), 1), max(8, 2 * n))
    return math.ceil(tiles / tiles_per_block), tiles_per_block


def forward_update(
    params: LSTMParams,
    cell: Cell,
    g: Array,
    state: LSTMState,
    G: Array,
    G_dot: Array,
    H: Array,
    columns: Columns,
) -> tuple[Array, Array]:
    """Fused twin of :func:`lft_ref.ops.forward_update`."""
    n, width = params.n, columns.width(params.n)
    others = (G, (width,)), (G_dot, (width,)), (H, (2 * n, width))
    call = _prepare(params, cell, g, state, *others)
    if call is None or not 0 <= columns.first <= columns.last <= params.m + n + 1:
        return REFERENCE.forward_update(params, cell, g, state, G, G_dot, H, columns)
    G_next, H_next = (cupy.empty(a.shape, dtype=a.dtype) for a in (G, H))
    call.launch(
        "lft_forward", call.d, *map(cupy.ascontiguousarray, (G, G_dot, H)), G_next, H_next,
        np.int64(call.tasks), np.int64(call.d),
        np.int32(columns.first), np.int32(columns.last), np.int32(width),
    )  # fmt: skip
    return G_next, H_next


OPS = Ops(step, vjp, forward_update)
"""Fused twins of the functions in ``lft_ref.ops``."""
