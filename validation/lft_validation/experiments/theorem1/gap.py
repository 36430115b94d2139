"""The left side of (11): ∇_Φ of (10) minus ∇_Φ of (4), draw by draw, with a control variate.

One draw is (D_tr, D_val) for each of N tasks. With e(θ; D) = ∇_θ f(θ; D) − ∇_θ f(θ) and
w_k = 1/K, the difference of one task's meta-gradients is, by (7),

    1/K Σ_k [e(θ^(k); D_tr) − e(θ^(k); D_val)] • G^(k),        G^(k) = ∂θ^(k)/∂Φ.

The same at the fixed θ̄^(k) and Ḡ^(k) that fine-tuning on the whole population gives,

    1/K Σ_k [e(θ̄^(k); D_tr) − e(θ̄^(k); D_val)] • Ḡ^(k),

has mean exactly 0 and goes up and down with it: the control. It carries the part of order
1/√D of the scatter and leaves that of order 1/D, so that large D are measured as well as small.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lft_ref import Data, FineTuner, LSTMParams, Task, adjoint, flatten, unroll, weights_mean
from lft_ref.forward_mode import forward_step, initial_forward_state
from lft_ref.params import all_columns
from lft_validation.experiments.theorem1.problems import Tasks


class Reference(NamedTuple):
    """Fine-tuning on the whole population, step by step."""

    theta: np.ndarray  # (K, N, d): θ̄^(k)
    G: np.ndarray  # (K, N, d, P): Ḡ^(k)
    grad: np.ndarray  # (K, N, d): ∇_θ f(θ̄^(k))


class Draws(NamedTuple):
    """What is kept of R draws; judged on D_tr, on D_val, and on the population."""

    l2o: np.ndarray  # (R, N, P): ∇_Φ of the sum in (10)
    lft: np.ndarray  # (V, R, N, P): ∇_Φ of the sum in (4), for V sizes of D_val
    exact: np.ndarray  # (R, N, P): the same with the expectation over D_val taken
    control_l2o: np.ndarray  # (R, N, P)
    control_lft: np.ndarray  # (V, R, N, P)
    grad_train: np.ndarray  # (K, R, N, d): ∇_θ f(θ^(k); D_tr)
    grad_val: np.ndarray  # (V, K, R, N, d)
    grad: np.ndarray  # (K, R, N, d): ∇_θ f(θ^(k))


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # judged by what comes of it
def reference(params: LSTMParams, tuner: FineTuner, tasks: Tasks, K: int) -> Reference:
    """Fine-tune on the population for K steps with ∂θ/∂Φ by Statement 1."""
    task = Task(tasks.objective, tasks.population, tasks.population, tasks.theta_0)
    at = initial_forward_state(params, tasks.theta_0, None, all_columns(params.m, params.n))
    steps = []
    for k in range(K):
        at = forward_step(params, tuner, task, k, at)
        steps.append((at.theta, at.G, tasks.objective.grad(at.theta, tasks.population)))
    return Reference(*(np.stack(part) for part in zip(*steps, strict=True)))


def measure(
    params: LSTMParams,
    tuner: FineTuner,
    tasks: Tasks,
    at: Reference,
    train: Data,
    vals: list[Data],
) -> Draws:
    """Meta-gradients of R draws of D_tr (R, N, D, ...), with a D_val of every size for each."""
    f, R = tasks.objective, train.x.shape[0]
    K = at.theta.shape[0]
    population = Data(*(np.broadcast_to(a, (R, *a.shape)) for a in tasks.population))
    start = np.broadcast_to(tasks.theta_0, (R, *tasks.theta_0.shape))
    judges = [train, population, *vals]
    task = Task(f, train, train, start)
    grads = [
        np.asarray(flatten(adjoint(params, tuner, task._replace(val=judge), weights_mean(K)).grad))
        for judge in judges
    ]
    path = unroll(params, tuner, task, K)
    thetas = np.stack(path.theta[1:])
    return Draws(
        l2o=grads[0],
        exact=grads[1],
        lft=np.stack(grads[2:]),
        control_l2o=_control(f, at, train),
        control_lft=np.stack([_control(f, at, val) for val in vals]),
        grad_train=f.grad(thetas, train),
        grad=f.grad(thetas, population),
        grad_val=np.stack([f.grad(thetas, val) for val in vals]),
    )


def _control(f: Any, at: Reference, data: Data) -> np.ndarray:
    """1/K Σ_k e(θ̄^(k); D) • Ḡ^(k), for each draw of D (R, N, P)."""
    K = at.theta.shape[0]
    total: Any = 0.0
    for k in range(K):
        theta = np.broadcast_to(at.theta[k], (data.x.shape[0], *at.theta[k].shape))
        e = f.grad(theta, data) - at.grad[k]
        total = total + np.swapaxes(np.swapaxes(e, 0, 1) @ at.G[k], 0, 1)
    return np.asarray(total / K)
