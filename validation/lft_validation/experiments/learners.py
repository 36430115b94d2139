"""Meta-training of every experiment: Algorithm 1 on LFT's or L2O's data, and MAML.

An experiment says where tasks come from: a function that returns the groups of tasks of one
meta-batch. A group is one :class:`~lft_ref.tasks.Task` with a batch of tasks of one shape on its
first axis; incongruous tasks (images of other sizes, networks of other architectures) are several
groups in one meta-batch, or take turns from one meta-batch to the next.

A group may also be a :class:`Group`: tasks named by plain settings, which a worker elsewhere makes
for itself. A meta-batch cut into groups of a fixed size has the same bits wherever they are worked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

from lft_backends.backend import Backend
from lft_backends.draws import Stage, stream
from lft_ref import (
    Cell,
    Estimator,
    FineTuner,
    FirstOrder,
    Identity,
    LogSign,
    LSTMParams,
    LSTMState,
    MetaGradient,
    MetaState,
    Optimizer,
    Task,
    ZerothOrder,
    adam,
    adjoint,
    clip_by_norm,
    flatten,
    from_draws,
    l2o_data,
    l2o_train_data,
    learned,
    lft_data,
    maml_gradient,
    meta_gradient,
    size,
    sum_over_tasks,
    unflatten,
)
from lft_ref._array import namespace
from lft_ref.meta import Engine, train_in_unrolls
from lft_validation.experiments.training import Learner, LearnerState, decaying
from lft_validation.jobs import Map, map_here

LEARNED = ("LFT", "L2O", "L2O-train")
DATA = {"LFT": lft_data, "L2O": l2o_data, "L2O-train": l2o_train_data}
WEIGHTS = {
    "every": meta_gradient.weights_every_step,
    "linear": meta_gradient.weights_linear,
    "last": meta_gradient.weights_last_step,
    "mean": meta_gradient.weights_mean,
}


ENGINE: Engine = partial(adjoint, every_loss=False)
"""What gives ∇_Φ in meta-training, which asks for no loss beside the meta-loss."""


class Algorithm1(NamedTuple):
    """Settings of Algorithm 1, in truncated unrolls (supplements C and G)."""

    batches: int  # meta-batches in all
    steps: int  # of fine-tuning
    unroll: int  # K
    weighting: str  # w_k, one of WEIGHTS
    lstm_units: int  # n
    learning_rate: float  # of Adam on Φ; decays to 0
    clip: float  # largest norm of ∇_Φ


class Group(NamedTuple):
    """Tasks of one shape named by plain settings: all hashable, and quickly sent to a worker."""

    task: Callable[..., Task]  # of ``args``; without directions
    args: tuple[Any, ...]
    directions: Callable[..., Any] | None = None  # of ``args`` and a range of steps


def parts_of(numbers: range, size: int) -> list[range]:
    """Cut a meta-batch into parts of a fixed size, which are its groups.

    Example:
        >>> parts_of(range(10, 15), 2)
        [range(10, 12), range(12, 14), range(14, 15)]
    """
    return [numbers[i : i + size] for i in range(0, len(numbers), size)]


class MAMLSettings(NamedTuple):
    """Settings of MAML, eqs. (1) and (2)."""

    batches: int  # meta-batches in all
    inner_steps: int  # K
    alpha: float  # α
    learning_rate: float  # of Adam on θ
    decay: bool  # of that rate, down to 0
    clip: float  # largest norm of ∇_θ
    second_order: bool = True  # False for FOMAML


def make_tuner(
    backend: Backend,
    preprocess: str,
    output_scale: float,
    mu: float | None = None,
    p: float = 10.0,
    second_order: bool = True,
) -> FineTuner:
    """Return everything about the fine-tuner but Φ; with ``mu`` it is fed the estimate (6)."""
    estimator: Estimator = FirstOrder() if mu is None else ZerothOrder(mu)
    cell = Cell(LogSign(p) if preprocess == "log_sign" else Identity(), output_scale)
    return FineTuner(cell, estimator, second_order, backend.ops)


def learned_learner(
    settings: Algorithm1,
    tuner: FineTuner,
    backend: Backend,
    seed: int,
    groups: Callable[[int], Sequence[Task | Group]],
    engine: Engine = ENGINE,
) -> Learner:
    """LFT, L2O and L2O-train: Algorithm 1. What they differ in is the data of ``groups``.

    Args:
        settings: of Algorithm 1.
        tuner: the fine-tuner's fixed choices.
        backend: where to compute.
        seed: of the initial Φ.
        groups: the groups of tasks of the meta-batch of a given number.
        engine: what gives ∇_Φ; where memory is short, ``partial(ENGINE, segment=s)``.
    """
    m, n = tuner.cell.preprocess.m, settings.lstm_units
    updates = settings.batches * (settings.steps // settings.unroll)
    optimizer = decaying(adam(settings.learning_rate), updates)
    weights = WEIGHTS[settings.weighting](settings.unroll)

    def init() -> LearnerState:
        draws = stream(seed, Stage.PHI).uniform(-1, 1, size(m, n))
        flat = flatten(from_draws(backend.asarray(draws), m, n))
        return LearnerState(flat, optimizer.init(flat))

    def update(state: LearnerState, batch: int, over: Map = map_here) -> tuple[LearnerState, Any]:
        meta, found = MetaState(unflatten(state.flat, m, n), state.adam, 0), groups(batch)
        named = all(isinstance(group, Group) for group in found)  # arrays are not sent around

        def gradients(params: LSTMParams, start: int, carried: Sequence[Any]) -> list[MetaGradient]:
            items = [
                (params, tuner, group, weights, start, engine, *_sent(at))
                for group, at in zip(found, carried or [None] * len(found), strict=True)
            ]
            return [_received(r) for r in (over if named else map_here)(unroll_gradient, items)]

        K, steps = settings.unroll, settings.steps
        meta, infos = train_in_unrolls(meta, gradients, K, steps, optimizer, settings.clip)
        return LearnerState(flatten(meta.params), meta.optimizer), infos[-1].meta_loss

    return Learner(init, update)


def unroll_gradient(
    params: LSTMParams,
    tuner: FineTuner,
    group: Task | Group,
    weights: tuple[float, ...],
    start: int,
    engine: Engine = ENGINE,
    theta: Any = None,
    h: Any = None,
    c: Any = None,
) -> MetaGradient:
    """∇_Φ of one unroll of one group, summed over its tasks: what a worker does.

    Args:
        params: Φ.
        tuner: the fine-tuner's fixed choices.
        group: the tasks.
        weights: w_1 … w_K.
        start: steps done before.
        engine: what gives ∇_Φ.
        theta: where to go on from (tasks, d); None at the start.
        h: with c, the cell's state (tasks, n, d). In this order it is contiguous, so it arrives as
            it was sent, and products of it have the same bits.
        c: see ``h``.

    Returns:
        The gradient, summed; θ^(K); h_K and c_K in the same order as above.
    """
    task = _task(group, range(start, start + len(weights)))
    state = None if theta is None else LSTMState(h.mT, c.mT)
    found = engine(
        params, tuner, task if theta is None else task._replace(theta_0=theta), weights, state
    )
    loss = namespace(found.meta_loss).sum(found.meta_loss)
    return found._replace(
        grad=sum_over_tasks(found.grad), meta_loss=loss, state=LSTMState(*_turned(found.state))
    )


def _task(group: Task | Group, steps: range) -> Task:
    """The tasks of a group, with the directions of some steps."""
    if isinstance(group, Group):
        u = None if group.directions is None else group.directions(*group.args, steps)
        return _made(group.task, group.args)._replace(directions=u)
    u = group.directions
    return group if u is None else group._replace(directions=u[steps.start : steps.stop, ...])


@lru_cache(maxsize=64)
def _made(task: Callable[..., Task], args: tuple[Any, ...]) -> Task:
    """Tasks are met again in the next unroll."""
    return task(*args)


def _turned(state: LSTMState) -> tuple[Any, Any]:
    return state.h.mT, state.c.mT


def _sent(at: tuple[Any, LSTMState] | None) -> tuple[Any, ...]:
    return () if at is None else (at[0], *_turned(at[1]))


def _received(result: MetaGradient) -> MetaGradient:
    return result._replace(state=LSTMState(*_turned(result.state)))


def maml_learner(
    settings: MAMLSettings,
    estimator: Estimator,
    backend: Backend,
    start: Callable[[], Any],
    groups: Callable[[int, Any], list[Task]],
) -> Learner:
    """MAML: the shared θ is updated with Adam on the mean of ∇_θ f(θ^(K); D_val) over tasks.

    Args:
        settings: of MAML.
        estimator: how g is obtained.
        backend: where to compute.
        start: gives the first θ (d,).
        groups: the groups of tasks of the meta-batch of a given number, from θ: see :func:`shared`.
            MAML takes congruous tasks only, so all groups have the same d.
    """
    xp, optimizer = backend.xp, adam(settings.learning_rate)
    if settings.decay:
        optimizer = decaying(optimizer, settings.batches)

    def init() -> LearnerState:
        flat = start()
        return LearnerState(flat, optimizer.init(flat))

    def update(
        state: LearnerState,
        batch: int,
        over: Map = map_here,  # noqa: ARG001 - its few steps are not worth sending
    ) -> tuple[LearnerState, Any]:
        found = [
            maml_gradient(
                task, settings.alpha, settings.inner_steps, estimator, settings.second_order
            )
            for task in groups(batch, state.flat)
        ]
        grads = xp.concat([result.grad for result in found], axis=0)
        losses = xp.concat([result.meta_loss for result in found], axis=0)
        gradient = clip_by_norm(xp.mean(grads, axis=0), settings.clip)
        step, adam_state = optimizer.update(gradient, state.adam)
        return LearnerState(state.flat - step, adam_state), xp.mean(losses)

    return Learner(init, update)


def shared(theta: Any, tasks: int, backend: Backend) -> Any:
    """Let every task start from MAML's θ (d,), or from any one start: (tasks, d)."""
    theta = backend.xp.reshape(theta, (1, -1))
    return backend.xp.broadcast_to(theta, (tasks, theta.shape[-1]))


def learned_rule(tuner: FineTuner, backend: Backend, lstm_units: int, flat: Any) -> Optimizer:
    """Return the update rule RNN_Φ from the flat Φ of a meta-training."""
    params = unflatten(backend.asarray(flat), tuner.cell.preprocess.m, lstm_units)
    return learned(params, tuner.cell, backend.ops)
