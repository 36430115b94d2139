"""∂θ^(k)/∂Φ in full, by Statement 1, for what A2, A3 and the proof say of it.

(S13), (S23) and (S24) are judged by E (u − E u) • (G − E G) with u = ∇_θ f(θ^(k)): a covariance,
which the sample covariance estimates without bias,

    1/(J − 1) Σ_r (u_r − ū) • (G_r − Ḡ),   Ḡ = 1/J Σ_r G_r,

whatever ū is, for the G_r − Ḡ add up to 0. Without Ḡ the error of ū would be the same in all
draws, and so look like a mean that is not 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lft_ref import Data, FineTuner, LSTMParams, Task
from lft_ref.forward_mode import forward_step, initial_forward_state
from lft_ref.params import all_columns
from lft_ref.theorem1 import Moments, matrix_moments
from lft_validation.experiments.theorem1.problems import Tasks


class JacobianDraws(NamedTuple):
    """Over J draws of D_tr; ū is an independent estimate of E ∇_θ f(θ^(k)), Ḡ the mean of G."""

    moments: Moments  # (K, N): A3 and (S12)
    product: np.ndarray  # (J, N, P): 1/K Σ_k ∇_θ f(θ^(k); D_val) • G^(k), the chain rule (7)
    covariance: np.ndarray  # (J, N, P): J/(J − 1) 1/K Σ_k (∇_θ f(θ^(k)) − ū) • (G^(k) − Ḡ^(k))
    replaced: np.ndarray  # (J, N, P): that + 1/K Σ_k (∇_θ f(θ^(k); D_tr) − ∇_θ f(θ^(k))) • G^(k)


def jacobian_draws(
    params: LSTMParams,
    tuner: FineTuner,
    tasks: Tasks,
    train: Data,
    grads: tuple[np.ndarray, np.ndarray, np.ndarray],
    mean_grad: np.ndarray,
) -> JacobianDraws:
    """Run Statement 1 beside the fine-tuning on each D_tr.

    Args:
        params: Φ.
        tuner: the fine-tuner's fixed choices.
        tasks: the N tasks.
        train: J draws of D_tr.
        grads: ∇_θ f(θ^(k); ·) on D_val, on the population and on D_tr, each (K, J, N, d).
        mean_grad: ū (K, N, d), from other draws than these: with their own, the J terms would show
            (J − 2)/(J − 1) of the error of their mean, nothing of it for J = 2.
    """
    K, J = grads[0].shape[:2]
    task = Task(tasks.objective, train, train, np.broadcast_to(tasks.theta_0, grads[0].shape[1:]))
    at = initial_forward_state(params, task.theta_0, None, all_columns(params.m, params.n))
    moments, sums = [], np.zeros((3, J, len(tasks.theta_0), at.G.shape[-1]))
    for k in range(K):
        at = forward_step(params, tuner, task, k, at)
        moments.append(matrix_moments(at.G))
        on_val, exact, on_train = (grad[k] for grad in grads)
        centred = (at.G - at.G.mean(axis=0)) * (J / (J - 1))
        pairs = (on_val, at.G), (exact - mean_grad[k], centred), (on_train - exact, at.G)
        for i, (u, G) in enumerate(pairs):
            sums[i] += (u[..., None, :] @ G)[..., 0, :] / K
    stacked = Moments(*(np.stack(part) for part in zip(*moments, strict=True)))
    product, covariance, gap = sums
    return JacobianDraws(stacked, product, covariance, covariance + gap)
