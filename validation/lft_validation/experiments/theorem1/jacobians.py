"""∂θ^(k)/∂Φ in full, by Statement 1, for what A2, A3 and the proof say of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lft_ref import Data, FineTuner, LSTMParams, Task
from lft_ref.forward_mode import forward_step, initial_forward_state
from lft_ref.params import all_columns
from lft_ref.theorem1 import Moments, matrix_moments
from lft_validation.experiments.theorem1.problems import Tasks


class JacobianDraws(NamedTuple):
    """Over R draws of D_tr; ū is an independent estimate of E ∇_θ f(θ^(k))."""

    moments: Moments  # (K, N): A3 and (S12)
    product: np.ndarray  # (R, N, P): 1/K Σ_k ∇_θ f(θ^(k); D_val) • G^(k), the chain rule (7)
    covariance: np.ndarray  # (R, N, P): 1/K Σ_k (∇_θ f(θ^(k)) − ū) • G^(k)
    replaced: np.ndarray  # (R, N, P): 1/K Σ_k (∇_θ f(θ^(k); D_tr) − ū) • G^(k)


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
        train: R draws of D_tr.
        grads: ∇_θ f(θ^(k); ·) on D_val, on the population and on D_tr, each (K, R, N, d).
        mean_grad: ū (K, N, d), from other draws than these.
    """
    K, R = grads[0].shape[:2]
    task = Task(tasks.objective, train, train, np.broadcast_to(tasks.theta_0, grads[0].shape[1:]))
    at = initial_forward_state(params, task.theta_0, None, all_columns(params.m, params.n))
    moments, sums = [], np.zeros((3, R, len(tasks.theta_0), at.G.shape[-1]))
    for k in range(K):
        at = forward_step(params, tuner, task, k, at)
        moments.append(matrix_moments(at.G))
        on_val, exact, on_train = (grad[k] for grad in grads)
        for i, u in enumerate((on_val, exact - mean_grad[k], on_train - mean_grad[k])):
            sums[i] += (u[..., None, :] @ at.G)[..., 0, :] / K
    stacked = Moments(*(np.stack(part) for part in zip(*moments, strict=True)))
    return JacobianDraws(stacked, *sums)
