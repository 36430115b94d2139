from __future__ import annotations

import numpy as np

from lft_ref import REFERENCE, Cell, jacobians, lstm
from lft_ref.ops import forward_update, recursion
from lft_ref.params import Columns, all_columns
from tests.helpers import assert_close
from tests.random_cases import random_params, random_state


def arguments(batch=()):
    rng = np.random.default_rng(0)
    params, cell = random_params(rng, 2, 2), Cell()
    g, state = rng.normal(size=(*batch, 3)), random_state(rng, (*batch, 3), 2)
    P = all_columns(2, 2).width(2)
    G, G_dot = rng.normal(size=(2, *batch, 3, P))
    H = rng.normal(size=(*batch, 3, 4, P))
    return params, cell, g, state, G, G_dot, H


def test_recursion_is_8_and_S7_with_every_block_written_out_as_a_matrix():
    params, cell, g, state, G, G_dot, H = arguments()
    J = jacobians(params, cell, g, state)
    d, r, P = H.shape
    Gamma_g, Gamma_h = np.diag(J.Gamma_g), np.zeros((d, d * r))
    Pi_g, Pi_h = np.zeros((d * r, d)), np.zeros((d * r, d * r))
    for i in range(d):
        rows = slice(i * r, (i + 1) * r)
        Gamma_h[i, rows], Pi_g[rows, i], Pi_h[rows, rows] = J.Gamma_h[i], J.Pi_g[i], J.Pi_h[i]
    flat = H.reshape(d * r, P)
    G_next, H_next = recursion(J, G, G_dot, H)
    assert_close(G_next, G - Gamma_g @ G_dot - Gamma_h @ flat - J.Gamma_Phi, 1e-14)
    want = J.Pi_Phi.reshape(d * r, P) + Pi_h @ flat + Pi_g @ G_dot
    assert_close(H_next, want.reshape(d, r, P), 1e-14)


def test_recursion_works_on_batches():
    params, cell, g, state, G, G_dot, H = arguments((2, 3))
    together = recursion(jacobians(params, cell, g, state), G, G_dot, H)
    for i in np.ndindex(2, 3):
        one = type(state)(state.h[i], state.c[i])
        alone = recursion(jacobians(params, cell, g[i], one), G[i], G_dot[i], H[i])
        for a, b in zip(together, alone, strict=True):
            assert_close(a[i], b, 1e-13)


def test_forward_update_is_the_recursion_at_the_cells_jacobians():
    params, cell, g, state, *rest = arguments()
    columns = Columns(1, 3, False)
    chosen = [a[..., 8:24] for a in rest]  # rows 1 and 2 of stacked (W_x; W_h; b), 4n = 8 wide
    got = forward_update(params, cell, g, state, *chosen, columns)
    want = recursion(jacobians(params, cell, g, state), *rest)
    for a, b in zip(got, want, strict=True):
        assert_close(a, b[..., 8:24], 1e-14)


def test_reference_ops_are_the_plain_functions():
    assert (lstm.step, lstm.vjp, forward_update) == REFERENCE
