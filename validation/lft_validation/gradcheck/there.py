"""Functions of another array library, called with NumPy's arrays: what a check of twins calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from lft_backends.backend import Backend
from lft_ref import AttackLoss, Data, Network, NetworkLoss, Objective, Ops, Quadratic
from lft_validation.gradcheck.problem import Array, Problem

HOST = ("numpy", "numba")  # whose arrays are NumPy's


class There(NamedTuple):
    """A loss of ``lft_ref`` on a backend's device; arguments and results lie on the host."""

    backend: Backend
    objective: Objective

    def value(self, theta: Array, data: Data) -> Array:
        """Return f (...,)."""
        return called(self.backend, self.objective.value)(theta, data)

    def grad(self, theta: Array, data: Data) -> Array:
        """Return ∇_θ f (..., d)."""
        return called(self.backend, self.objective.grad)(theta, data)

    def hvp(self, theta: Array, data: Data, v: Array) -> Array:
        """Return ∇²_θ f v (..., d)."""
        return called(self.backend, self.objective.hvp)(theta, data, v)


def called(backend: Backend, function: Callable[..., Any]) -> Callable[..., Any]:
    """Send a function's arguments to the device, and bring its result back."""
    return lambda *arguments: backend.get(function(*map(backend.put, arguments)))


def on(problem: Problem, backend: Backend) -> Problem:
    """Return the problem with a backend's twins, and its arrays where they are.

    The cell's functions and the losses of ``lft_ref`` compute on the backend's device; loops, the
    estimator (6) and a loss of the user's own stay with NumPy.
    """
    ops, f = backend.ops, fused(problem.task.objective, backend)
    if backend.name not in HOST:
        ops = Ops(*(called(backend, function) for function in ops))
        if isinstance(f, Quadratic | NetworkLoss | AttackLoss):
            f = There(backend, backend.put(f))
    return problem._replace(
        task=problem.task._replace(objective=f),
        tuner=problem.tuner._replace(ops=ops),
        pieces=problem.pieces._replace(step=ops.step, vjp=ops.vjp),
    )


def fused(f: Objective, backend: Backend) -> Objective:
    """Return a loss with the backend's twins of networks and attacks, where it has some."""
    if isinstance(f, NetworkLoss) and isinstance(f.network, Network):
        return f._replace(network=backend.fuse_optimizee(f.network))
    return backend.fuse_attack(f) if isinstance(f, AttackLoss) else f
