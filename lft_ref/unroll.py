"""K fine-tuning steps, eq. (3): from a task and Φ to a trajectory θ^(0) … θ^(K)."""

from __future__ import annotations

from typing import NamedTuple

from lft_ref._array import Array
from lft_ref.blocks import BLOCKWISE
from lft_ref.checks import check_task
from lft_ref.lstm import Cell, LSTMState, initial_state
from lft_ref.objectives import Data, Objective
from lft_ref.ops import Ops
from lft_ref.params import LSTMParams
from lft_ref.tasks import Task, directions_at
from lft_ref.zeroth_order import Estimator, FirstOrder


class FineTuner(NamedTuple):
    """Everything about the fine-tuner but Φ."""

    cell: Cell = Cell()
    estimator: Estimator = FirstOrder()
    second_order: bool = True  # keep ∂g/∂θ in the meta-gradient
    ops: Ops = BLOCKWISE


class Trajectory(NamedTuple):
    """What K steps leave behind; step k leads from entry k − 1 to entry k."""

    theta: list[Array]  # K + 1 entries (..., d)
    state: list[LSTMState]  # K + 1 entries
    g: list[Array]  # K entries (..., d): g(θ^(k−1); D_tr)


def fine_tune_step(
    params: LSTMParams,
    tuner: FineTuner,
    objective: Objective,
    train: Data,
    theta: Array,
    state: LSTMState,
    u: Array,
) -> tuple[Array, LSTMState, Array]:
    """One step of eq. (3): return θ^(k) = θ^(k−1) − Δθ^(k), h_k, and g(θ^(k−1); D_tr)."""
    g = tuner.estimator.estimate(objective, theta, train, u)
    delta, state = tuner.ops.step(params, tuner.cell, g, state)
    return theta - delta, state, g


def unroll(
    params: LSTMParams,
    tuner: FineTuner,
    task: Task,
    K: int,
    state_0: LSTMState | None = None,
) -> Trajectory:
    """Fine-tune for K steps from θ^(0), eq. (3).

    Args:
        params: Φ.
        tuner: the fine-tuner's fixed choices.
        task: objective, D_tr, θ^(0) and, for zeroth order, the directions of each step.
        K: number of steps, at least 1.
        state_0: the cell's state to start from; zero if None.

    Returns:
        The trajectory, with K + 1 optimizees and states.

    Raises:
        ValueError: if Φ, the task, the state or a setting is not what K steps need. Arrays may hold
            NaN: a training that diverges must be able to say where.

    Example:
        >>> import numpy as np
        >>> from lft_ref import Data, FineTuner, Quadratic, Task, from_draws, unroll
        >>> phi = from_draws(np.random.default_rng(0).uniform(-1, 1, 531), m=2, n=10)
        >>> data = Data(np.eye(3), np.ones(3))
        >>> path = unroll(phi, FineTuner(), Task(Quadratic(), data, data, np.zeros(3)), K=5)
        >>> len(path.theta), path.state[-1].h.shape
        (6, (3, 10))
    """
    check_task(params, tuner.cell, tuner.estimator, task, K, state_0)
    theta = task.theta_0
    state = initial_state(theta, params.n) if state_0 is None else state_0
    return steps(params, tuner, task, theta, state, range(K))


def steps(
    params: LSTMParams,
    tuner: FineTuner,
    task: Task,
    theta: Array,
    state: LSTMState,
    numbers: range,
) -> Trajectory:
    """Fine-tune from (θ^(k), h_k) by the steps with the given numbers, counted from 0."""
    path = Trajectory([theta], [state], [])
    for k in numbers:
        theta, state, g = fine_tune_step(
            params, tuner, task.objective, task.train, theta, state, directions_at(task, k)
        )
        path.theta.append(theta)
        path.state.append(state)
        path.g.append(g)
    return path
