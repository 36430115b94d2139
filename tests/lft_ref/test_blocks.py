"""Blocks of coordinates change how long the cell takes, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from lft_ref import BLOCKWISE, REFERENCE, Cell, FineTuner, LSTMState, blockwise
from lft_ref.blocks import BLOCK, FEW
from tests.helpers import assert_close
from tests.random_cases import random_params, random_state


def arguments(batch, d, n=2):
    rng = np.random.default_rng(0)
    g, delta_bar = rng.normal(size=(2, *batch, d))
    state, state_bar = (random_state(rng, (*batch, d), n) for _ in "ab")
    return (random_params(rng, 2, n), Cell(), g, state), (delta_bar, state_bar)


def leaves(tree):
    return [a for b in tree for a in leaves(b)] if isinstance(tree, tuple) else [np.asarray(tree)]


@pytest.mark.parametrize("block", [1, 2, 3, 7])
@pytest.mark.parametrize("batch", [(), (3,), (2, 1)])
def test_blocks_give_the_results_of_the_whole(batch, block):
    inputs, bars = arguments(batch, 7)
    cut = blockwise(REFERENCE, block)
    for found, want in (
        (cut.step(*inputs), REFERENCE.step(*inputs)),
        (cut.vjp(*inputs, *bars), REFERENCE.vjp(*inputs, *bars)),
    ):
        for a, b in zip(leaves(found), leaves(want), strict=True):
            assert a.shape == b.shape
            assert_close(a, b, 1e-14)


@pytest.mark.parametrize("ops", [REFERENCE, blockwise(REFERENCE, 2)])
def test_one_state_serves_many_gradients(ops):
    (params, cell, g, state), (delta_bar, state_bar) = arguments((3,), 5)
    one = LSTMState(*(a[0] for a in state))
    many = LSTMState(*(np.stack([a, a, a]) for a in one))
    for a, b in zip(
        leaves(ops.step(params, cell, g, one)), leaves(ops.step(params, cell, g, many)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-13)
    found = ops.vjp(params, cell, g, one, delta_bar, state_bar)[1]
    np.testing.assert_allclose(
        found, ops.vjp(params, cell, g, many, delta_bar, state_bar)[1], rtol=1e-14
    )


@pytest.mark.parametrize("which", ["g", "state", "params"])
def test_mixed_dtypes_are_promoted_as_in_the_whole(which):
    (params, cell, g, state), _ = arguments((), 5)
    if which == "g":
        g = g.astype("float32")
    elif which == "state":
        state = LSTMState(*(a.astype("float32") for a in state))
    else:
        params = type(params)(*(a.astype("float32") for a in params))
    found = blockwise(REFERENCE, 2).step(params, cell, g, state)
    for a, b in zip(leaves(found), leaves(REFERENCE.step(params, cell, g, state)), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def counted(ops):
    """The same functions, and the shapes of the gradients that they are handed."""
    shapes = []

    def step(params, cell, g, state):
        shapes.append(g.shape)
        return ops.step(params, cell, g, state)

    return ops._replace(step=step), shapes


@pytest.mark.parametrize(
    ("batch", "d", "handed"),
    [
        ((5,), FEW, [(5, FEW)]),
        ((2,), FEW + 1, [(FEW + 1,)] * 2),
        ((), BLOCK, [(BLOCK,)]),
        ((), BLOCK + 1, [(BLOCK,), (1,)]),
    ],
)
def test_large_tasks_are_cut_and_small_ones_stay_together(batch, d, handed):
    ops, shapes = counted(REFERENCE)
    inputs, _ = arguments(batch, d)
    blockwise(ops).step(*inputs)
    assert shapes == handed


def test_no_bit_of_a_task_depends_on_the_tasks_beside_it():
    (params, cell, g, state), (delta_bar, state_bar) = arguments((3,), BLOCK + 9)
    together = BLOCKWISE.vjp(params, cell, g, state, delta_bar, state_bar)
    for t in range(3):
        one, bar = (LSTMState(s.h[t], s.c[t]) for s in (state, state_bar))
        alone = BLOCKWISE.vjp(params, cell, g[t], one, delta_bar[t], bar)
        for a, b in zip(leaves(together), leaves(alone), strict=True):
            np.testing.assert_array_equal(a[t], b)


def test_blocks_are_what_everything_takes_by_default():
    assert FineTuner().ops is BLOCKWISE
    assert BLOCKWISE.forward_update is REFERENCE.forward_update
