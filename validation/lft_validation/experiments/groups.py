"""Groups of tasks, and the gradient of one unroll of one group: what a worker does.

A group is one :class:`~lft_ref.tasks.Task` with a batch of tasks of one shape on its first axis, or
a :class:`Group`: tasks named by plain settings, which a worker elsewhere makes for itself. A
meta-batch cut into groups of a fixed size has the same bits wherever they are worked.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

from lft_ref import FineTuner, LSTMParams, LSTMState, MetaGradient, Task, adjoint, sum_over_tasks
from lft_ref._array import namespace
from lft_ref.meta import Engine

ENGINE: Engine = partial(adjoint, every_loss=False)
"""What gives ∇_Φ in meta-training, which asks for no loss beside the meta-loss."""


class Group(NamedTuple):
    """Tasks of one shape named by plain settings: all hashable, and quickly sent to a worker."""

    task: Callable[..., Task]  # of ``args``; without directions
    args: tuple[Any, ...]
    directions: Callable[..., Any] | None = None  # of ``args`` and a range of steps


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


def sent(at: tuple[Any, LSTMState] | None) -> tuple[Any, ...]:
    """Return (θ, h) as :func:`unroll_gradient` takes them; nothing at the start."""
    return () if at is None else (at[0], *_turned(at[1]))


def received(result: MetaGradient) -> MetaGradient:
    """Return what :func:`unroll_gradient` gave with (h, c) in the cell's order."""
    return result._replace(state=LSTMState(*_turned(result.state)))
