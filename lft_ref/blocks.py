"""The cell on one block of coordinates after another, where that is faster than on all at once.

The cell knows no coordinate but its own, and Φ̄ is a sum over coordinates. NumPy does one operation
after another, so what lies between two of them should stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

from lft_ref._array import Array, add_to, assign, device, in_steps, namespace
from lft_ref.lstm import Cell, LSTMState
from lft_ref.ops import REFERENCE, Ops
from lft_ref.params import LSTMParams, shapes

# Coordinates. The gates of fewer take less time than the calls. Those of more leave the cache, and
# from 10^6 multiply-adds on (n = 10) OpenBLAS's products take twice as long a coordinate.
BLOCK = 1920
FEW = 512  # coordinates up to which tasks of one batch are worked on together


def blockwise(ops: Ops, block: int | None = None) -> Ops:
    """Return ``ops`` whose step and vjp go through tasks and coordinates block by block.

    Args:
        ops: whose functions are called for each block.
        block: coordinates of a block. If None, 1920 for NumPy's arrays of more than 512 coordinates
            a task, and otherwise all: other libraries run operations side by side.

    Blocks depend on d alone, so no task's result depends on the tasks beside it.

    Example:
        >>> import numpy as np
        >>> from lft_ref import Cell, LSTMParams, from_draws, initial_state
        >>> phi = from_draws(np.random.default_rng(0).uniform(-1, 1, 531), m=2, n=10)
        >>> g = np.linspace(-1.0, 1.0, 5)
        >>> arguments = phi, Cell(), g, initial_state(g, n=10)
        >>> blocks, whole = (
        ...     blockwise(REFERENCE, block=2).step(*arguments),
        ...     REFERENCE.step(*arguments),
        ... )
        >>> bool(np.allclose(blocks[0], whole[0]))
        True
    """
    return Ops(partial(_step, ops, block), partial(_vjp, ops, block), ops.forward_update)


def _step(
    ops: Ops, block: int | None, params: LSTMParams, cell: Cell, g: Array, state: LSTMState
) -> tuple[Array, LSTMState]:
    pieces = _pieces(g, block) if _alike(params, g, *state) else []
    if not pieces:
        return ops.step(params, cell, g, state)
    xp = namespace(g)
    delta, (h, c) = xp.empty_like(g), _empty_state(state, xp=xp)
    for some in pieces:
        found, new = ops.step(params, cell, g[some], _take(state, some))
        delta = assign(delta, some, found)
        h, c = (_put(a, some, b) for a, b in zip((h, c), new, strict=True))
    return delta, LSTMState(h.mT, c.mT)


def _vjp(
    ops: Ops,
    block: int | None,
    params: LSTMParams,
    cell: Cell,
    g: Array,
    state: LSTMState,
    delta_bar: Array,
    state_bar: LSTMState,
) -> tuple[LSTMParams, Array, LSTMState]:
    pieces = _pieces(g, block) if _alike(params, g, *state, *state_bar) else []
    if not pieces:
        return ops.vjp(params, cell, g, state, delta_bar, state_bar)
    xp, total = namespace(g), _zero_params(params, g)
    g_bar, (h, c) = xp.empty_like(g), _empty_state(state, xp=xp)
    for some in pieces:
        there = _take(state, some), delta_bar[some], _take(state_bar, some)
        grad, found, old = ops.vjp(params, cell, g[some], *there)
        task = (*some[:-1], ...)
        total = LSTMParams(*(add_to(a, task, b) for a, b in zip(total, grad, strict=True)))
        g_bar = assign(g_bar, some, found)
        h, c = (_put(a, some, b) for a, b in zip((h, c), old, strict=True))
    return total, g_bar, LSTMState(h.mT, c.mT)


def _alike(params: LSTMParams, g: Array, *states: Array) -> bool:
    """Say whether states (..., d, n) are of g's tasks, and all of one dtype: nothing broadcasts."""
    alike = all(a.shape[:-1] == g.shape and a.dtype == g.dtype for a in states)
    return alike and params.W_h.dtype == g.dtype


def _zero_params(params: LSTMParams, g: Array) -> LSTMParams:
    """Zeros like Φ for each task of g (..., d)."""
    zero = partial(namespace(g).zeros, dtype=g.dtype, device=device(g))
    return LSTMParams(*(zero((*g.shape[:-1], *s)) for s in shapes(params.m, params.n)))


def _pieces(g: Array, block: int | None) -> list[tuple[int | slice, ...]]:
    """Indices of blocks, task by task; none if there is nothing to cut."""
    *batch, d = g.shape
    if block is None and (d <= FEW or not in_steps(g)):
        return []
    size = block or BLOCK
    cuts = [slice(a, min(a + size, d)) for a in range(0, d, size)]
    tasks = product(*map(range, batch))
    pieces: list[tuple[int | slice, ...]] = [(*task, cut) for task in tasks for cut in cuts]
    return pieces if len(pieces) > 1 else []


def _empty_state(state: LSTMState, *, xp: Any) -> Iterator[Array]:
    """Room for h and c, feature-major (..., n, d)."""
    return (xp.empty(a.mT.shape, dtype=a.dtype, device=device(a)) for a in state)


def _take(state: LSTMState, some: tuple[int | slice, ...]) -> LSTMState:
    return LSTMState(state.h[(*some, slice(None))], state.c[(*some, slice(None))])


def _put(a: Array, some: tuple[int | slice, ...], rows: Array) -> Array:
    return assign(a, (*some[:-1], slice(None), some[-1]), rows.mT)


BLOCKWISE = blockwise(REFERENCE)
"""The plain reference, block by block on NumPy's arrays: what everything takes by default."""
