"""The same terms by automatic differentiation of the restatement: nothing of ``lft_ref`` computes.

The six blocks, x' and ∂g/∂θ are Jacobians of one step. What each step adds to ∇_Φ, and every
cotangent, come from differentiating the whole unroll. G and H are the chain rule on the Jacobians
of the steps; the tests show that they are the Jacobians of the whole unroll.
"""

from __future__ import annotations

import numpy as np
from autograd import grad, jacobian, make_vjp
from autograd import numpy as anp

from lft_ref.meta_gradient import is_boundary
from lft_ref.tasks import directions_at
from lft_validation.autodiff_restatement import (
    constant,
    estimate,
    features,
    flatten,
    loss,
    rnn_step,
)
from lft_validation.gradcheck.problem import Array, Problem
from lft_validation.gradcheck.terms import BLOCKS, Trace


def expected(problem: Problem) -> Trace:
    """Return the right value of every term that :func:`gradcheck.found.found` returns.

    Raises:
        ValueError: for an objective, estimator or preprocessing that is not restated in autograd.
    """
    # autograd divides by cosh², which overflows to the right result, 0, where tanh is flat.
    with np.errstate(over="ignore"):
        trace = _forward(problem)
        _whole_unroll(problem, trace)
        if problem.maml_rate is not None:
            _maml(problem, problem.maml_rate, trace)
    return trace


def _g(problem: Problem, theta: Array, k: int) -> Array:
    """g(θ; D_tr) at step k."""
    task, u = problem.task, directions_at(problem.task, k - 1)
    return estimate(problem.tuner.estimator, task.objective, theta, task.train, u)


def _forward(problem: Problem) -> Trace:
    """Values, blocks, G and H, step by step."""
    params, cell, task, d = problem.params, problem.tuner.cell, problem.task, problem.d
    phi, trace = flatten(params), Trace()
    theta, (h, c) = task.theta_0, problem.state_0
    G, H = np.zeros((d, phi.size)), np.zeros((d, 2 * params.n, phi.size))
    for k in range(1, problem.K + 1):
        if is_boundary(k - 1, problem.truncate):
            G, H = np.zeros_like(G), np.zeros_like(H)
        trace["start", k] = np.concatenate([theta[:, None], h, c], axis=1)
        trace["carry", k] = np.concatenate([G[:, None, :], H], axis=1)
        trace["f", k] = loss(task.objective, theta, task.train)
        g = trace["g", k] = _g(problem, theta, k)
        trace["x", k], trace["x'", k] = _features(problem, g)
        blocks = _blocks(problem, g, h, c)
        trace |= {(name, k): block for name, block in zip(BLOCKS, blocks, strict=True)}
        trace["∂g/∂θ", k] = np.zeros((d, d))
        if problem.tuner.second_order:
            trace["∂g/∂θ", k] = jacobian(lambda at, k=k: _g(problem, at, k))(theta)
        G, H = _chain_rule(trace, k, G, H)
        trace["G", k], trace["H", k] = G, H
        delta, h, c = rnn_step(phi, params.m, params.n, cell, g, h, c)
        theta = theta - delta
        trace["Γ", k], trace["Π", k] = delta, np.concatenate([h, c], axis=1)
        trace["f_val", k] = loss(task.objective, theta, task.val)
        trace["∇f_val", k] = grad(lambda at: loss(task.objective, at, task.val))(theta)
        trace["w_k", k] = np.asarray(problem.weights[k - 1])
    return trace


def _features(problem: Problem, g: Array) -> tuple[Array, Array]:
    """x(g) and dx/dg, both (d, m)."""
    pull, x = make_vjp(lambda at: features(problem.tuner.cell.preprocess, at))(g)
    columns = np.broadcast_to(np.eye(x.shape[1])[:, None, :], (x.shape[1], *x.shape))
    return x, np.stack([pull(column) for column in columns], axis=1)


def _blocks(problem: Problem, g: Array, h: Array, c: Array) -> tuple[Array, ...]:
    """The six blocks. Each coordinate is given a Φ of its own, so one pass serves all of them."""
    params, n, d = problem.params, problem.params.n, problem.d
    phi = np.broadcast_to(flatten(params), (d, flatten(params).size))

    def outputs(arguments: tuple[Array, ...]) -> Array:
        g, h, c, phi = arguments
        delta, h, c = rnn_step(phi, params.m, n, problem.tuner.cell, g, h, c)
        return anp.concatenate([delta[:, None], h, c], axis=1)  # (d, 1 + 2n)

    pull, _ = make_vjp(outputs)((g, h, c, phi))
    rows = [pull(np.tile(e, (d, 1))) for e in np.eye(1 + 2 * n)]
    by_g, by_h, by_c, by_phi = (np.stack(each, axis=1) for each in zip(*rows, strict=True))
    by_state = np.concatenate([by_h, by_c], axis=2)
    return by_g[:, 0], by_state[:, 0], by_phi[:, 0], by_g[:, 1:], by_state[:, 1:], by_phi[:, 1:]


def _chain_rule(trace: Trace, k: int, G: Array, H: Array) -> tuple[Array, Array]:
    """d(θ, h, c)/dΦ after a step, from that before it."""
    g_phi = trace["∂g/∂θ", k] @ G
    d_delta = np.einsum("i,ip->ip", trace["Γ_g", k], g_phi)
    d_delta += np.einsum("is,isp->ip", trace["Γ_h", k], H) + trace["Γ_Φ", k]
    d_state = np.einsum("is,ip->isp", trace["Π_g", k], g_phi)
    d_state += np.einsum("ist,itp->isp", trace["Π_h", k], H) + trace["Π_Φ", k]
    return G - d_delta, d_state


def _whole_unroll(problem: Problem, trace: Trace) -> None:
    """What each step adds to ∇_Φ, and all cotangents, from the unroll as one function.

    A zero is added to every quantity whose cotangent is wanted: its gradient is that cotangent.
    """
    K, d, n, phi = problem.K, problem.d, problem.params.n, flatten(problem.params)
    weights = np.asarray(problem.weights)
    shapes = ((K, phi.size), (K, d), (K, d, n), (K, d, n), (K, d))
    zeros = tuple(np.zeros(shape) for shape in shapes)
    by_step = jacobian(lambda at: anp.array(_losses(problem, at, *zeros)))(phi)
    for k in range(1, K + 1):
        trace["∇_k", k] = weights[k - 1] * by_step[k - 1]
    total = weights @ by_step
    for name in ("Σ_k ∇_k", "∇_Φ fields", "Σ_k Φ̄", "forward_mode", "adjoint"):
        trace[name, K] = total

    def meta_loss(*added: Array) -> Array:
        return sum(w * f for w, f in zip(weights, _losses(problem, phi, *added), strict=True))

    cotangents = grad(meta_loss, (0, 1, 2, 3, 4))(*zeros)
    for name, arrays in zip(("Φ̄", "θ̄", "h̄", "c̄", "ḡ"), cotangents, strict=True):
        trace |= {(name, k): arrays[k - 1] for k in range(1, K + 1)}
    trace |= {("(∂g/∂θ)ᵀ", k): trace["∂g/∂θ", k].T for k in range(1, K + 1)}


def _losses(
    problem: Problem, phi: Array, phis: Array, thetas: Array, hs: Array, cs: Array, gs: Array
) -> list[Array]:
    """f(θ^(k); D_val) for k = 1 … K, with something added at every step."""
    params, tuner, task, losses = problem.params, problem.tuner, problem.task, []
    theta, (h, c) = task.theta_0, problem.state_0
    for k in range(problem.K):
        if is_boundary(k, problem.truncate):
            theta, h, c = constant(theta), constant(h), constant(c)
        h, c = h + hs[k], c + cs[k]
        g = _g(problem, theta, k + 1)
        g = (g if tuner.second_order else constant(g)) + gs[k]
        delta, h, c = rnn_step(phi + phis[k], params.m, params.n, tuner.cell, g, h, c)
        theta = theta - delta + thetas[k]
        losses.append(loss(task.objective, theta, task.val))
    return losses


def _maml(problem: Problem, alpha: float, trace: Trace) -> None:
    """θ^(k) of eq. (2) and the gradient with respect to each."""
    task, K = problem.task, problem.K

    def adapt(added: Array) -> list[Array]:
        thetas = [task.theta_0 + added[0]]
        for k in range(1, K + 1):
            g = _g(problem, thetas[-1], k)
            g = g if problem.tuner.second_order else constant(g)
            thetas.append(thetas[-1] - alpha * g + added[k])
        return thetas

    zeros = np.zeros((K + 1, problem.d))
    thetas = adapt(zeros)
    bars = grad(lambda added: loss(task.objective, adapt(added)[-1], task.val))(zeros)
    for k in range(1, K + 1):
        trace["MAML θ", k], trace["MAML θ̄", k] = thetas[k], bars[k - 1]
