"""The meta-gradient by backpropagation through the unroll: the engine for training.

The same number as Statement 1's, about three unrolls long, with memory in proportion to K.
"""

from __future__ import annotations

from lft_ref._array import Array, namespace
from lft_ref.checks import check_weights
from lft_ref.lstm import LSTMState
from lft_ref.meta_gradient import MetaGradient, is_boundary, weighted_sum
from lft_ref.params import LSTMParams
from lft_ref.tasks import Task, directions_at
from lft_ref.unroll import FineTuner, Trajectory, unroll


def adjoint(
    params: LSTMParams,
    tuner: FineTuner,
    task: Task,
    weights: tuple[float, ...],
    state_0: LSTMState | None = None,
    truncate: int | None = None,
) -> MetaGradient:
    """∇_Φ Σ_k w_k f(θ^(k); D_val), eq. (5), by reverse accumulation.

    Args:
        params: Φ.
        tuner: the fine-tuner's fixed choices.
        task: one task, or a batch of tasks on leading axes.
        weights: w_1 … w_K, so K steps are unrolled.
        state_0: the cell's state to start from; zero if None.
        truncate: cut the dependence on Φ through (θ, h) every so many steps; never if None.

    Returns:
        Meta-loss and gradient of each task; θ^(K) and h_K to go on from.

    Raises:
        ValueError: if shapes, dtypes, weights or ``truncate`` do not fit.
    """
    check_weights(weights, truncate)
    K, xp = len(weights), namespace(task.theta_0)
    path = unroll(params, tuner, task, K, state_0)
    thetas = xp.stack(path.theta[1:], axis=0)  # (K, ..., d): all steps are judged at once
    val_loss = task.objective.value(thetas, task.val)
    judged = [k for k in range(1, K + 1) if weights[k - 1] != 0.0] or [K]  # w_k = 0 takes no work
    val_grad = task.objective.grad(xp.stack([path.theta[k] for k in judged], axis=0), task.val)

    theta_bar = zero = xp.zeros_like(task.theta_0)
    state_bar = no_state = LSTMState(*(0.0 * a for a in path.state[0]))
    steps: list[LSTMParams] = []
    for k in range(K, 0, -1):
        if k in judged:
            theta_bar = theta_bar + weights[k - 1] * val_grad[judged.index(k), ...]
        params_bar, theta_bar, state_bar = _step_back(
            params, tuner, task, path, k, theta_bar, state_bar
        )
        steps.append(params_bar)
        if is_boundary(k - 1, truncate):
            theta_bar, state_bar = zero, no_state
    grad = LSTMParams(*(sum(arrays[1:], start=arrays[0]) for arrays in zip(*steps, strict=True)))
    return MetaGradient(
        weighted_sum(weights, val_loss), val_loss, grad, path.theta[-1], path.state[-1]
    )


def _step_back(
    params: LSTMParams,
    tuner: FineTuner,
    task: Task,
    path: Trajectory,
    k: int,
    theta_bar: Array,
    state_bar: LSTMState,
) -> tuple[LSTMParams, Array, LSTMState]:
    """Pull (θ̄^(k), h̄_k) back through step k of eq. (3): return Φ̄, θ̄^(k−1), h̄_{k−1}."""
    theta, state, g = path.theta[k - 1], path.state[k - 1], path.g[k - 1]
    params_bar, g_bar, state_bar = tuner.ops.vjp(
        params, tuner.cell, g, state, -theta_bar, state_bar
    )
    if tuner.second_order:
        u = directions_at(task, k - 1)
        theta_bar = theta_bar + tuner.estimator.vjp(task.objective, theta, task.train, u, g_bar)
    return params_bar, theta_bar, state_bar


def sum_over_tasks(grad: LSTMParams) -> LSTMParams:
    """Add up the tasks' gradients (line 9 of Algorithm 1): batch axes are summed away."""
    xp = namespace(*grad)
    batch = tuple(range(grad.b_o.ndim))
    return LSTMParams(*(xp.sum(a, axis=batch) if batch else a for a in grad))
