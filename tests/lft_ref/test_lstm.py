from __future__ import annotations

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import jacobian
from hypothesis import given
from hypothesis import strategies as st

from lft_ref import (
    Cell,
    Identity,
    LogSign,
    LSTMParams,
    LSTMState,
    flatten,
    initial_state,
    jacobians,
    size,
    step,
    vjp,
)
from lft_ref.params import Columns, all_columns, column_blocks
from lft_validation.autodiff_restatement import rnn_step
from tests.helpers import assert_close, examples
from tests.random_cases import random_params, random_state

SIZES = {
    "seed": st.integers(0, 2**32 - 1),
    "n": st.integers(1, 4),
    "d": st.integers(1, 4),
    "m": st.sampled_from([1, 2]),
    "batch": st.sampled_from([(), (2,), (2, 1)]),
}


def arguments(seed, n, d, m, batch=()):
    rng = np.random.default_rng(seed)
    cell = Cell(LogSign() if m == 2 else Identity(), 0.3)
    g = rng.normal(size=(*batch, d))
    g[..., 0] *= 1e-6  # one coordinate on the linear branch of log/sign
    return random_params(rng, m, n), cell, g, random_state(rng, (*batch, d), n)


def restated(params, cell, g, state):
    """(Δθ, h⁺, c⁺) side by side, (d, 1 + 2n), as a function of (Φ, g, h, c)."""

    def f(phi, g, h, c):
        delta, h, c = rnn_step(phi, params.m, params.n, cell, g, h, c)
        return anp.concatenate([delta[:, None], h, c], axis=1)

    return f, (flatten(params), g, state.h, state.c)


def test_initial_state_is_zero_for_every_coordinate_and_unit():
    state = initial_state(np.ones((2, 5)), 3)
    for a in state:
        assert a.shape == (2, 5, 3)
        assert not a.any()


@examples(60)
@given(**SIZES)
def test_step_is_equation_3(seed, n, d, m, batch):
    params, cell, g, state = arguments(seed, n, d, m, batch)
    delta, after = step(params, cell, g, state)
    for i in np.ndindex(*batch):
        alone = (flatten(params), m, n, cell, g[i], state.h[i], state.c[i])
        for got, want in zip((delta[i], after.h[i], after.c[i]), rnn_step(*alone), strict=True):
            assert_close(got, want, 1e-13)


def test_step_by_hand_for_one_unit():
    W_x, W_h = np.array([[0.1, 0.2, 0.3, 0.4]]), np.array([[-0.5, 0.6, -0.7, 0.8]])
    params = LSTMParams(W_x, W_h, np.array([0.01, 1.0, 0.02, 0.03]), np.array([2.0]), np.array(0.5))
    g, h, c = 1.5, 0.25, -0.4
    z = W_x[0] * g + W_h[0] * h + params.b
    i, f, o = (1 / (1 + np.exp(-z[q])) for q in (0, 1, 3))
    c_next = f * c + i * np.tanh(z[2])
    h_next = o * np.tanh(c_next)
    state = LSTMState(np.array([[h]]), np.array([[c]]))
    delta, after = step(params, Cell(Identity(), 0.1), np.array([g]), state)
    assert_close(after.c, [[c_next]], 1e-15)
    assert_close(after.h, [[h_next]], 1e-15)
    assert_close(delta, [0.1 * (2.0 * h_next + 0.5)], 1e-15)


@examples(30)
@given(**{**SIZES, "batch": st.just(())})
def test_jacobian_blocks_are_those_of_autograd_and_zero_across_coordinates(seed, n, d, m, batch):
    params, cell, g, state = arguments(seed, n, d, m)
    J = jacobians(params, cell, g, state)
    f, at = restated(params, cell, g, state)
    by_phi, by_g, by_h, by_c = (jacobian(f, i)(*at) for i in range(4))
    assert_close(np.concatenate([J.Gamma_Phi[:, None], J.Pi_Phi], axis=1), by_phi, 1e-12)
    # ∂(row of coordinate i)/∂(coordinate j): only i = j is stored, and the rest must vanish.
    eye = np.eye(d)
    got_g = np.concatenate([J.Gamma_g[:, None], J.Pi_g], axis=1)  # (d, 1 + 2n)
    assert_close(got_g[:, :, None] * eye[:, None, :], by_g, 1e-12)
    got_h = np.concatenate([J.Gamma_h[:, None], J.Pi_h], axis=1)  # (d, 1 + 2n, 2n)
    want_h = np.concatenate([by_h, by_c], axis=3)  # (d, 1 + 2n, d, 2n)
    assert_close(got_h[:, :, None, :] * eye[:, None, :, None], want_h, 1e-12)


@examples(40)
@given(rows=st.integers(1, 7), **SIZES)
def test_jacobian_columns_are_columns_of_the_whole(rows, seed, n, d, m, batch):
    whole_args = arguments(seed, n, d, m, batch)
    whole = jacobians(*whole_args)
    parts = [jacobians(*whole_args, columns) for columns in column_blocks(m, n, rows)]
    for name in ("Gamma_Phi", "Pi_Phi"):
        together = np.concatenate([getattr(part, name) for part in parts], axis=-1)
        np.testing.assert_array_equal(together, getattr(whole, name))
    assert whole.Pi_Phi.shape == (*batch, d, 2 * n, size(m, n))
    assert all_columns(m, n) == Columns(0, m + n + 1, True)


@examples(60)
@given(**SIZES)
def test_vjp_is_the_transpose_of_the_jacobian_blocks(seed, n, d, m, batch):
    params, cell, g, state = arguments(seed, n, d, m, batch)
    rng = np.random.default_rng(seed + 1)
    delta_bar, (h_bar, c_bar) = rng.normal(size=g.shape), random_state(rng, g.shape, n)
    params_bar, g_bar, state_bar = vjp(params, cell, g, state, delta_bar, LSTMState(h_bar, c_bar))
    J = jacobians(params, cell, g, state)
    up = np.concatenate([h_bar, c_bar], axis=-1)  # (..., d, 2n)
    assert_close(g_bar, J.Gamma_g * delta_bar + np.sum(J.Pi_g * up, axis=-1), 1e-12)
    want = J.Gamma_h * delta_bar[..., None] + np.einsum("...vw,...v->...w", J.Pi_h, up)
    assert_close(np.concatenate(state_bar, axis=-1), want, 1e-12)
    want = np.einsum("...ip,...i->...p", J.Gamma_Phi, delta_bar)
    want = want + np.einsum("...ivp,...iv->...p", J.Pi_Phi, up)
    assert_close(flatten(params_bar), want, 1e-12)


def test_vjp_agrees_with_autograd():
    params, cell, g, state = arguments(3, n=3, d=4, m=2)
    rng = np.random.default_rng(4)
    delta_bar, state_bar = rng.normal(size=4), random_state(rng, (4,), 3)
    got = vjp(params, cell, g, state, delta_bar, state_bar)
    f, at = restated(params, cell, g, state)
    up = np.concatenate([delta_bar[:, None], *state_bar], axis=1)
    wants = [np.tensordot(up, jacobian(f, i)(*at), axes=2) for i in range(4)]
    assert_close(flatten(got[0]), wants[0], 1e-12)
    assert_close(got[1], wants[1], 1e-12)
    assert_close(got[2].h, wants[2], 1e-12)
    assert_close(got[2].c, wants[3], 1e-12)


def test_one_phi_serves_any_number_of_coordinates():
    params, cell, g, state = arguments(0, n=3, d=6, m=2)
    delta, after = step(params, cell, g, state)
    order = np.array([4, 0, 2])
    some, some_after = step(params, cell, g[order], LSTMState(state.h[order], state.c[order]))
    assert_close(some, delta[order], 1e-14)
    assert_close(some_after.h, after.h[order], 1e-14)


@pytest.mark.parametrize("scale", [0.0, 1.0, -2.0])
def test_output_scale_multiplies_the_update_and_nothing_else(scale):
    params, cell, g, state = arguments(1, n=2, d=3, m=2)
    delta, after = step(params, cell, g, state)
    scaled, same = step(params, cell._replace(output_scale=scale), g, state)
    np.testing.assert_allclose(scaled, delta * scale / cell.output_scale, rtol=1e-14)
    np.testing.assert_array_equal(same.c, after.c)


def test_saturated_gates_give_finite_derivatives():
    params, cell, g, state = arguments(2, n=2, d=3, m=1)
    params_bar, g_bar, _ = vjp(params, cell, 1e6 * g, state, np.ones(3), state)
    assert np.isfinite(flatten(params_bar)).all()
    assert np.isfinite(g_bar).all()
