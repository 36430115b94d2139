"""What the engines for ∇_Φ Σ_k w_k f(θ^(k); D_val), eq. (5), have in common."""

from __future__ import annotations

from typing import NamedTuple

from lft_ref._array import Array, namespace
from lft_ref.checks_settings import check_count
from lft_ref.lstm import LSTMState
from lft_ref.params import LSTMParams


class MetaGradient(NamedTuple):
    """Value and gradient of the meta-loss, per task; and where the unroll ended."""

    meta_loss: Array  # (...,): Σ_k w_k f(θ^(k); D_val)
    val_loss: Array  # (K, ...): f(θ^(k); D_val), k = 1 … K; NaN where it was not asked for
    grad: LSTMParams  # ∇_Φ meta_loss, with the tasks' batch axes in front
    theta: Array  # (..., d): θ^(K)
    state: LSTMState  # h_K


def weights_every_step(K: int) -> tuple[float, ...]:
    """w_k = 1, choice (i) of eq. (4). ``ValueError`` for K < 1, as from all of these."""
    check_count("K", K)
    return (1.0,) * K


def weights_linear(K: int) -> tuple[float, ...]:
    """w_k = k, choice (ii) of eq. (4)."""
    check_count("K", K)
    return tuple(float(k) for k in range(1, K + 1))


def weights_last_step(K: int) -> tuple[float, ...]:
    """w_k = I[k = K], choice (iii) of eq. (4)."""
    check_count("K", K)
    return (0.0,) * (K - 1) + (1.0,)


def weights_mean(K: int) -> tuple[float, ...]:
    """w_k = 1/K, which the proof of Theorem 1 assumes."""
    check_count("K", K)
    return (1.0 / K,) * K


def weighted_sum(weights: tuple[float, ...], val_loss: Array) -> Array:
    """Return Σ_k w_k f(θ^(k); D_val) from the losses (K, ...); where w_k = 0 any loss will do."""
    terms = (w * val_loss[k, ...] for k, w in enumerate(weights) if w != 0.0)
    return sum(terms, start=namespace(val_loss).zeros_like(val_loss[0, ...]))


def is_boundary(k: int, truncate: int | None) -> bool:
    """Say whether backpropagation is cut between θ^(k) and step k + 1."""
    return truncate is not None and k % truncate == 0
