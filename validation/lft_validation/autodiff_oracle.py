"""The paper's unroll stated again in autograd: the judge of the hand-written engines.

Nothing here shares a formula with ``lft_ref``. Only the containers of data and settings are read,
never their methods; tasks are handled one at a time, gates one at a time, directions one at a time;
every derivative, the gradient that the fine-tuner is fed included, comes from autograd. It is slow
and meant to be: what it has for it is that each line can be compared with the paper by eye.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd import grad, jacobian

from lft_ref import FineTuner, Task
from lft_ref.convolution import Conv2d
from lft_ref.lstm import LSTMState
from lft_ref.maml import MAMLGradient
from lft_ref.meta_gradient import MetaGradient
from lft_ref.objectives import Data, NetworkLoss, Objective, SquaredError
from lft_ref.params import LSTMParams
from lft_ref.pooling import Flatten, Pool2d
from lft_ref.zeroth_order import Estimator, FirstOrder
from lft_validation.autodiff_restatement import (
    constant,
    estimate,
    fields,
    flatten,
    loss,
    rnn_step,
)

Array = Any  # a NumPy array, or autograd's box around one

# autograd divides by cosh², which overflows to the right result, 0, where tanh is flat.
_FLAT_TANH = np.errstate(over="ignore")


@_FLAT_TANH
def oracle(
    params: LSTMParams,
    tuner: FineTuner,
    task: Task,
    weights: tuple[float, ...],
    state_0: LSTMState | None = None,
    truncate: int | None = None,
) -> MetaGradient:
    """∇_Φ Σ_k w_k f(θ^(k); D_val), eq. (5), by reverse-mode autodiff of the unroll (3).

    Args:
        params: Φ, NumPy arrays, float64.
        tuner: preprocessing, output scale, estimator, and whether ∂g/∂θ is kept; without it g is a
            constant to autograd. ``tuner.ops`` is not used.
        task: one task, or a batch of tasks on leading axes.
        weights: w_1 … w_K, so K steps are unrolled.
        state_0: the cell's state to start from, each (..., d, n); zero if None.
        truncate: make (θ, h, c) constants every so many steps; never if None.

    Returns:
        Meta-loss and gradient of each task; θ^(K) and h_K.

    Raises:
        ValueError: for an objective, estimator or preprocessing that is not restated here.

    Example:
        >>> import numpy as np
        >>> from lft_ref import Data, FineTuner, Quadratic, Task, adjoint, from_draws
        >>> phi = from_draws(np.random.default_rng(0).uniform(-1, 1, 43), m=2, n=2)
        >>> data = Data(np.eye(3), np.ones(3))
        >>> task = Task(Quadratic(), data, data, np.zeros(3))
        >>> want = oracle(phi, FineTuner(), task, (1.0, 1.0)).grad
        >>> got = adjoint(phi, FineTuner(), task, (1.0, 1.0)).grad
        >>> all(np.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(got, want))
        True
    """
    results = []
    for one, state in _single_tasks(task, params.n, state_0):

        def meta_loss(phi: Array, one: Task = one, state: LSTMState = state) -> Array:
            losses, _, _ = _unroll(phi, params, tuner, one, weights, state, truncate)
            return sum(w * loss for w, loss in zip(weights, losses, strict=True))

        phi = flatten(params)
        losses, theta, state_K = _unroll(phi, params, tuner, one, weights, state, truncate)
        value = sum(w * loss for w, loss in zip(weights, losses, strict=True))
        grads = fields(grad(meta_loss)(phi), params.m, params.n)
        results.append((value, losses, grads, theta, state_K))
    values, all_losses, all_grads, thetas, states = zip(*results, strict=True)
    batch = _batch(task)
    return MetaGradient(
        _stack(values, batch),
        np.moveaxis(_stack(all_losses, batch), -1, 0),
        LSTMParams(*(_stack(field, batch) for field in zip(*all_grads, strict=True))),
        _stack(thetas, batch),
        LSTMState(*(_stack(part, batch) for part in zip(*states, strict=True))),
    )


@_FLAT_TANH
def oracle_GH(
    params: LSTMParams, tuner: FineTuner, task: Task, K: int, state_0: LSTMState | None = None
) -> tuple[Array, Array]:
    """G^(K) = ∂θ^(K)/∂Φ (d, P) and H^(K) = ∂h_K/∂Φ (d, 2n, P, rows h first, then c) of one task.

    Args:
        params: Φ, NumPy arrays, float64.
        tuner: as for :func:`oracle`.
        task: one task without batch axes.
        K: number of steps.
        state_0: the cell's state to start from; zero if None.

    Raises:
        ValueError: if the task has batch axes, or holds what is not restated here.
    """
    if task.theta_0.ndim != 1:
        raise ValueError(
            f"theta_0 must have shape (d,), found {task.theta_0.shape}; take one task of the batch"
        )
    ((one, state),) = _single_tasks(task, params.n, state_0)
    d, n = len(one.theta_0), params.n

    def ends(phi: Array) -> Array:
        _, theta, (h, c) = _unroll(phi, params, tuner, one, (1.0,) * K, state, None)
        return anp.concatenate([theta[:, None], h, c], axis=1)  # (d, 1 + 2n)

    rows = jacobian(ends)(flatten(params))
    return rows[:, 0, :], rows[:, 1:, :].reshape(d, 2 * n, -1)


@_FLAT_TANH
def oracle_maml(
    task: Task,
    alpha: float,
    K: int,
    estimator: Estimator | None = None,
    second_order: bool = True,
) -> MAMLGradient:
    """∇_θ f(θ^(K); D_val) of MAML, eqs. (1) and (2), by autodiff through the K inner steps.

    Args:
        task: one task or a batch; ``theta_0`` may lack the batch axes that the data have.
        alpha: inner learning rate.
        K: number of inner steps.
        estimator: how g is obtained; the gradient if None.
        second_order: False makes g a constant to autograd.

    Raises:
        ValueError: for an objective or estimator that is not restated here.
    """
    results = []
    for one, _ in _single_tasks(task, 1, None):

        def adapt(theta: Array, one: Task = one) -> Array:
            for k in range(K):
                u = None if one.directions is None else one.directions[k]
                g = estimate(estimator or FirstOrder(), one.objective, theta, one.train, u)
                theta = theta - alpha * (g if second_order else constant(g))
            return theta

        def meta_loss(theta: Array, one: Task = one, adapt: Any = adapt) -> Array:
            return loss(one.objective, adapt(theta), one.val)

        theta_K = adapt(one.theta_0)
        results.append(
            (loss(one.objective, theta_K, one.val), grad(meta_loss)(one.theta_0), theta_K)
        )
    return MAMLGradient(*(_stack(part, _batch(task)) for part in zip(*results, strict=True)))


def _unroll(
    phi: Array,
    params: LSTMParams,
    tuner: FineTuner,
    task: Task,
    weights: tuple[float, ...],
    state: LSTMState,
    truncate: int | None,
) -> tuple[list[Array], Array, LSTMState]:
    """Validation losses of θ^(1) … θ^(K), θ^(K) and h_K of one task; Φ comes in flattened."""
    theta, (h, c), losses = task.theta_0, state, []
    for k in range(len(weights)):
        if truncate is not None and k % truncate == 0:
            theta, h, c = constant(theta), constant(h), constant(c)
        u = None if task.directions is None else task.directions[k]
        g = estimate(tuner.estimator, task.objective, theta, task.train, u)
        g = g if tuner.second_order else constant(g)
        delta, h, c = rnn_step(phi, params.m, params.n, tuner.cell, g, h, c)
        theta = theta - delta
        losses.append(loss(task.objective, theta, task.val))
    return losses, theta, LSTMState(h, c)


class _Core(NamedTuple):
    """Number of axes of one task's data; what stands in front is batch."""

    x: int
    y: int


def _core(objective: Objective) -> _Core:
    network = getattr(objective, "network", None)
    images = network is not None and isinstance(network.layers[0], Conv2d | Pool2d | Flatten)
    outputs = isinstance(objective, NetworkLoss) and isinstance(objective.loss, SquaredError)
    return _Core(4 if images else 2, 2 if outputs else 1)


def _batch(task: Task) -> tuple[int, ...]:
    """Return the batch shape that θ^(0) and the data have together."""
    core = _core(task.objective)
    fronts = [task.theta_0.shape[:-1]]
    for data in (task.train, task.val):
        fronts += [data.x.shape[: -core.x], data.y.shape[: -core.y]]
    return np.broadcast_shapes(*fronts)


def _single_tasks(
    task: Task, n: int, state_0: LSTMState | None
) -> Iterator[tuple[Task, LSTMState]]:
    """Cut a batch into its tasks, each with the state that its cell starts from."""
    batch, core = _batch(task), _core(task.objective)

    def at(array: Array, axes: int, index: tuple[int, ...]) -> Array:
        return np.broadcast_to(array, (*batch, *array.shape[array.ndim - axes :]))[index]

    for index in np.ndindex(*batch):
        one = Task(
            task.objective,
            Data(at(task.train.x, core.x, index), at(task.train.y, core.y, index)),
            Data(at(task.val.x, core.x, index), at(task.val.y, core.y, index)),
            at(task.theta_0, 1, index),
            None if task.directions is None else task.directions[:, :, *index, :],
        )
        zero = np.zeros((task.theta_0.shape[-1], n))
        state = (
            LSTMState(zero, zero) if state_0 is None else LSTMState(*(a[index] for a in state_0))
        )
        yield one, state


def _stack(results: Any, batch: tuple[int, ...]) -> Array:
    """Put the tasks' results back on the batch axes."""
    arrays = np.asarray(results)
    return arrays.reshape((*batch, *arrays.shape[1:]))
