"""Checks that need no trace: pairs of engines, differences, Taylor slopes, dot products.

They are what one has for a gradient that cannot be taken apart, and they are less sharp; docs/
gradient_checking.md says which mistakes each of them misses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lft_ref import LSTMState, flatten, unflatten
from lft_ref.tasks import directions_at
from lft_validation.gradcheck.found import gradients, state_of
from lft_validation.gradcheck.problem import Array, Problem
from lft_validation.gradcheck.terms import BLOCKS, Trace
from lft_validation.gradcheck.verdict import difference

STEPS = tuple(10.0**-e for e in range(1, 13))  # of central differences
CENTRAL_TOLERANCE = 1e-6  # what differences in float64 can promise
TAYLOR_STEPS = tuple(0.1 * 0.5**j for j in range(16))
TAYLOR_LAST = 5  # remainders that count: the smallest ones that rounding does not reach
ORDER_TOLERANCE = 1.7  # 2 for a right gradient, 1 for a wrong one
DOT_TOLERANCE = 1e-8


class Curve(NamedTuple):
    """An error for each of several step sizes along a direction in Φ."""

    steps: tuple[float, ...]
    errors: tuple[float, ...]

    @property
    def best(self) -> float:
        """The smallest error: large steps are inexact, small ones lose digits."""
        return min(self.errors)


class Methods(NamedTuple):
    """What each method says about ∇_Φ; None where it says nothing."""

    forward_adjoint: float
    forward_autodiff: float
    adjoint_autodiff: float
    central: Curve | None
    taylor: Curve | None
    order: float | None  # at which the Taylor remainder vanishes
    dot_product: float

    def failed(self, tolerance: float) -> list[str]:
        """Return the names of the methods that say no."""
        central = None if self.central is None else self.central.best
        verdicts = {
            "forward = adjoint": self.forward_adjoint <= tolerance,
            "autodiff": max(self.forward_autodiff, self.adjoint_autodiff) <= tolerance,
            "differences": central is None or central <= max(CENTRAL_TOLERANCE, tolerance),
            "Taylor": self.order is None or self.order >= ORDER_TOLERANCE,
            "dot product": self.dot_product <= max(DOT_TOLERANCE, tolerance),
        }
        return [name for name, passed in verdicts.items() if not passed]


def apply_methods(
    problem: Problem, trace: Trace, right: Trace, rng: np.random.Generator, smooth: bool
) -> Methods:
    """Apply every method to ∇_Φ of forward mode and of the adjoint; the worse one counts.

    Args:
        problem: the problem, with the meta-loss as its own code computes it.
        trace: its terms.
        right: the right terms, of which only the total is used.
        rng: where random directions come from.
        smooth: whether differences make sense: no kink is near, and nothing is dropped or cut.
    """
    forward, back = gradients(problem, trace)
    auto = right["Σ_k ∇_k", problem.K]
    with np.errstate(all="ignore"):
        central, taylor, order = None, None, None
        if smooth:
            central, taylor, order = _differences(problem, (forward, back), rng)
        return Methods(
            difference(problem, "∇_Φ", forward, back),
            difference(problem, "∇_Φ", forward, auto),
            difference(problem, "∇_Φ", back, auto),
            central,
            taylor,
            order,
            _dot_products(problem, trace, rng),
        )


def meta_loss(problem: Problem, phi: Array) -> float:
    """Σ_k w_k f(θ^(k); D_val) at a flattened Φ, eq. (4), by the problem's own functions."""
    params = unflatten(phi, problem.params.m, problem.params.n)
    task, tuner, total = problem.task, problem.tuner, 0.0
    theta, state = task.theta_0, problem.state_0
    for k, w in enumerate(problem.weights):
        u = directions_at(task, k)
        g = tuner.estimator.estimate(task.objective, theta, task.train, u)
        delta, state = problem.pieces.step(params, tuner.cell, g, state)
        theta = theta - delta
        total += w * float(task.objective.value(theta, task.val))
    return total


def _differences(
    problem: Problem, grads: tuple[Array, ...], rng: np.random.Generator
) -> tuple[Curve, Curve, float | None]:
    """Central differences and the Taylor remainder along one random unit direction."""
    phi = flatten(problem.params)
    v = rng.standard_normal(phi.shape)
    v /= np.linalg.norm(v)
    along = lambda e: meta_loss(problem, phi + e * v)  # noqa: E731 - a function of e, as in ε
    slopes, scale = [float(grad @ v) for grad in grads], max(map(np.linalg.norm, grads))
    return (
        central_differences(along, slopes, float(scale)),
        *taylor_remainder(along, slopes),
    )


def central_differences(
    f: Callable[[float], float], slopes: list[float], scale: float, steps: tuple[float, ...] = STEPS
) -> Curve:
    """Errors of ``slopes``, all meant to be f'(0), against (f(ε) − f(−ε)) / 2ε.

    Over ε they draw a V: truncation falls with ε², rounding rises with 1/ε. The worst slope counts.
    """
    central = [(f(e) - f(-e)) / (2.0 * e) for e in steps]
    errors = [max(abs(c - s) for s in slopes) / scale if scale > 0.0 else np.inf for c in central]
    return Curve(steps, tuple(float(np.nan_to_num(e, nan=np.inf, posinf=np.inf)) for e in errors))


def taylor_remainder(
    f: Callable[[float], float], slopes: list[float], steps: tuple[float, ...] = TAYLOR_STEPS
) -> tuple[Curve, float | None]:
    """|f(ε) − f(0) − ε f'(0)| and the order in ε at which it vanishes, for the worst slope.

    The order is measured where ε is small and rounding does not show; None if there is no such ε.
    """
    f_0 = f(0.0)
    values = [f(e) for e in steps]
    curves = [[abs(y - f_0 - e * s) for e, y in zip(steps, values, strict=True)] for s in slopes]
    rest = max(curves, key=lambda curve: curve[-1])
    noise = 1e3 * np.finfo(float).eps * max(abs(f_0), *map(abs, values))
    seen = [(e, r) for e, r in zip(steps, rest, strict=True) if r > noise][-TAYLOR_LAST:]
    curve = Curve(steps, tuple(rest))
    if not np.all(np.isfinite(rest)):
        return curve, 0.0
    if len(seen) < TAYLOR_LAST:
        return curve, None
    e, r = np.log(np.asarray(seen)).T
    return curve, float(np.polyfit(e, r, 1)[0])


def _dot_products(problem: Problem, trace: Trace, rng: np.random.Generator) -> float:
    """Largest relative gap of ⟨v, J u⟩ = ⟨Jᵀ v, u⟩ for the cell and for ∂g/∂θ, over all steps."""
    gaps = [_estimator_gap(problem, trace, k, rng) for k in range(1, problem.K + 1)]
    gaps += [_cell_gap(problem, trace, k, rng) for k in range(1, problem.K + 1)]
    return max(gap if np.isfinite(gap) else np.inf for gap in gaps)


def _estimator_gap(problem: Problem, trace: Trace, k: int, rng: np.random.Generator) -> float:
    v, u = rng.standard_normal((2, problem.d))
    J, J_T = trace["∂g/∂θ", k], trace["(∂g/∂θ)ᵀ", k]
    return _gap(v @ (J @ u), (J_T @ v) @ u, np.linalg.norm(J))


def _cell_gap(problem: Problem, trace: Trace, k: int, rng: np.random.Generator) -> float:
    """The six blocks against the vjp, with random tangents and cotangents."""
    d, n, P = problem.d, problem.params.n, flatten(problem.params).size
    g_dot, state_dot, phi_dot = (rng.standard_normal(s) for s in (d, (d, 2 * n), P))
    delta_bar, state_bar = rng.standard_normal(d), rng.standard_normal((d, 2 * n))
    J = {name: trace[name, k] for name in BLOCKS}
    delta_dot = J["Γ_g"] * g_dot + np.sum(J["Γ_h"] * state_dot, axis=1) + J["Γ_Φ"] @ phi_dot
    out_dot = J["Π_g"] * g_dot[:, None] + J["Π_Φ"] @ phi_dot
    out_dot = out_dot + np.einsum("ist,it->is", J["Π_h"], state_dot)
    forward = delta_bar @ delta_dot + np.sum(state_bar * out_dot)
    params_bar, g_bar, back = problem.pieces.vjp(
        problem.params,
        problem.tuner.cell,
        trace["g", k],
        state_of(trace["start", k], n),
        delta_bar,
        LSTMState(state_bar[:, :n], state_bar[:, n:]),
    )
    backward = flatten(params_bar) @ phi_dot + g_bar @ g_dot
    backward = backward + np.sum(np.concatenate(back, axis=1) * state_dot)
    return _gap(forward, backward, np.linalg.norm(out_dot) + np.linalg.norm(delta_dot))


def _gap(forward: Any, backward: Any, scale: Any) -> float:
    apart = abs(float(forward) - float(backward))
    return apart / float(scale) if scale > 0.0 else (0.0 if apart == 0.0 else np.inf)
