"""The few functions that a backend may replace by a fused twin of the same name and signature.

Everything else in ``lft_ref`` calls the cell through an :class:`Ops` that it is handed, and cannot
tell which. Two files know that there are several: this one, and ``blocks``, whose ``BLOCKWISE``,
the default, calls the reference on one block of coordinates after another.

Preprocessing (``Cell.preprocess``) is no field of :class:`Ops`: it is a part of the three
functions. Of ``Identity`` and ``LogSign``, Numba's twins fuse it with the rest of ``step`` and
``vjp``, and compute features and slopes before the kernel of ``forward_update``; CuPy's fuse it in
all three. Of any other, Numba leaves ``step`` and ``vjp`` to the reference, and CuPy's kernels are
handed features that its own array code computes. Nor do the twins of a network that is tuned and of
an attack's loss come through here: a backend's ``fuse_optimizee`` and ``fuse_attack`` put them into
a task's objective, in the place of the plain ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lft_ref import lstm
from lft_ref._array import Array
from lft_ref.lstm import Cell, Jacobians, LSTMState
from lft_ref.params import Columns, LSTMParams


def recursion(J: Jacobians, G: Array, G_dot: Array, H: Array) -> tuple[Array, Array]:
    """One step of Statement 1: (8), and (9) with H^(k) as its derivation (S7) has it.

    Args:
        J: the six Jacobian blocks at step k.
        G: ∂θ^(k)/∂Φ (..., d, P).
        G_dot: ∂g/∂θ • G (..., d, P); zero where the second-order term is dropped.
        H: ∂h_k/∂Φ (..., d, 2n, P).

    Returns:
        G^(k+1) and H^(k+1). (9) is printed with H^(k−1), a misprint: see docs/errata.md.
    """
    Gamma_h_H = (J.Gamma_h[..., None, :] @ H)[..., 0, :]
    Gamma_g_G = J.Gamma_g[..., None] * G_dot
    Pi_g_G = J.Pi_g[..., None] * G_dot[..., None, :]
    G_next = G - Gamma_g_G - Gamma_h_H - J.Gamma_Phi  # (8)
    H_next = J.Pi_Phi + J.Pi_h @ H + Pi_g_G  # (9)
    return G_next, H_next


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
    """Jacobian blocks of the cell at (g, state), and :func:`recursion` with them.

    ``columns`` names the block of columns of Φ that G, Ġ and H hold.
    """
    return recursion(lstm.jacobians(params, cell, g, state, columns), G, G_dot, H)


class Ops(NamedTuple):
    """The cell's step, its vjp, and the forward-mode block update."""

    step: Callable[[LSTMParams, Cell, Array, LSTMState], tuple[Array, LSTMState]]
    vjp: Callable[
        [LSTMParams, Cell, Array, LSTMState, Array, LSTMState],
        tuple[LSTMParams, Array, LSTMState],
    ]
    forward_update: Callable[
        [LSTMParams, Cell, Array, LSTMState, Array, Array, Array, Columns], tuple[Array, Array]
    ]


REFERENCE = Ops(lstm.step, lstm.vjp, forward_update)
