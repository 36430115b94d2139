"""MAML: eqs. (1) and (2), exact through K inner steps, and its first-order variant."""

from __future__ import annotations

from typing import NamedTuple

from lft_ref._array import Array, namespace
from lft_ref.checks import check_shared_task
from lft_ref.checks_settings import check_count, check_directions, check_positive
from lft_ref.tasks import Task, directions_at
from lft_ref.zeroth_order import Estimator, FirstOrder


class MAMLGradient(NamedTuple):
    """Value and gradient of f(θ^(K)(θ); D_val), eq. (1), by the shared initialisation θ."""

    meta_loss: Array  # (...,)
    grad: Array  # (..., d): one per task
    theta: Array  # (..., d): θ^(K)


def maml_gradient(
    task: Task,
    alpha: float,
    K: int,
    estimator: Estimator | None = None,
    second_order: bool = True,
) -> MAMLGradient:
    """∇_θ f(θ^(K); D_val) where θ^(k) = θ^(k−1) − α g(θ^(k−1); D_tr), eq. (2), and θ^(0) = θ.

    Backwards, θ̄^(k−1) = (I − α ∂g/∂θ)ᵀ θ̄^(k); the first-order variant (Finn et al. 2017, §5.2)
    takes that matrix for the identity.

    Args:
        task: a batch of tasks whose ``theta_0`` is the shared θ, (..., d) or broadcastable to it;
            directions are (K, q, ..., d), one for each task.
        alpha: inner learning rate α > 0.
        K: number of inner steps, at least 1.
        estimator: how g is obtained; the gradient if None.
        second_order: False for the first-order variant.

    Raises:
        ValueError: if K or alpha is not positive, directions are missing, or shapes or dtypes of
            the task do not fit.
    """
    check_count("K", K)
    check_positive("alpha", alpha)
    check_shared_task(task)
    estimator = estimator or FirstOrder()
    if not isinstance(estimator, FirstOrder):
        task = _own_starts(task)
        check_directions(estimator, task.theta_0, task.directions, K)
    f, thetas = task.objective, [task.theta_0]
    for k in range(K):
        g = estimator.estimate(f, thetas[-1], task.train, directions_at(task, k))
        thetas.append(thetas[-1] - alpha * g)

    theta_bar = f.grad(thetas[-1], task.val)
    if second_order:
        for k in range(K - 1, -1, -1):
            u = directions_at(task, k)
            theta_bar = theta_bar - alpha * estimator.vjp(f, thetas[k], task.train, u, theta_bar)
    return MAMLGradient(f.value(thetas[-1], task.val), theta_bar, thetas[-1])


def _own_starts(task: Task) -> Task:
    """Give each task of the batch its own copy of θ, as its directions are its own."""
    batch, d = task.objective.value(task.theta_0, task.train).shape, task.theta_0.shape[-1]
    theta = namespace(task.theta_0).broadcast_to(task.theta_0, (*batch, d))
    return task._replace(theta_0=theta)
