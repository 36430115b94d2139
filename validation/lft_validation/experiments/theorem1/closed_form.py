"""Two cases of Theorem 1, not in the paper, in which every expectation is known.

One checks the estimator, the other refutes the statement as printed. Both take one step, K = 1,
with a linear fine-tuner, Δθ = φ ∘ g, on least squares, f(θ; A, b) = ‖A θ − b‖² / (2 N) with
b = A θ* + noise. So with δ = θ^(0) − θ*

    g = Â δ − η,   Â = AᵀA / N,   η = Aᵀ noise / N,   ∂θ^(1)/∂φ_j = −g_j,
    ∇_φ f(θ^(1); D_tr) = −g ∘ (g − Â (φ ∘ g)),   E ∇_φ f(θ^(1); D_val) = −g ∘ (δ − φ ∘ g).

The rows of A are normal with covariance I: then E over D_tr asks for moments of Wishart matrices.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lft_ref import Data, Quadratic
from lft_ref.theorem1 import bound, vector_moments


class Linear(NamedTuple):
    """A task, and the fine-tuner φ."""

    delta: np.ndarray  # (d,): θ^(0) − θ*
    phi: np.ndarray  # (d,)
    noise: float  # standard deviation


class Gradients(NamedTuple):
    """∇_φ of the L2O objective (10) and of the LFT objective (4)."""

    l2o: np.ndarray
    lft: np.ndarray


def exact(case: Linear, D_tr: int) -> Gradients:
    """Return the expected gradients (d,); |D_val| has no influence."""
    S, Phi, N = np.outer(case.delta, case.delta), np.diag(case.phi), D_tr
    variance, one = case.noise**2 / N, np.eye(case.delta.size)
    gg = _two(S, N) + variance * one  # E g gᵀ
    Agg = _three(Phi, S, N) + variance * _two(Phi, N)  # E Â Φ g gᵀ
    l2o = np.diag(Agg) - np.diag(gg)
    return Gradients(l2o, case.phi * np.diag(gg) - case.delta**2)


def _two(S: np.ndarray, N: int) -> np.ndarray:
    """E Â S Â for symmetric S."""
    return np.asarray(((N + 1) * S + np.trace(S) * np.eye(len(S))) / N)


def _three(Phi: np.ndarray, S: np.ndarray, N: int) -> np.ndarray:
    """E Â Φ Â S Â for symmetric Φ and S, by which of the three rows of A are the same."""
    one, t_Phi, t_S = np.eye(len(S)), np.trace(Phi), np.trace(S)
    product, t = Phi @ S, np.trace(Phi @ S)
    pairs = (
        (2 * Phi + t_Phi * one) @ S + Phi @ (2 * S + t_S * one) + (product + product.T + t * one)
    )
    all_same = (
        (t_Phi * t_S + 2 * t) * one + 2 * t_Phi * S + 2 * t_S * Phi + 4 * (product + product.T)
    )
    return np.asarray(((N - 1) * (N - 2) * product + (N - 1) * pairs + all_same) / N**2)


def draws(
    case: Linear, D_tr: int, D_val: int, count: int, rng: np.random.Generator
) -> tuple[Gradients, Gradients]:
    """Draw gradients (count, d), and the control variate of gap.py for both."""
    f, d = Quadratic(), case.delta.size

    def data(size: int) -> Data:
        A = rng.standard_normal((count, size, d))
        return Data(A, case.noise * rng.standard_normal((count, size)))  # θ* is the origin

    train, val = data(D_tr), data(D_val)
    start = np.broadcast_to(case.delta, (count, d))
    g = f.grad(start, train)
    theta = start - case.phi * g
    mean_theta = case.delta - case.phi * case.delta  # θ̄^(1), and ∇f there
    fixed = np.broadcast_to(mean_theta, (count, d))
    found, control = (
        Gradients(*(-at_g * (f.grad(at, D) - centre) for D in (train, val)))
        for at, at_g, centre in ((theta, g, 0.0), (fixed, case.delta, mean_theta))
    )
    return found, control


class Refutation(NamedTuple):
    """Both sides of (11) where A1 to A3 hold as printed."""

    gap: float
    bound: float
    bias: float  # of A1, on D_tr
    G: float
    sigma: float


def refutation(examples: int = 400, phi: float = 1.0) -> Refutation:
    """A task for which (11) is false: θ is a number, f(θ; b) = (θ − b)² / 2, one example in each D.

    b is one of so many equally likely values, all 0 but for ±√(examples / 2), so that its mean is 0
    and its variance 1. θ^(0) = 0, so g = −b and θ^(1) = φ b. The expectations of A3 shrink with the
    chance of the two large values; the gap, E b² = 1, does not.

    Example:
        >>> case = refutation()
        >>> round(case.gap, 6), round(case.bound, 2), case.bias
        (1.0, 0.28, 0.0)
    """
    b = np.zeros(examples)
    b[:2] = np.sqrt(examples / 2) * np.asarray([1.0, -1.0])
    b_tr, b_val = (a.reshape(-1, 1) for a in np.meshgrid(b, b))  # every pair (D_tr, D_val)
    theta = phi * b_tr  # ∂θ/∂φ = b_tr
    on_train, on_val, exact_grad = theta - b_tr, theta - b_val, theta
    moments = [
        vector_moments(on_train, exact_grad),
        vector_moments(on_val, exact_grad),
        vector_moments(b_tr, np.zeros(1)),
    ]
    G = max(float(m.mean_norm) for m in moments)
    sigma = max(float(m.variance) for m in moments) ** 0.5
    gap = abs(float(np.mean((on_train - on_val) * b_tr)))
    bias = float(np.mean(on_train - exact_grad))
    return Refutation(gap, bound(G, sigma, 1, 1), bias, G, sigma)
