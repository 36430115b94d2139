"""The terms of a meta-gradient as the hand-written code computes them.

The loops are those of ``lft_ref.forward_mode`` and ``lft_ref.adjoint`` with everything kept. Each
term is computed from what ``source`` holds: the trace itself, so that mistakes travel on as they do
in the engine, or a right trace, so that a term is judged on its own.
"""

from __future__ import annotations

import numpy as np

from lft_ref import LSTMState, adjoint, flatten, forward_mode, size
from lft_ref.lstm import Jacobians
from lft_ref.tasks import directions_at
from lft_validation.gradcheck.problem import Array, Problem
from lft_validation.gradcheck.terms import BLOCKS, Trace


def found(problem: Problem, source: Trace | None = None) -> Trace:
    """Return every term of ``problem``, computed from ``source``, or from one another if None."""
    trace: Trace = {}
    source = trace if source is None else source
    for k in range(1, problem.K + 1):
        _values(problem, k, trace, source)
        _statement_1(problem, k, trace, source)
        _contribution(problem, k, trace, source)
    _forward_totals(problem, trace, source)
    for k in range(problem.K, 0, -1):
        _backward(problem, k, trace, source)
    trace["Σ_k Φ̄", problem.K] = sum(source["Φ̄", k] for k in range(1, problem.K + 1))
    if not problem.has_own_pieces:
        arguments = (problem.params, problem.tuner, problem.task, problem.weights)
        for engine in (forward_mode, adjoint):
            grad = engine(*arguments, problem.state_0, problem.truncate).grad
            trace[engine.__name__, problem.K] = flatten(grad)
    if problem.maml_rate is not None:
        _maml(problem, problem.maml_rate, trace, source)
    return trace


def state_of(start: Array, n: int) -> LSTMState:
    """Return (h, c) of the stacked (θ, h, c) (d, 1 + 2n)."""
    return LSTMState(start[:, 1 : 1 + n], start[:, 1 + n :])


def _values(problem: Problem, k: int, trace: Trace, source: Trace) -> None:
    """One step of eq. (3)."""
    tuner, task, f, n = problem.tuner, problem.task, problem.task.objective, problem.params.n
    if k == 1:
        state = problem.state_0
        theta = task.theta_0
    else:
        before = source["start", k - 1]
        theta = before[:, 0] - source["Γ", k - 1]
        state = LSTMState(source["Π", k - 1][:, :n], source["Π", k - 1][:, n:])
    trace["start", k] = np.concatenate([theta[:, None], state.h, state.c], axis=1)
    start = source["start", k]
    theta, state = start[:, 0], state_of(start, n)
    trace["f", k] = f.value(theta, task.train)
    u = directions_at(task, k - 1)
    trace["g", k] = tuner.estimator.estimate(f, theta, task.train, u)
    g = source["g", k]
    trace["x", k] = tuner.cell.preprocess.features(g)
    trace["x'", k] = tuner.cell.preprocess.derivative(g)
    delta, state = problem.pieces.step(problem.params, tuner.cell, g, state)
    trace["Γ", k], trace["Π", k] = delta, np.concatenate(state, axis=1)


def _statement_1(problem: Problem, k: int, trace: Trace, source: Trace) -> None:
    """Blocks, (8) and (9)."""
    params, tuner, task, pieces = problem.params, problem.tuner, problem.task, problem.pieces
    n, d = params.n, problem.d
    theta, state = source["start", k][:, 0], state_of(source["start", k], n)
    blocks = pieces.jacobians(params, tuner.cell, source["g", k], state)
    for name, block in zip(BLOCKS, blocks, strict=True):
        trace[name, k] = block
    u = directions_at(task, k - 1)
    columns = tuner.estimator.jvp(task.objective, theta, task.train, u, np.eye(d))
    trace["∂g/∂θ", k] = columns.T if tuner.second_order else np.zeros((d, d))

    if k == 1 or pieces.is_boundary(k - 1, problem.truncate):
        trace["carry", k] = np.zeros((d, 1 + 2 * n, size(params.m, n)))
    else:
        trace["carry", k] = np.concatenate(
            [source["G", k - 1][:, None, :], source["H", k - 1]], axis=1
        )
    carry = source["carry", k]
    before = source["carry", k - 1] if k > 1 else np.zeros_like(carry)
    J = Jacobians(*(source[name, k] for name in BLOCKS))
    G_dot = source["∂g/∂θ", k] @ carry[:, 0]
    trace["G", k], trace["H", k] = pieces.recursion(
        J, carry[:, 0], G_dot, carry[:, 1:], before[:, 1:]
    )


def _contribution(problem: Problem, k: int, trace: Trace, source: Trace) -> None:
    """w_k ∇f(θ^(k); D_val) • G^(k): the product (7)."""
    f, val = problem.task.objective, problem.task.val
    theta = source["start", k][:, 0] - source["Γ", k]
    trace["f_val", k] = f.value(theta, val)
    trace["∇f_val", k] = f.grad(theta, val)
    trace["w_k", k] = np.asarray(problem.weights[k - 1])
    trace["∇_k", k] = source["w_k", k] * (source["∇f_val", k] @ source["G", k])


def _forward_totals(problem: Problem, trace: Trace, source: Trace) -> None:
    K, m, n = problem.K, problem.params.m, problem.params.n
    trace["Σ_k ∇_k", K] = sum(source["∇_k", k] for k in range(1, K + 1))
    trace["∇_Φ fields", K] = flatten(problem.pieces.unflatten(source["Σ_k ∇_k", K], m, n))


def _backward(problem: Problem, k: int, trace: Trace, source: Trace) -> None:
    """Step k of backpropagation through the unroll."""
    tuner, task, d = problem.tuner, problem.task, problem.d
    theta, state = source["start", k][:, 0], state_of(source["start", k], problem.params.n)
    theta_bar, state_bar = _carried_back(problem, k, source)
    trace["θ̄", k] = source["w_k", k] * source["∇f_val", k] + theta_bar
    arguments = (problem.params, tuner.cell, source["g", k], state)
    params_bar, g_bar, state_bar = problem.pieces.vjp(*arguments, -source["θ̄", k], state_bar)
    trace["Φ̄", k], trace["ḡ", k] = flatten(params_bar), g_bar
    trace["h̄", k], trace["c̄", k] = state_bar
    u = directions_at(task, k - 1)
    rows = tuner.estimator.vjp(task.objective, theta, task.train, u, np.eye(d))
    trace["(∂g/∂θ)ᵀ", k] = rows.T if tuner.second_order else np.zeros((d, d))


def _carried_back(problem: Problem, k: int, source: Trace) -> tuple[Array, LSTMState]:
    """θ̄ and (h̄, c̄) that step k + 1 hands back: zero after the last one and at a cut."""
    if k == problem.K or problem.pieces.is_boundary(k, problem.truncate):
        nothing = np.zeros((problem.d, problem.params.n))
        return np.zeros(problem.d), LSTMState(nothing, nothing)
    theta_bar = source["θ̄", k + 1] + source["(∂g/∂θ)ᵀ", k + 1] @ source["ḡ", k + 1]
    return theta_bar, LSTMState(source["h̄", k + 1], source["c̄", k + 1])


def _maml(problem: Problem, alpha: float, trace: Trace, source: Trace) -> None:
    """Look into MAML without opening it: k steps give θ^(k), the K − k steps after that θ̄^(k)."""
    task, tuner, run, K = problem.task, problem.tuner, problem.pieces.maml, problem.K
    for k in range(1, K + 1):
        result = run(task, alpha, k, tuner.estimator, tuner.second_order)
        trace["MAML θ", k] = result.theta
    for k in range(K - 1, -1, -1):
        u = None if task.directions is None else task.directions[k:]
        theta = task.theta_0 if k == 0 else source["MAML θ", k]
        rest = task._replace(theta_0=theta, directions=u)
        result = run(rest, alpha, K - k, tuner.estimator, tuner.second_order)
        trace["MAML θ̄", k + 1] = result.grad


def gradients(problem: Problem, trace: Trace) -> tuple[Array, Array]:
    """Return the flattened ∇_Φ of forward mode and of the adjoint, as they are handed out."""
    K = problem.K
    if not problem.has_own_pieces:
        return trace["forward_mode", K], trace["adjoint", K]
    return trace["∇_Φ fields", K], trace["Σ_k Φ̄", K]
