"""Update rules as pairs of pure functions: SGD, Adam, and the learned fine-tuner itself.

SGD and Adam update Φ in Algorithm 1, and serve as hand-designed fine-tuners of θ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from lft_ref._array import Array, namespace
from lft_ref.blocks import BLOCKWISE
from lft_ref.checks_settings import (
    check_cell,
    check_count,
    check_params,
    check_positive,
    check_theta,
)
from lft_ref.lstm import Cell, LSTMState, initial_state
from lft_ref.ops import Ops
from lft_ref.params import LSTMParams


class Optimizer(NamedTuple):
    """``init(θ) -> state`` and ``update(g, state) -> (Δ, state)``; the caller sets θ ← θ − Δ."""

    init: Callable[[Array], Any]
    update: Callable[[Array, Any], tuple[Array, Any]]


class AdamState(NamedTuple):
    """Moments of Adam after so many updates."""

    updates: int
    mean: Array
    square: Array


def sgd(learning_rate: float) -> Optimizer:
    """Gradient descent, eq. (2): Δ = α g.

    Raises:
        ValueError: if the learning rate is not positive and finite.
    """
    check_positive("learning_rate", learning_rate)
    return Optimizer(lambda _: (), lambda g, state: (learning_rate * g, state))


def adam(
    learning_rate: float, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
) -> Optimizer:
    """Adam: Δ = α m̂ / (√v̂ + ε), with m̂ = m / (1 − β₁^t) and v̂ = v / (1 − β₂^t).

    m ← β₁ m + (1 − β₁) g and v ← β₂ v + (1 − β₂) g², from 0. Source: Kingma & Ba 2015, algorithm 1.

    Args:
        learning_rate: α.
        beta1: β₁.
        beta2: β₂.
        epsilon: ε.

    Raises:
        ValueError: if the learning rate is not positive and finite.
    """
    check_positive("learning_rate", learning_rate)

    def init(theta: Array) -> AdamState:
        zero = namespace(theta).zeros_like(theta)
        return AdamState(0, zero, zero)

    def update(g: Array, state: AdamState) -> tuple[Array, AdamState]:
        count = state.updates + 1
        mean = beta1 * state.mean + (1.0 - beta1) * g
        square = beta2 * state.square + (1.0 - beta2) * g * g
        root = namespace(g).sqrt(square / (1.0 - beta2**count)) + epsilon
        return learning_rate * (mean / (1.0 - beta1**count)) / root, AdamState(count, mean, square)

    return Optimizer(init, update)


def learned(params: LSTMParams, cell: Cell, ops: Ops = BLOCKWISE) -> Optimizer:
    """The fine-tuner RNN_Φ of eq. (3) behind the interface of SGD and Adam.

    Raises:
        ValueError: if Φ's arrays do not belong together, or do not take the cell's features, or a
            setting of the cell is no number for it; and at its first use, if θ has another dtype
            than Φ.
    """
    check_params(params)
    check_cell(params, cell)

    def init(theta: Array) -> LSTMState:
        if theta.dtype != params.W_h.dtype:
            raise ValueError(
                f"theta is {theta.dtype} but Φ is {params.W_h.dtype}; convert one of them"
            )
        return initial_state(theta, params.n)

    return Optimizer(init, lambda g, state: ops.step(params, cell, g, state))


def clip_by_norm(g: Array, limit: float, axis: int | None = None) -> Array:
    """Scale g down to Euclidean norm ``limit`` if it is longer.

    Args:
        g: the gradient (...).
        limit: the largest norm.
        axis: the axis that a norm is taken along: every entry of the others is a gradient of its
            own. None if all of g is one.

    Raises:
        ValueError: if the limit is not positive and finite.

    Example:
        >>> import numpy as np
        >>> clip_by_norm(np.array([[3.0, 4.0], [0.0, 0.5]]), 1.0, axis=-1)
        array([[0.6, 0.8],
               [0. , 0.5]])
    """
    check_positive("limit", limit)
    xp, keep = namespace(g), axis is not None
    top = xp.max(xp.abs(g), axis=axis, keepdims=keep)
    huge = xp.isfinite(top) & (top > xp.finfo(g.dtype).max ** 0.5 / 2**16)  # squares overflow
    unit = xp.where(huge, top, top * 0 + 1)
    norm = unit * xp.sqrt(xp.sum((g / unit) ** 2, axis=axis, keepdims=keep))
    return g * xp.where(
        norm > limit, limit / xp.where(norm > limit, norm, norm * 0 + 1), norm * 0 + 1
    )


def fine_tune(
    optimizer: Optimizer,
    gradient: Callable[[Array], Array],
    theta: Array,
    steps: int,
    monitor: Callable[[int, Array], None] = lambda _k, _theta: None,
) -> Array:
    """Apply an update rule to one's own loss: return θ after ``steps`` steps.

    Args:
        optimizer: :func:`learned`, :func:`adam` or :func:`sgd`.
        gradient: g(θ), any gradient or estimate of it, shape of θ.
        theta: where to start (..., d).
        steps: how many steps.
        monitor: called with (k, θ^(k)) for k = 0 … steps.

    Raises:
        ValueError: if θ is not a floating-point array (..., d), ``steps`` is not a whole number or
            negative, or ``gradient`` returns another shape or dtype than θ's, or a number that is
            not finite.

    Example:
        >>> import numpy as np
        >>> theta = fine_tune(sgd(0.5), lambda theta: theta - 1.0, np.zeros(2), steps=20)
        >>> bool(np.allclose(theta, 1.0, atol=1e-5))
        True
    """
    check_count("steps", steps, least=0)
    check_theta("theta", theta)
    state = optimizer.init(theta)
    monitor(0, theta)
    for k in range(steps):
        g = gradient(theta)
        _check_gradient(g, theta, k)
        delta, state = optimizer.update(g, state)
        theta = theta - delta
        monitor(k + 1, theta)
    return theta


def _check_gradient(g: Array, theta: Array, k: int) -> None:
    xp = namespace(g, theta)
    if g.shape != theta.shape or g.dtype != theta.dtype:
        raise ValueError(
            f"gradient must return theta's shape and dtype, {theta.shape} {theta.dtype}, "
            f"found {g.shape} {g.dtype}"
        )
    if not xp.all(xp.isfinite(g)):
        raise ValueError(f"the gradient at step {k} is not finite; look at the loss there")
