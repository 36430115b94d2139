"""Algorithm 1: meta-learn Φ. LFT and L2O are the same code on different data.

LFT        fine-tunes on D_tr and is judged on D_val                          eq. (4)
L2O        fine-tunes and is judged on D_tr ∪ D_val                           section 4
L2O-train  fine-tunes and is judged on D_tr                                   eq. (10)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lft_ref._array import Array, namespace
from lft_ref.adjoint import adjoint, sum_over_tasks
from lft_ref.lstm import LSTMState
from lft_ref.meta_gradient import MetaGradient
from lft_ref.objectives import Data
from lft_ref.optimizers import Optimizer, clip_by_norm
from lft_ref.params import LSTMParams, flatten, unflatten
from lft_ref.tasks import Task
from lft_ref.unroll import FineTuner

# Where N stands in x and y, by how many more axes x has: rows or images, with outputs or classes.
EXAMPLE_AXES = {0: (-2, -2), 1: (-2, -1), 2: (-4, -2), 3: (-4, -1)}

Engine = Callable[..., MetaGradient]


def lft_data(train: Data, val: Data) -> tuple[Data, Data]:
    """LFT, eq. (4): fine-tune on D_tr, judge on D_val."""
    return train, val


def l2o_data(train: Data, val: Data) -> tuple[Data, Data]:
    """L2O as section 4 describes it: fine-tune and judge on D_tr ∪ D_val.

    Args:
        train: D_tr, as in :class:`~lft_ref.objectives.Data`.
        val: D_val, of the same batch axes.

    Raises:
        ValueError: if x and y are no rows or images with outputs or classes.
    """
    xp = namespace(train.x)
    x_axis, y_axis = EXAMPLE_AXES.get(train.x.ndim - train.y.ndim, (0, 0))
    if -x_axis not in range(1, train.x.ndim + 1):
        raise ValueError(
            "train must hold x (..., N, inputs) or (..., N, C, H, W) and y (..., N, outputs) or "
            f"(..., N), found x {tuple(train.x.shape)} and y {tuple(train.y.shape)}"
        )
    union = Data(
        x=xp.concat([train.x, val.x], axis=x_axis), y=xp.concat([train.y, val.y], axis=y_axis)
    )
    return union, union


def l2o_train_data(train: Data, val: Data) -> tuple[Data, Data]:  # noqa: ARG001 - D_val unseen
    """L2O as supplement C and eq. (10) describe it: fine-tune and judge on D_tr."""
    return train, train


def clip_each_task(
    params: LSTMParams,
    tuner: FineTuner,
    task: Task,
    weights: tuple[float, ...],
    state: LSTMState | None = None,
    *,
    limit: float,
    engine: Engine = adjoint,
    **options: Any,
) -> MetaGradient:
    """Return what an engine finds, each task's g^(i) scaled down to norm ``limit`` if it is longer.

    Without it the sum of line 9 of Algorithm 1 can be that of its longest few. It is an engine
    itself: ``functools.partial(clip_each_task, limit=1.0)``.

    Args:
        params: Φ.
        tuner: the fine-tuner's fixed choices.
        task: one task, or many along batch axes.
        weights: w_1 … w_K of eq. (4).
        state: where the cells start; None for zero.
        limit: the largest norm of one task's gradient.
        engine: what finds it.
        options: more arguments of the engine.

    Raises:
        ValueError: if the limit is not positive.
    """
    found = engine(params, tuner, task, weights, state, **options)
    clipped = clip_by_norm(flatten(found.grad), limit, axis=-1)
    return found._replace(grad=unflatten(clipped, params.m, params.n))


class MetaState(NamedTuple):
    """What one meta-update (line 9 of Algorithm 1) hands to the next."""

    params: LSTMParams
    optimizer: Any  # the state of Φ's optimizer, over the flattened Φ
    updates: int


class MetaInfo(NamedTuple):
    """What a person wants to see of one meta-update."""

    meta_loss: Array  # (): summed over the tasks
    grad_norm: Array  # (): before clipping


def initial_meta_state(params: LSTMParams, optimizer: Optimizer) -> MetaState:
    """Φ, and the fresh state of its optimizer."""
    return MetaState(params, optimizer.init(flatten(params)), 0)


def meta_update(
    meta: MetaState,
    tuner: FineTuner,
    groups: Sequence[Task],
    weights: tuple[float, ...],
    optimizer: Optimizer,
    states: Sequence[LSTMState | None],
    clip: float | None = None,
    engine: Engine = adjoint,
) -> tuple[MetaState, list[tuple[Array, LSTMState]], MetaInfo]:
    """Lines 4 to 9 of Algorithm 1: Φ ← Φ − β Σ_i g^(i) with Φ's own optimizer.

    Args:
        meta: Φ and its optimizer's state.
        tuner: the fine-tuner's fixed choices.
        groups: incongruous tasks as a list of groups; a group is a batch of tasks of one shape.
        weights: w_1 … w_K of eq. (4).
        optimizer: what applies the gradient to Φ.
        states: where each group's cells start; None for zero.
        clip: largest norm of Σ_i g^(i); None for no limit.
        engine: :func:`~lft_ref.adjoint.adjoint` or :func:`~lft_ref.forward_mode.forward_mode`.

    Returns:
        The new Φ; (θ^(K), h_K) of each group, to go on from; loss and gradient norm.

    Raises:
        ValueError: if there are no groups, or not one state for each; and what the engine raises.
    """
    results = [
        engine(meta.params, tuner, task, weights, state)
        for task, state in zip(groups, states, strict=True)
    ]
    return descend(meta, results, optimizer, clip)


def descend(
    meta: MetaState,
    results: Sequence[MetaGradient],
    optimizer: Optimizer,
    clip: float | None = None,
) -> tuple[MetaState, list[tuple[Array, LSTMState]], MetaInfo]:
    """Line 9 of Algorithm 1, from the g^(i) of each group: Φ ← Φ − β Σ_i g^(i).

    Args:
        meta: Φ and its optimizer's state.
        results: what an engine found for each group; gradients may be summed over tasks already.
        optimizer: what applies the gradient to Φ.
        clip: largest norm of Σ_i g^(i); None for no limit.

    Returns:
        The same as :func:`meta_update`.

    Raises:
        ValueError: if there are no groups.
    """
    if not results:
        raise ValueError("groups must hold at least one group of tasks, found none")
    flat = flatten(sum_over_tasks(results[0].grad))
    meta_loss = namespace(flat).sum(results[0].meta_loss)
    for result in results[1:]:  # a fixed order: the same bits every time
        flat = flat + flatten(sum_over_tasks(result.grad))
        meta_loss = meta_loss + namespace(flat).sum(result.meta_loss)
    xp = namespace(flat)
    info = MetaInfo(meta_loss, xp.sqrt(xp.sum(flat * flat)))
    step, optimizer_state = optimizer.update(
        flat if clip is None else clip_by_norm(flat, clip), meta.optimizer
    )
    params = unflatten(flatten(meta.params) - step, meta.params.m, meta.params.n)
    carried = [(result.theta, result.state) for result in results]
    return MetaState(params, optimizer_state, meta.updates + 1), carried, info


def train_on(
    meta: MetaState,
    tuner: FineTuner,
    groups: Sequence[Task],
    weights: tuple[float, ...],
    steps: int,
    optimizer: Optimizer,
    clip: float | None = None,
    engine: Engine = adjoint,
) -> tuple[MetaState, list[MetaInfo]]:
    """Algorithm 1 on one meta-batch: ``steps`` steps in truncated unrolls of K = len(weights).

    After each unroll Φ is updated; θ and h are carried on, but not differentiated through
    (supplements C and G). Where memory is short, ``engine=functools.partial(adjoint, segment=s)``
    gives the same bits.

    Args:
        meta: Φ and its optimizer's state.
        tuner: the fine-tuner's fixed choices.
        groups: incongruous tasks as a list of groups; a group is a batch of tasks of one shape,
            with directions for all steps (steps, q, ..., d) where the estimator needs some.
        weights: w_1 … w_K of eq. (4), the same in every unroll.
        steps: in all, a multiple of K.
        optimizer: what applies the gradient to Φ.
        clip: largest norm of Σ_i g^(i); None for no limit.
        engine: as for :func:`meta_update`.

    Returns:
        The new Φ; what there is to see of each unroll's update.

    Raises:
        ValueError: if ``steps`` is not a multiple of K, there are no groups, or the engine finds
            fault with a task.
    """

    def gradients(params: LSTMParams, start: int, carried: Sequence[Any]) -> list[MetaGradient]:
        K, found = len(weights), []
        for task, (theta, state) in zip(groups, carried or _fresh(groups), strict=True):
            segment = _segment(task, start, K)._replace(theta_0=theta)
            found.append(engine(params, tuner, segment, weights, state))
        return found

    return train_in_unrolls(meta, gradients, len(weights), steps, optimizer, clip)


def train_in_unrolls(
    meta: MetaState,
    gradients: Callable[[LSTMParams, int, Sequence[Any]], Sequence[MetaGradient]],
    K: int,
    steps: int,
    optimizer: Optimizer,
    clip: float | None = None,
) -> tuple[MetaState, list[MetaInfo]]:
    """Truncated unrolls of K steps with an update of Φ after each, for gradients from anywhere.

    Args:
        meta: Φ and its optimizer's state.
        gradients: from Φ, the number of steps done, and (θ, h) of each group to go on from (none
            at the start), what an engine finds for each group.
        K: steps of one unroll.
        steps: in all.
        optimizer: what applies the gradient to Φ.
        clip: largest norm of Σ_i g^(i); None for no limit.

    Raises:
        ValueError: if ``steps`` is not a multiple of K.
    """
    if K < 1 or steps < K or steps % K:
        raise ValueError(
            f"steps must be a positive multiple of the unroll length {K}, found {steps}"
        )
    carried: list[tuple[Array, LSTMState]] = []
    infos = []
    for start in range(0, steps, K):
        results = gradients(meta.params, start, carried)
        meta, carried, info = descend(meta, results, optimizer, clip)
        infos.append(info)
    return meta, infos


def _fresh(groups: Sequence[Task]) -> list[tuple[Array, None]]:
    """Where the first unroll of each group starts."""
    return [(task.theta_0, None) for task in groups]


def _segment(task: Task, start: int, K: int) -> Task:
    """The same task with the directions of steps start … start + K − 1."""
    if task.directions is None:
        return task
    return task._replace(directions=task.directions[start : start + K, ...])
