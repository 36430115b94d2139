"""The coordinate-wise LSTM of eq. (3): one step (Γ, Π), its six Jacobian blocks, and its vjp.

    z  = x(g) W_x + h W_h + b        (i, f, u, o) = (σ, σ, tanh, σ)(z)
    c⁺ = f c + i u                   h⁺ = o tanh(c⁺)              Π: the new state (h⁺, c⁺)
    Δθ = s (h⁺ · w_o + b_o)                                       Γ: the update

The same cell is applied to every coordinate of θ, so one Φ serves any number of coordinates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lft_ref._array import Array, device, namespace
from lft_ref.params import Columns, LSTMParams, all_columns
from lft_ref.preprocess import LogSign, Preprocess


class LSTMState(NamedTuple):
    """The state h_k of eq. (3): the pair (h, c)."""

    h: Array  # (..., d, n)
    c: Array  # (..., d, n)


class Cell(NamedTuple):
    """What of RNN_Φ is not learned: the preprocessing and the output scale s."""

    preprocess: Preprocess = LogSign()
    output_scale: float = 0.1


class Jacobians(NamedTuple):
    """The six blocks of Statement 1; a state's axis holds h first, then c.

    Γ_g and Π_g are diagonal over coordinates and Π_h is block-diagonal (a dense 2n × 2n block per
    coordinate), so only the blocks are stored. Columns are the requested entries of Φ.
    """

    Gamma_g: Array  # (..., d)
    Gamma_h: Array  # (..., d, 2n)
    Gamma_Phi: Array  # (..., d, P)
    Pi_g: Array  # (..., d, 2n)
    Pi_h: Array  # (..., d, 2n, 2n)
    Pi_Phi: Array  # (..., d, 2n, P)


class _Gates(NamedTuple):
    """All that one step computes on the way, feature-major: (..., n, d).

    Rows of one hidden unit lie side by side in memory, which array libraries run through fastest.
    Outside this file arrays are (..., d, n); ``.mT`` leads from one to the other without a copy.
    """

    i: Array
    f: Array
    u: Array
    o: Array
    c: Array
    tanh_c: Array


def initial_state(theta: Array, n: int) -> LSTMState:
    """Return the zero state for optimizees ``theta`` (..., d)."""
    xp = namespace(theta)
    zero = xp.zeros(
        (*theta.shape[:-1], n, theta.shape[-1]), dtype=theta.dtype, device=device(theta)
    )
    return LSTMState(zero.mT, zero.mT)


def _inputs(x: Array, state: LSTMState, *, xp: Any) -> Array:
    """What W multiplies: (x, h, 1), one row each (..., m + n + 1, d)."""
    x, h = x.mT, state.h.mT
    if x.shape[:-2] != h.shape[:-2]:  # one state for many g, or many for one
        x, h = x + xp.zeros_like(h[..., :1, :]), h + xp.zeros_like(x[..., :1, :])
    return xp.concat([x, h, xp.ones_like(x[..., :1, :])], axis=-2)


def _gates(params: LSTMParams, inputs: Array, state: LSTMState, *, xp: Any) -> _Gates:
    """Gates and new c. Since σ(z) = ½ tanh(z/2) + ½, one tanh does for all four."""
    n = params.n
    W = xp.concat([params.W_x, params.W_h, params.b[None, :]])  # (m + n + 1, 4n)
    W = xp.concat([0.5 * W[:, : 2 * n], W[:, 2 * n : 3 * n], 0.5 * W[:, 3 * n :]], axis=1)
    a = xp.tanh(W.mT @ inputs)  # (..., 4n, d)
    a_if, u, a_o = a[..., : 2 * n, :], a[..., 2 * n : 3 * n, :], a[..., 3 * n :, :]
    a_if *= 0.5
    a_if += 0.5
    a_o *= 0.5
    a_o += 0.5
    i, f = a_if[..., :n, :], a_if[..., n:, :]
    c = f * state.c.mT
    c += i * u
    return _Gates(i, f, u, a_o, c, xp.tanh(c))


def step(params: LSTMParams, cell: Cell, g: Array, state: LSTMState) -> tuple[Array, LSTMState]:
    """One step of RNN_Φ, eq. (3): (Γ, Π).

    Args:
        params: Φ.
        cell: preprocessing and output scale.
        g: gradient or gradient estimate (..., d).
        state: (h, c) of the previous step, each (..., d, n).

    Returns:
        The update Δθ (..., d), to be subtracted from θ, and the new state.
    """
    xp = namespace(g)
    inputs = _inputs(cell.preprocess.features(g), state, xp=xp)
    gates = _gates(params, inputs, state, xp=xp)
    h = gates.o * gates.tanh_c
    return cell.output_scale * (params.w_o @ h + params.b_o), LSTMState(h.mT, gates.c.mT)


def vjp(
    params: LSTMParams,
    cell: Cell,
    g: Array,
    state: LSTMState,
    delta_bar: Array,
    state_bar: LSTMState,
) -> tuple[LSTMParams, Array, LSTMState]:
    """Pull cotangents of one step of eq. (3) back: the transposes of Statement 1's six blocks.

    The gates are computed again from (g, state), so that an unroll need not keep them.

    Args:
        params: Φ.
        cell: preprocessing and output scale.
        g: what :func:`step` was given (..., d).
        state: what :func:`step` was given.
        delta_bar: cotangent of Δθ (..., d).
        state_bar: cotangent of the new state.

    Returns:
        Cotangents of Φ (summed over coordinates, batch axes kept), of g, and of ``state``.
    """
    xp = namespace(g)
    m = params.m
    inputs = _inputs(cell.preprocess.features(g), state, xp=xp)
    i, f, u, o, _, tanh_c = _gates(params, inputs, state, xp=xp)
    y_bar = (cell.output_scale * delta_bar)[..., None, :]  # (..., 1, d)
    h_bar = params.w_o[:, None] * y_bar
    h_bar += state_bar.h.mT
    h = o * tanh_c
    c_bar = h * tanh_c
    c_bar -= o
    c_bar *= h_bar
    c_bar = state_bar.c.mT - c_bar  # c̄ + h̄ o (1 − tanh² c)
    c_old_bar = c_bar * f
    z_i = c_bar * i
    z_bar = xp.concat(
        [z_i * u * (1.0 - i), c_old_bar * state.c.mT * (1.0 - f), z_i * (1.0 - u * u),
         h_bar * h * (1.0 - o)], axis=-2,
    )  # (..., 4n, d)  # fmt: skip
    W_bar = inputs @ z_bar.mT  # (..., m + n + 1, 4n)
    params_bar = LSTMParams(
        W_x=W_bar[..., :m, :],
        W_h=W_bar[..., m:-1, :],
        b=W_bar[..., -1, :],
        w_o=(h @ y_bar.mT)[..., 0],
        b_o=xp.sum(y_bar, axis=(-2, -1)),
    )
    g_bar = xp.sum((params.W_x @ z_bar) * cell.preprocess.derivative(g).mT, axis=-2)
    return params_bar, g_bar, LSTMState((params.W_h @ z_bar).mT, c_old_bar.mT)


def jacobians(
    params: LSTMParams,
    cell: Cell,
    g: Array,
    state: LSTMState,
    columns: Columns | None = None,
) -> Jacobians:
    """The six Jacobian blocks of one step that Statement 1 multiplies.

    Args:
        params: Φ.
        cell: preprocessing and output scale.
        g: gradient or gradient estimate (..., d).
        state: (h, c) of the previous step.
        columns: the entries of the flattened Φ that Γ_Φ and Π_Φ shall have; None for all P.

    Returns:
        Γ_g, Γ_h, Γ_Φ, Π_g, Π_h, Π_Φ, shapes as in :class:`Jacobians`.
    """
    xp = namespace(g)
    n, s, w_o = params.n, cell.output_scale, params.w_o
    columns = columns or all_columns(params.m, n)
    x = cell.preprocess.features(g)
    rows = _inputs(x, state, xp=xp)
    q = _Gates(*(gate.mT for gate in _gates(params, rows, state, xp=xp)))  # each (..., d, n)
    pi_z = _pi_z(q, state, xp=xp)
    z_g = cell.preprocess.derivative(g)[..., None, :] @ params.W_x  # (..., d, 1, 4n)
    pi_g = _chain_z(pi_z, z_g, xp=xp)[..., 0]
    pi_h = xp.concat([_chain_z(pi_z, params.W_h, xp=xp), _pi_c(q, xp=xp)], axis=-1)
    pi_phi = _pi_phi(pi_z, rows.mT, columns, xp=xp)
    y_phi = w_o @ pi_phi[..., :n, :] + _output_columns(q.o * q.tanh_c, columns, xp=xp)
    return Jacobians(
        Gamma_g=s * (pi_g[..., :n] @ w_o),
        Gamma_h=s * (w_o @ pi_h[..., :n, :]),
        Gamma_Phi=s * y_phi,
        Pi_g=pi_g,
        Pi_h=pi_h,
        Pi_Phi=pi_phi,
    )


def _pi_z(q: _Gates, state: LSTMState, *, xp: Any) -> Array:
    """∂(h⁺, c⁺)_v/∂z_(gate, v): unit v depends on its own four gates only; (..., d, 2, 4, n)."""
    zero = xp.zeros_like(q.o)
    c_i = q.u * q.i * (1.0 - q.i)
    c_f = state.c * q.f * (1.0 - q.f)
    c_u = q.i * (1.0 - q.u * q.u)
    c_z = xp.stack([c_i, c_f, c_u, zero], axis=-2)  # (..., d, 4, n)
    h_c = (q.o * (1.0 - q.tanh_c * q.tanh_c))[..., None, :]
    h_o = xp.stack([zero, zero, zero, q.tanh_c * q.o * (1.0 - q.o)], axis=-2)
    return xp.stack([h_c * c_z + h_o, c_z], axis=-3)


def _chain_z(pi_z: Array, z_a: Array, *, xp: Any) -> Array:
    """Π_z • ∂z/∂a for A quantities a, z_a (..., A, 4n); returns (..., d, 2n, A)."""
    n = pi_z.shape[-1]
    z_a = xp.reshape(z_a, (*z_a.shape[:-1], 4, n))[..., None, :, :, :]  # (..., 1, A, 4, n)
    pi_a = xp.sum(pi_z[..., None, :, :] * z_a, axis=-2)  # (..., d, 2, A, n)
    pi_a = xp.moveaxis(pi_a, -1, -2)  # (..., d, 2, n, A)
    return xp.reshape(pi_a, (*pi_a.shape[:-3], 2 * n, pi_a.shape[-1]))


def _pi_c(q: _Gates, *, xp: Any) -> Array:
    """∂(h⁺, c⁺)/∂c, diagonal over units: (..., d, 2n, n)."""
    c_c = q.f[..., None] * xp.eye(q.f.shape[-1], dtype=q.f.dtype, device=device(q.f))
    h_c = (q.o * (1.0 - q.tanh_c * q.tanh_c))[..., None]
    return xp.concat([h_c * c_c, c_c], axis=-2)


def _pi_phi(pi_z: Array, inputs: Array, columns: Columns, *, xp: Any) -> Array:
    """Π_Φ: weight (a, gate, v) feeds input a of (x, h, 1) to z_(gate, v) of unit v alone."""
    n = pi_z.shape[-1]
    eye = xp.eye(n, dtype=pi_z.dtype, device=device(pi_z))
    by_row = pi_z[..., None, :, :] * eye[:, None, :]  # (..., d, 2, n, 4, n)
    by_row = xp.reshape(by_row, (*by_row.shape[:-4], 2 * n, 1, 4 * n))
    chosen = inputs[..., None, columns.first : columns.last, None]  # (..., d, 1, A, 1)
    dense = by_row * chosen  # (..., d, 2n, A, 4n)
    dense = xp.reshape(dense, (*dense.shape[:-2], dense.shape[-2] * dense.shape[-1]))
    return xp.concat([dense, _zeros(dense, columns.output * (n + 1), xp=xp)], axis=-1)


def _output_columns(h: Array, columns: Columns, *, xp: Any) -> Array:
    """∂(h⁺·w_o + b_o)/∂Φ with h⁺ held fixed: (h⁺, 1) for (w_o, b_o), zero elsewhere."""
    n = h.shape[-1]
    zeros = _zeros(h, 4 * n * (columns.last - columns.first), xp=xp)
    output = xp.concat([h, xp.ones_like(h[..., :1])], axis=-1)
    return xp.concat([zeros, output] if columns.output else [zeros], axis=-1)  # (..., d, P)


def _zeros(like: Array, count: int, *, xp: Any) -> Array:
    """Zeros with ``like``'s shape but ``count`` entries on the last axis."""
    return xp.zeros((*like.shape[:-1], count), dtype=like.dtype, device=device(like))
