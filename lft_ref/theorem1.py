"""Theorem 1: the bound (11) on ‖∇_Φ F − ∇_Φ F̂‖, and G and σ as assumptions A2 and A3 define them.

F (10) judges the fine-tuned θ^(k) on D_tr, F̂ (4) on D_val; w_k = 1/K and f is a mean over examples,
which the theorem assumes without saying so. Expectations over data sets are means over given draws.
What of this holds, and what does not, is in docs/theorem1.md.
"""

from __future__ import annotations

from typing import NamedTuple

from lft_ref._array import Array, namespace


class Moments(NamedTuple):
    """What A2 and A3 ask of one quantity: a gradient ∇_θ f, or the Jacobian ∂θ^(k)/∂Φ."""

    mean_norm: Array  # (...,): E ‖a‖, which A3 bounds by G
    mean_square: Array  # (...,): E ‖a‖², which a sound proof would bound by G²
    variance: Array  # (...,): E ‖a − centre‖², which A2 bounds by σ²


def bound(G: float, sigma: float, D_tr: int, D_val: int) -> float:
    """√2 G σ √(1/D_tr + 1/D_val), the right side of (11).

    Example:
        >>> bound(G=2.0, sigma=3.0, D_tr=1, D_val=1)
        12.0
    """
    return bound_of_parts(G, sigma, G, sigma, D_tr, D_val)


def bound_of_parts(
    G_theta: float, sigma_theta: float, G_Phi: float, sigma_Phi: float, D_tr: int, D_val: int
) -> float:
    """√(2 (G_Φ² σ_θ² / D_val + G_θ² σ_Φ² / D_tr)): the root of twice (S22) and (S26).

    The proof bounds ∇_θ f (index θ) and ∂θ/∂Φ (index Φ) by one G and one σ; with a pair for each,
    what it shows is this, which is never more than (11).
    """
    return float(
        (2.0 * (G_Phi**2 * sigma_theta**2 / D_val + G_theta**2 * sigma_Phi**2 / D_tr)) ** 0.5
    )


def vector_moments(draws: Array, centre: Array) -> Moments:
    """Moments of a gradient: A3, and (S10) with ``centre`` = ∇_θ f.

    Args:
        draws: ∇_θ f(θ^(k); D) for R draws of D (R, ..., d).
        centre: what each is compared with (R, ..., d), or the same for all, (..., d).

    Returns:
        Moments (...,) in the Euclidean norm.
    """
    xp = namespace(draws)
    e = draws - centre
    return _moments(xp.sum(draws * draws, axis=-1), xp.sum(e * e, axis=-1))


def matrix_moments(draws: Array) -> Moments:
    """Moments of ∂θ^(k)/∂Φ around its own mean: A3, (S11) and (S12).

    ‖·‖ is the spectral norm, the smallest that (S20) and (S24) allow. The variance is that of one
    draw, R/(R − 1) times the mean over the R draws.

    Args:
        draws: ∂θ^(k)/∂Φ for R >= 2 draws of D_tr (R, ..., d, P).

    Returns:
        Moments (...,).
    """
    xp, R = namespace(draws), draws.shape[0]
    deviation = draws - xp.mean(draws, axis=0)
    moments = _moments(_squared_spectral_norm(draws), _squared_spectral_norm(deviation))
    return moments._replace(variance=moments.variance * (R / (R - 1)))


def _moments(squares: Array, deviations: Array) -> Moments:
    """Means over the draws, from ‖a‖² and ‖a − centre‖² (R, ...)."""
    xp = namespace(squares)
    return Moments(
        xp.mean(xp.sqrt(squares), axis=0), xp.mean(squares, axis=0), xp.mean(deviations, axis=0)
    )


def _squared_spectral_norm(a: Array) -> Array:
    """Largest eigenvalue of a aᵀ, for a (..., d, P)."""
    xp = namespace(a)
    top = xp.max(xp.linalg.eigvalsh(a @ a.mT), axis=-1)
    return xp.where(top > 0.0, top, xp.zeros_like(top))
