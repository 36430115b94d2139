"""The fused CPU backend: ``lft_ref.ops`` with the cell's step and vjp replaced by Numba kernels.

Same names, signatures and results as the reference, to within rounding. The kernels are compiled
once on first use (some seconds) and cached on disk.
"""

from __future__ import annotations

import math

import numpy as np

from lft_backends.kernels import lstm_cpu
from lft_ref import REFERENCE, Identity, LogSign, Ops
from lft_ref.lstm import Cell, LSTMState
from lft_ref.params import LSTMParams


def rows(a: np.ndarray, rank: int) -> np.ndarray:
    """Collapse the batch axes into one; contiguous and writeable, as kernels are compiled for."""
    if a.ndim == rank + 1 and a.flags.c_contiguous and a.flags.writeable:
        return a
    batch, rest = a.shape[: a.ndim - rank], a.shape[a.ndim - rank :]
    flat = np.ascontiguousarray(a).reshape((math.prod(batch), *rest))
    return flat if flat.flags.writeable else flat.copy()


def _weights(params: LSTMParams) -> np.ndarray:
    """The gates' weights of (h, x, 1), each gate's as one row: (4n, n + m + 1)."""
    return np.concatenate([params.W_h, params.W_x, params.b[None, :]]).T


def _halved(W: np.ndarray) -> np.ndarray:
    """Halve the rows of the logistic gates: σ(z) = ½ tanh(z/2) + ½."""
    n = W.shape[0] // 4
    W = np.array(W, order="C")
    W[: 2 * n] *= W.dtype.type(0.5)
    W[3 * n :] *= W.dtype.type(0.5)
    return W


def _preprocess(cell: Cell) -> tuple[float, bool] | None:
    """p, and whether it is log/sign; None for other classes, also ones derived from ours."""
    if type(cell.preprocess) is LogSign:
        return float(cell.preprocess.p), True
    return (0.0, False) if type(cell.preprocess) is Identity else None


def step(
    params: LSTMParams, cell: Cell, g: np.ndarray, state: LSTMState
) -> tuple[np.ndarray, LSTMState]:
    """Fused twin of :func:`lft_ref.lstm.step`."""
    kind = _preprocess(cell)
    if kind is None:
        return REFERENCE.step(params, cell, g, state)
    W, w_o = _halved(_weights(params)), rows(params.w_o, 1)[0]
    h, c = (rows(a.mT, 2) for a in state)
    flat_g = rows(g, 1)
    delta, h_new, c_new = np.empty_like(flat_g), np.empty_like(h), np.empty_like(c)
    scale = g.dtype.type(cell.output_scale)
    lstm_cpu.step_tasks(
        W, w_o, g.dtype.type(params.b_o), flat_g, h, c, *kind, scale, delta, h_new, c_new
    )
    shape = (*g.shape[:-1], *h.shape[-2:])
    return delta.reshape(g.shape), LSTMState(h_new.reshape(shape).mT, c_new.reshape(shape).mT)


def vjp(
    params: LSTMParams,
    cell: Cell,
    g: np.ndarray,
    state: LSTMState,
    delta_bar: np.ndarray,
    state_bar: LSTMState,
) -> tuple[LSTMParams, np.ndarray, LSTMState]:
    """Fused twin of :func:`lft_ref.lstm.vjp`."""
    kind = _preprocess(cell)
    if kind is None:
        return REFERENCE.vjp(params, cell, g, state, delta_bar, state_bar)
    h, c = (rows(a.mT, 2) for a in state)
    h_bar, c_bar = (rows(a.mT, 2) for a in state_bar)
    flat_g = rows(g, 1)
    y_bar = rows(g.dtype.type(cell.output_scale) * delta_bar, 1)
    tasks, n, m = h.shape[0], params.n, params.m
    weights, w_o = _weights(params), rows(params.w_o, 1)[0]
    W, W_hx = _halved(weights), np.ascontiguousarray(weights.T[:-1])
    W_bar, w_o_bar = np.zeros((tasks, 4 * n, n + m + 1), g.dtype), np.zeros((tasks, n), g.dtype)
    g_bar, h_old, c_old = np.empty_like(flat_g), np.empty_like(h), np.empty_like(c)
    lstm_cpu.vjp_tasks(
        W, W_hx, w_o, flat_g, h, c, *kind, y_bar, h_bar, c_bar,
        W_bar, w_o_bar, g_bar, h_old, c_old,
    )  # fmt: skip
    batch = g.shape[:-1]
    by_input = W_bar.mT  # (tasks, n + m + 1, 4n)
    parts = by_input[:, n:-1], by_input[:, :n], by_input[:, -1], w_o_bar, y_bar.sum(axis=-1)
    grads = (a.reshape((*batch, *a.shape[1:])) for a in parts)
    shape = (*batch, *h.shape[-2:])
    return (
        LSTMParams(*grads),
        g_bar.reshape(g.shape),
        LSTMState(h_old.reshape(shape).mT, c_old.reshape(shape).mT),
    )


OPS = Ops(step, vjp, REFERENCE.forward_update)
