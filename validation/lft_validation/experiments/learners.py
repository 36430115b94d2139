"""Meta-training of every experiment: Algorithm 1 on LFT's or L2O's data, and MAML.

An experiment says where tasks come from: a function that returns the groups of tasks of one
meta-batch. A group is one :class:`~lft_ref.tasks.Task` with a batch of tasks of one shape on its
first axis; incongruous tasks (images of other sizes, networks of other architectures) are several
groups in one meta-batch, or take turns from one meta-batch to the next.

A group may also be tasks named by plain settings: see :mod:`lft_validation.experiments.groups`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
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
    MetaGradient,
    MetaState,
    Optimizer,
    Task,
    ZerothOrder,
    adam,
    clip_by_norm,
    clip_each_task,
    flatten,
    from_draws,
    l2o_data,
    l2o_train_data,
    learned,
    lft_data,
    maml_gradient,
    meta_gradient,
    size,
    unflatten,
)
from lft_ref.meta import Engine, train_in_unrolls
from lft_validation.experiments.divergence import Unroll, in_inner_steps, in_unrolls
from lft_validation.experiments.groups import ENGINE, Group, received, sent, unroll_gradient
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
Watch = Callable[[LSTMParams, Sequence[MetaGradient]], None]


class Algorithm1(NamedTuple):
    """Settings of Algorithm 1, in truncated unrolls (supplements C and G)."""

    batches: int  # meta-batches in all
    steps: int  # of fine-tuning
    unroll: int  # K
    weighting: str  # w_k, one of WEIGHTS
    lstm_units: int  # n
    learning_rate: float  # of Adam on Φ; decays to 0
    clip: float  # largest norm of ∇_Φ
    task_clip: float = 0.0  # and of one task's, before they are added up; 0: any


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
    if settings.task_clip:
        engine = partial(clip_each_task, limit=settings.task_clip, engine=engine)
    m, n = tuner.cell.preprocess.m, settings.lstm_units
    updates = settings.batches * (settings.steps // settings.unroll)
    optimizer = decaying(adam(settings.learning_rate), updates)
    algorithm = _Algorithm(settings, tuner, optimizer)

    def init() -> LearnerState:
        draws = stream(seed, Stage.PHI).uniform(-1, 1, size(m, n))
        flat = flatten(from_draws(backend.asarray(draws), m, n))
        return LearnerState(flat, optimizer.init(flat))

    def update(state: LearnerState, batch: int, over: Map = map_here) -> tuple[LearnerState, Any]:
        return _meta_batch(algorithm, state, groups(batch), over, engine)

    def trace(state: LearnerState, batch: int) -> str:
        every, seen, host = partial(engine, every_loss=True), list[Unroll](), backend.to_host

        def watch(params: LSTMParams, results: Sequence[MetaGradient]) -> None:
            seen.append(_on_host(params, results, host))

        new, _ = _meta_batch(algorithm, state, groups(batch), map_here, every, watch)
        return in_unrolls(seen, host(new.flat))

    return Learner(init, update, trace)


def _on_host(params: LSTMParams, results: Sequence[MetaGradient], host: Any) -> Unroll:
    losses = [host(result.val_loss) for result in results]
    return Unroll(host(flatten(params)), losses, [host(flatten(r.grad)) for r in results])


class _Algorithm(NamedTuple):
    """What all meta-batches have in common."""

    settings: Algorithm1
    tuner: FineTuner
    optimizer: Optimizer


def _meta_batch(
    algorithm: _Algorithm,
    state: LearnerState,
    groups: Sequence[Task | Group],
    over: Map,
    engine: Engine,
    watch: Watch = lambda *_: None,
) -> tuple[LearnerState, Any]:
    """All unrolls of one meta-batch: the new state, and the meta-loss of the last unroll."""
    settings, tuner, optimizer = algorithm
    K, m, n = settings.unroll, tuner.cell.preprocess.m, settings.lstm_units
    weights = WEIGHTS[settings.weighting](K)
    over = over if all(isinstance(g, Group) for g in groups) else map_here  # arrays stay here

    def gradients(params: LSTMParams, start: int, carried: Sequence[Any]) -> list[MetaGradient]:
        items = [
            (params, tuner, group, weights, start, engine, *sent(at))
            for group, at in zip(groups, carried or [None] * len(groups), strict=True)
        ]
        results = [received(result) for result in over(unroll_gradient, items)]
        watch(params, results)
        return results

    meta = MetaState(unflatten(state.flat, m, n), state.adam, 0)
    meta, infos = train_in_unrolls(meta, gradients, K, settings.steps, optimizer, settings.clip)
    return LearnerState(flatten(meta.params), meta.optimizer), infos[-1].meta_loss


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

    def trace(state: LearnerState, batch: int) -> str:
        found, alpha, K = groups(batch, state.flat), settings.alpha, settings.inner_steps
        return in_inner_steps(found, alpha, K, estimator, backend.to_host)

    return Learner(init, update, trace)


def shared(theta: Any, tasks: int, backend: Backend) -> Any:
    """Let every task start from MAML's θ (d,), or from any one start: (tasks, d)."""
    theta = backend.xp.reshape(theta, (1, -1))
    return backend.xp.broadcast_to(theta, (tasks, theta.shape[-1]))


def learned_rule(tuner: FineTuner, backend: Backend, lstm_units: int, flat: Any) -> Optimizer:
    """Return the update rule RNN_Φ from the flat Φ of a meta-training."""
    params = unflatten(backend.asarray(flat), tuner.cell.preprocess.m, lstm_units)
    return learned(params, tuner.cell, backend.ops)
