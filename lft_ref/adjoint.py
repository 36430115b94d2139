"""The meta-gradient by backpropagation through the unroll: the engine for training.

The same number as Statement 1's, about three unrolls long, with memory in proportion to K. Where
that is too much, the unroll is cut into segments: only (θ, h) at their starts are kept, and each
segment's steps are computed again on the way back. That costs less than one unroll more, needs
memory in proportion to √K, and changes no bit of the result. Source: Griewank & Walther 2000.
"""

from __future__ import annotations

from math import ceil
from operator import add
from typing import Any, NamedTuple

from lft_ref._array import Array, namespace
from lft_ref.checks import check_task
from lft_ref.checks_settings import check_count, check_optional_counts, check_weights
from lft_ref.lstm import LSTMState, initial_state
from lft_ref.meta_gradient import MetaGradient, is_boundary, weighted_sum
from lft_ref.objectives import value_and_grad
from lft_ref.params import LSTMParams
from lft_ref.tasks import Task, directions_at
from lft_ref.unroll import FineTuner, Trajectory, fine_tune_step, steps


class _Unroll(NamedTuple):
    """What all steps have in common."""

    params: LSTMParams
    tuner: FineTuner
    task: Task
    weights: tuple[float, ...]
    truncate: int | None
    at_once: int | None
    every_loss: bool


class _Back(NamedTuple):
    """What one step hands to the step before it: cotangents of θ^(k) and h_k, and Φ̄ so far."""

    theta: Array  # (..., d)
    state: LSTMState
    params: Any  # LSTMParams; None before the first step


def adjoint(
    params: LSTMParams,
    tuner: FineTuner,
    task: Task,
    weights: tuple[float, ...],
    state_0: LSTMState | None = None,
    truncate: int | None = None,
    segment: int | None = None,
    at_once: int | None = None,
    every_loss: bool = True,
) -> MetaGradient:
    """∇_Φ Σ_k w_k f(θ^(k); D_val), eq. (5), by reverse accumulation.

    Args:
        params: Φ.
        tuner: the fine-tuner's fixed choices.
        task: one task, or a batch of tasks on leading axes.
        weights: w_1 … w_K, so K steps are unrolled.
        state_0: the cell's state to start from; zero if None.
        truncate: cut the dependence on Φ through (θ, h) every so many steps; never if None.
        segment: keep (θ, h) every so many steps only, and compute the others again; keep all if
            None. The result is the same, bit for bit.
        at_once: how many θ^(k) are judged on D_val together: all of a segment if None. Few need
            less memory, and are faster where one already keeps the processor busy.
        every_loss: value f(θ^(k); D_val) where w_k = 0 too. If not, NaN stands there: a meta-update
            by the last step alone needs none of the others.

    Returns:
        Meta-loss and gradient of each task; θ^(K) and h_K to go on from.

    Raises:
        ValueError: if shapes, dtypes, weights, ``truncate``, ``segment`` or ``at_once`` do not fit.
    """
    check_weights(weights)
    check_optional_counts(truncate=truncate, segment=segment, at_once=at_once)
    K = len(weights)
    check_task(params, tuner.cell, tuner.estimator, task, K, state_0)
    xp = namespace(task.theta_0)
    state = initial_state(task.theta_0, params.n) if state_0 is None else state_0
    segments = [range(a, min(a + (segment or K), K)) for a in range(0, K, segment or K)]
    unroll = _Unroll(params, tuner, task, weights, truncate, at_once, every_loss)
    starts = _starts(unroll, state, segments)
    back = _Back(xp.zeros_like(task.theta_0), LSTMState(*(0.0 * a for a in state)), None)
    losses, ends = list[Array](), list[tuple[Array, LSTMState]]()
    for numbers in reversed(segments):
        val_loss, end, back = _segment_back(unroll, numbers, starts.pop(), back)
        losses.insert(0, val_loss)
        ends.append(end)
    val_loss = xp.concat(losses, axis=0)
    return MetaGradient(weighted_sum(weights, val_loss), val_loss, back.params, *ends[0])


def _starts(
    unroll: _Unroll, state: LSTMState, segments: list[range]
) -> list[tuple[Array, LSTMState]]:
    """(θ^(k), h_k) where each segment starts."""
    params, tuner, task, *_ = unroll
    theta, f, starts = task.theta_0, task.objective, [(task.theta_0, state)]
    for numbers in segments[:-1]:
        for k in numbers:
            u = directions_at(task, k)
            theta, state, _ = fine_tune_step(params, tuner, f, task.train, theta, state, u)
        starts.append((theta, state))
    return starts


def _segment_back(
    unroll: _Unroll, numbers: range, start: tuple[Array, LSTMState], back: _Back
) -> tuple[Array, tuple[Array, LSTMState], _Back]:
    """Run a segment's steps and pull back through them: f(θ^(k); D_val), the end, cotangents."""
    params, tuner, task, weights, truncate, *_ = unroll
    path, xp = steps(params, tuner, task, *start, numbers), namespace(back.theta)
    val_loss, val_grad = _judge(unroll, path.theta[1:], numbers)
    for k in reversed(numbers):
        if k in val_grad:
            back = _Back(back.theta + weights[k] * val_grad[k], back.state, back.params)
        back = _step_back(unroll, path, k, k - numbers.start, back)
        if is_boundary(k, truncate):
            zero = LSTMState(*(0.0 * a for a in start[1]))
            back = back._replace(theta=xp.zeros_like(back.theta), state=zero)
    return val_loss, (path.theta[-1], path.state[-1]), back


def _judge(unroll: _Unroll, thetas: list[Array], numbers: range) -> tuple[Array, dict[int, Array]]:
    """f(θ; D_val) after each step (steps, ...), and its gradient where w is not 0, by step."""
    f, val, xp = unroll.task.objective, unroll.task.val, namespace(thetas[0])
    at, size = dict(zip(numbers, thetas, strict=True)), unroll.at_once or len(numbers)
    losses, grads = dict[int, Array](), dict[int, Array]()
    weighted = [k for k in numbers if unroll.weights[k] != 0.0]
    others = [k for k in numbers if unroll.weights[k] == 0.0] if unroll.every_loss else []
    for some in _cut(weighted, size):
        value, grad = value_and_grad(f, xp.stack([at[k] for k in some], axis=0), val)
        losses |= {k: value[i, ...] for i, k in enumerate(some)}
        grads |= {k: grad[i, ...] for i, k in enumerate(some)}
    for some in _cut(others, size):
        value = f.value(xp.stack([at[k] for k in some], axis=0), val)
        losses |= {k: value[i, ...] for i, k in enumerate(some)}
    unknown = xp.full_like(thetas[0][..., 0], float("nan"))
    return xp.stack([losses.get(k, unknown) for k in numbers], axis=0), grads


def _cut(numbers: list[int], size: int) -> list[list[int]]:
    return [numbers[a : a + size] for a in range(0, len(numbers), size)]


def _step_back(unroll: _Unroll, path: Trajectory, k: int, entry: int, back: _Back) -> _Back:
    """Pull back through the step of eq. (3) that leads on from θ^(k), an entry of ``path``."""
    params, tuner, task, *_ = unroll
    theta, state, g = path.theta[entry], path.state[entry], path.g[entry]
    params_bar, g_bar, state_bar = tuner.ops.vjp(
        params, tuner.cell, g, state, -back.theta, back.state
    )
    if back.params is not None:
        params_bar = LSTMParams(*map(add, back.params, params_bar))
    theta_bar = back.theta
    if tuner.second_order:
        u = directions_at(task, k)
        theta_bar = theta_bar + tuner.estimator.vjp(task.objective, theta, task.train, u, g_bar)
    return _Back(theta_bar, state_bar, params_bar)


def adjoint_memory_bytes(
    d: int,
    n: int,
    K: int,
    itemsize: int = 8,
    tasks: int = 1,
    segment: int | None = None,
) -> int:
    """Estimate the peak memory of :func:`adjoint` in bytes, but for what the objective takes.

    A step of a segment leaves θ, g, h and c, and θ^(k) and ∇f(θ^(k); D_val) stand in stacks; the
    start of a segment is θ, h and c. The vjp of a step works with about 24 n numbers a coordinate.

    Raises:
        ValueError: if a count is not a whole number of at least 1.

    Example:
        >>> whole, cut = (adjoint_memory_bytes(10**5, 10, 200, 4, segment=s) for s in (None, 15))
        >>> whole // 2**20, cut // 2**20  # MiB
        (1930, 341)
    """
    for name, count in {"d": d, "n": n, "K": K, "itemsize": itemsize, "tasks": tasks}.items():
        check_count(name, count)
    check_optional_counts(segment=segment)
    s = min(segment or K, K)
    steps_of_one, starts = s * (2 * n + 4), ceil(K / s) * (2 * n + 1)
    return tasks * d * (steps_of_one + starts + 24 * n) * itemsize


def fitting_segment(
    budget: int, d: int, n: int, K: int, itemsize: int = 8, tasks: int = 1
) -> int | None:
    """Return the longest segment with which :func:`adjoint` stays within ``budget`` bytes.

    None if it fits without segments; otherwise the longest that fits, and √K, which takes about the
    least, if none does: compare ``budget`` with :func:`adjoint_memory_bytes` to know.

    Raises:
        ValueError: if a count is not a whole number of at least 1.
    """
    if adjoint_memory_bytes(d, n, K, itemsize, tasks) <= budget:
        return None
    least = ceil(K**0.5)
    fitting = (
        s
        for s in range(K - 1, least, -1)
        if adjoint_memory_bytes(d, n, K, itemsize, tasks, s) <= budget
    )
    return next(fitting, least)


def sum_over_tasks(grad: LSTMParams) -> LSTMParams:
    """Add up the tasks' gradients (line 9 of Algorithm 1): batch axes are summed away."""
    xp = namespace(*grad)
    batch = tuple(range(grad.b_o.ndim))
    return LSTMParams(*(xp.sum(a, axis=batch) if batch else a for a in grad))
