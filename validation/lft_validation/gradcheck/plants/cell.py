"""Mistakes in the cell: in its step, and in its six Jacobian blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from lft_ref import Cell, LSTMParams, LSTMState, jacobians, step
from lft_validation.gradcheck.plants.plant import Change, Plant, swap_gates, with_pieces


def with_block(name: str, wrong: Any) -> Change:
    """The right blocks but one, which is ``wrong(block, n)``."""

    def changed(params: LSTMParams, *arguments: Any) -> Any:
        J = jacobians(params, *arguments)
        return J._replace(**{name: wrong(getattr(J, name), params.n)})

    return with_pieces(jacobians=changed)


def with_params(wrong: Any) -> Change:
    """The right step with ``wrong(Φ)``."""
    return with_pieces(step=lambda params, *rest: step(wrong(params), *rest))


def _sigma(z: np.ndarray) -> np.ndarray:
    return 0.5 * np.tanh(0.5 * z) + 0.5


def _step(candidate: Any, squash: Any) -> Any:
    """A step with other functions than tanh for the candidate and for c."""

    def changed(params: LSTMParams, cell: Cell, g: Any, state: LSTMState) -> Any:
        x = cell.preprocess.features(g)
        z = x @ params.W_x + state.h @ params.W_h + params.b
        i, f, u, o = np.split(z, 4, axis=-1)
        c = _sigma(f) * state.c + _sigma(i) * candidate(u)
        h = _sigma(o) * squash(c)
        return cell.output_scale * (h @ params.w_o + params.b_o), LSTMState(h, c)

    return with_pieces(step=changed)


def _phi_gates(flat: np.ndarray, n: int) -> np.ndarray:
    dense, output = flat[..., : -(n + 1)], flat[..., -(n + 1) :]
    rows = dense.reshape(*dense.shape[:-1], -1, 4 * n)
    return np.concatenate([swap_gates(rows).reshape(dense.shape), output], axis=-1)


def _no_cell_path(block: np.ndarray, n: int) -> np.ndarray:
    """∂h⁺/∂c is left out."""
    block = block.copy()
    block[..., :n, n:] = 0.0
    return block


def _no_b_o(block: np.ndarray, _: int) -> np.ndarray:
    return np.concatenate([block[..., :-1], 0.0 * block[..., -1:]], axis=-1)


def _only_h(block: np.ndarray, n: int) -> np.ndarray:
    return np.concatenate([block[..., :n], 0.0 * block[..., n:]], axis=-1)


def _all_gates(p: LSTMParams, order: tuple[int, ...]) -> LSTMParams:
    W_x, W_h, b = (swap_gates(a, order) for a in (p.W_x, p.W_h, p.b))
    return p._replace(W_x=W_x, W_h=W_h, b=b)


PLANTS = (
    Plant("sigma-candidate", "σ instead of tanh for the candidate", "Γ", _step(_sigma, np.tanh)),
    Plant("no-tanh-c", "h⁺ = o c⁺, without tanh", "Γ", _step(np.tanh, lambda c: c)),
    Plant(
        "gate-order",
        "gates in the order input, forget, output, candidate",
        "Γ",
        with_params(lambda p: _all_gates(p, (0, 1, 3, 2))),
    ),
    Plant(
        "forget-bias-twice",
        "1 is added to the forget gate's bias, which holds it already",
        "Γ",
        with_params(lambda p: p._replace(b=p.b + np.repeat([0.0, 1.0, 0.0, 0.0], p.n))),
    ),
    Plant(
        "pi-h-transposed",
        "Π_h is transposed",
        "Π_h",
        with_block("Pi_h", lambda a, _: np.swapaxes(a, -1, -2)),
    ),
    Plant(
        "pi-h-diagonal",
        "Π_h is diagonal, as the paper says",
        "Π_h",
        with_block("Pi_h", lambda a, n: a * np.eye(2 * n)),
    ),
    Plant("pi-h-no-c", "Π_h lacks ∂h⁺/∂c", "Π_h", with_block("Pi_h", _no_cell_path)),
    Plant("pi-g-no-c", "Π_g lacks ∂c⁺/∂g", "Π_g", with_block("Pi_g", _only_h)),
    Plant("gamma-g-sign", "Γ_g has the wrong sign", "Γ_g", with_block("Gamma_g", lambda a, _: -a)),
    Plant(
        "gamma-h-scale",
        "Γ_h lacks the output scale",
        "Γ_h",
        with_block("Gamma_h", lambda a, _: a / 0.1),
    ),
    Plant("gamma-phi-no-b-o", "Γ_Φ misses b_o", "Γ_Φ", with_block("Gamma_Phi", _no_b_o)),
    Plant(
        "pi-phi-gates", "two gates of Π_Φ are exchanged", "Π_Φ", with_block("Pi_Phi", _phi_gates)
    ),
)
