"""The fused CPU backend: ``lft_ref.ops`` with the cell's functions replaced by Numba kernels.

Same names, signatures and results as the reference, to within rounding. The kernels are compiled
once on first use (some seconds) and cached on disk. Results do not depend on the number of threads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lft_backends.kernels import LARGEST_P, forward_cpu, lstm_cpu
from lft_backends.memory import empty
from lft_backends.threads import share_out, threads
from lft_ref import REFERENCE, Identity, LogSign, Ops
from lft_ref.lstm import Cell, LSTMState
from lft_ref.params import Columns, LSTMParams

FEW = 4096  # coordinates below which a second thread costs more than it gives


def rows(a: np.ndarray, rank: int) -> np.ndarray:
    """Collapse the batch axes into one; contiguous and writeable, as kernels are compiled for."""
    if a.ndim == rank:
        a = a[None]
    elif a.ndim != rank + 1:
        batch, rest = a.shape[: a.ndim - rank], a.shape[a.ndim - rank :]
        a = a.reshape((math.prod(batch), *rest))
    return _usable(a)


def _batched(a: np.ndarray, batch: tuple[int, ...]) -> np.ndarray:
    """Undo :func:`rows`."""
    if len(batch) == 1:
        return a
    return a.reshape((*batch, *a.shape[1:])) if batch else a[0]


def _usable(a: np.ndarray) -> np.ndarray:
    return a if a.flags.carray else np.array(a, order="C")


def _weights(params: LSTMParams) -> tuple[Any, ...]:
    """W_x, W_h, b, w_o as the kernels take them."""
    W_x, W_h, b, w_o, _ = params
    return _usable(W_x), _usable(W_h), _usable(b), _usable(w_o)


def _preprocess(cell: Cell) -> tuple[float, bool] | None:
    """p, and whether it is log/sign; None for other classes, also ones derived from ours."""
    if type(cell.preprocess) is LogSign and cell.preprocess.p <= LARGEST_P:
        return float(cell.preprocess.p), True
    return (0.0, False) if type(cell.preprocess) is Identity else None


def _fit(params: LSTMParams, g: np.ndarray, *states: LSTMState) -> bool:
    """Whether Φ, g (..., d) and the states belong together: kernels look at no bounds.

    What does not fit is left to the reference, which broadcasts it or says what is wrong.
    """
    (W_x, W_h, b, w_o, b_o), dtype = params, g.dtype
    if dtype.char not in "fd" or not dtype.isnative or g.ndim == 0:
        return False
    m, n = W_x.shape[0], w_o.size
    shape = (*g.shape, n)
    for state in states:
        h, c = state
        if h.shape != shape or c.shape != shape or h.dtype != dtype or c.dtype != dtype:
            return False
    shapes = W_x.shape, W_h.shape, b.shape, w_o.shape, b_o.shape
    return shapes == ((m, 4 * n), (n, 4 * n), (4 * n,), (n,), ()) and (
        W_x.dtype == W_h.dtype == b.dtype == w_o.dtype == b_o.dtype == dtype
    )


def _run(kernel: Any, pieces: int, coordinates: int, *arguments: Any) -> None:
    """Run a kernel on all pieces."""
    if coordinates < FEW:
        kernel(0, pieces, *arguments)
    else:
        share_out(pieces, lambda first, last: kernel(first, last, *arguments), threads())


def step(
    params: LSTMParams, cell: Cell, g: np.ndarray, state: LSTMState
) -> tuple[np.ndarray, LSTMState]:
    """Fused twin of :func:`lft_ref.lstm.step`."""
    kind = _preprocess(cell)
    if kind is None or params.m != cell.preprocess.m or not _fit(params, g, state):
        return REFERENCE.step(params, cell, g, state)
    real, dtype, flat_g = g.dtype.type, g.dtype, rows(g, 1)
    h, c = rows(state.h.mT, 2), rows(state.c.mT, 2)
    delta = np.empty(flat_g.shape, dtype)
    h_new, c_new = empty(h.shape, dtype), empty(h.shape, dtype)
    tasks, d = flat_g.shape
    _run(
        lstm_cpu.step_pieces, tasks * -(-d // lstm_cpu.PIECE), g.size,
        *_weights(params), real(params.b_o), flat_g, h, c, *kind, real(cell.output_scale),
        delta, h_new, c_new,
    )  # fmt: skip
    batch = g.shape[:-1]
    new = LSTMState(_batched(h_new, batch).mT, _batched(c_new, batch).mT)
    return _batched(delta, batch), new


def vjp(
    params: LSTMParams,
    cell: Cell,
    g: np.ndarray,
    state: LSTMState,
    delta_bar: np.ndarray,
    state_bar: LSTMState,
) -> tuple[LSTMParams, np.ndarray, LSTMState]:
    """Fused twin of :func:`lft_ref.lstm.vjp`."""
    kind, same = _preprocess(cell), delta_bar.shape == g.shape and delta_bar.dtype == g.dtype
    fits = params.m == cell.preprocess.m and same and _fit(params, g, state, state_bar)
    if kind is None or not fits:
        return REFERENCE.vjp(params, cell, g, state, delta_bar, state_bar)
    h, c = rows(state.h.mT, 2), rows(state.c.mT, 2)
    h_bar, c_bar = rows(state_bar.h.mT, 2), rows(state_bar.c.mT, 2)
    flat_g, flat_bar, dtype = rows(g, 1), rows(delta_bar, 1), g.dtype
    (tasks, d), n, r = flat_g.shape, h.shape[1], h.shape[1] + params.m + 1
    each = -(-d // lstm_cpu.PIECE)
    sums = np.empty((tasks * each, 4 * n * r + n + 1), dtype)
    g_bar = np.empty(flat_g.shape, dtype)
    h_old, c_old = empty(h.shape, dtype), empty(h.shape, dtype)
    _run(
        lstm_cpu.vjp_pieces, tasks * each, g.size,
        *_weights(params), flat_g, h, c, *kind, dtype.type(cell.output_scale), flat_bar,
        h_bar, c_bar, sums, g_bar, h_old, c_old,
    )  # fmt: skip
    batch = g.shape[:-1]
    old = LSTMState(_batched(h_old, batch).mT, _batched(c_old, batch).mT)
    return _sums(sums, (*batch, each), r, n), _batched(g_bar, batch), old


def _sums(sums: np.ndarray, batch: tuple[int, ...], r: int, n: int) -> LSTMParams:
    """Add up the pieces of each task, (pieces, P), and take Φ̄ apart, as it is flattened."""
    by_piece = sums.reshape((*batch, sums.shape[-1]))
    flat = by_piece[..., 0, :] if batch[-1] == 1 else by_piece.sum(axis=-2)
    W = flat[..., : 4 * n * r].reshape((*batch[:-1], r, 4 * n))
    return LSTMParams(
        W_x=W[..., : r - 1 - n, :],
        W_h=W[..., r - 1 - n : -1, :],
        b=W[..., -1, :],
        w_o=flat[..., 4 * n * r : -1],
        b_o=flat[..., -1],
    )


def forward_update(
    params: LSTMParams,
    cell: Cell,
    g: np.ndarray,
    state: LSTMState,
    G: np.ndarray,
    G_dot: np.ndarray,
    H: np.ndarray,
    columns: Columns,
) -> tuple[np.ndarray, np.ndarray]:
    """Fused twin of :func:`lft_ref.ops.forward_update`."""
    P = columns.width(params.n)
    shapes = ((*g.shape, P), (*g.shape, P), (*g.shape, 2 * params.n, P))
    before = G, G_dot, H
    known = 0 <= columns.first <= columns.last <= params.m + params.n + 1
    fits = known and params.m == cell.preprocess.m and _fit(params, g, state)
    if not fits or any(
        a.shape != s or a.dtype != g.dtype for a, s in zip(before, shapes, strict=True)
    ):
        return REFERENCE.forward_update(params, cell, g, state, G, G_dot, H, columns)
    x = np.array(cell.preprocess.features(g), g.dtype).reshape((g.size, params.m))
    slope = np.array(cell.preprocess.derivative(g), g.dtype).reshape((g.size, params.m))
    h, c = (np.array(a, order="C").reshape((g.size, params.n)) for a in state)
    flat = rows(G, 1), rows(G_dot, 1), rows(H, 2)
    after = np.empty_like(flat[0]), np.empty_like(flat[2])
    _run(
        forward_cpu.forward_pieces, g.size, g.size * P,
        *_weights(params), x, slope, h, c, g.dtype.type(cell.output_scale), *flat, *after,
        columns.first, columns.last, columns.output,
    )  # fmt: skip
    return after[0].reshape(G.shape), after[1].reshape(H.shape)


OPS = Ops(step, vjp, forward_update)
"""Fused twins of the functions in ``lft_ref.ops``."""
