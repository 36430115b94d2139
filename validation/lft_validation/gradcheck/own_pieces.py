"""Somebody's own gradient, Hessian-vector product, cell Jacobians or vjp in the place of ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lft_ref import LSTMParams, LSTMState, Objective
from lft_ref.lstm import Jacobians
from lft_ref.params import shapes, size
from lft_validation.errors import UserError
from lft_validation.gradcheck.load import user_code
from lft_validation.gradcheck.problem import Array, Problem


class OwnDerivatives(NamedTuple):
    """A built-in loss with somebody's own derivatives, called one point at a time."""

    objective: Objective
    gradient: Any
    product: Any

    def value(self, theta: Array, data: Any) -> Array:
        """Return f."""
        return self.objective.value(theta, data)

    def grad(self, theta: Array, data: Any) -> Array:
        """Return the user's ∇f, or ours."""
        if self.gradient is None:
            return self.objective.grad(theta, data)
        return _each(lambda at: self.gradient(at, data), "--gradient", theta)

    def hvp(self, theta: Array, data: Any, v: Array) -> Array:
        """Return the user's ∇²f v, or ours."""
        if self.product is None:
            return self.objective.hvp(theta, data, v)
        pairs = np.stack(np.broadcast_arrays(theta, v), axis=-2)
        return _each(lambda at: self.product(at[0], data, at[1]), "--hvp", pairs, core=2)


def _each(f: Callable[[Array], Any], what: str, points: Array, core: int = 1) -> Array:
    batch, d = points.shape[:-core], points.shape[-1]
    flat = points.reshape((-1, *points.shape[points.ndim - core :]))
    rows = [_numbers(partial(f, np.array(at)), (d,), what) for at in flat]
    return np.stack(rows).reshape((*batch, d))


def _numbers(call: Callable[[], Any], shape: tuple[int, ...], what: str) -> Array:
    """Call somebody's function and refuse what is not an array of that shape."""
    with user_code(what), np.errstate(all="ignore"):
        found = np.asarray(call(), dtype=np.float64)
    if found.shape != shape:
        raise UserError(f"{what} returns shape {found.shape}, expected {shape}")
    return found


def with_own_loss(problem: Problem, gradient: Any, hvp: Any) -> Problem:
    """Use somebody's own derivatives of a built-in loss: ``f(theta, data[, v])``, data (x, y)."""
    if gradient is None and hvp is None:
        return problem
    objective = OwnDerivatives(problem.task.objective, gradient, hvp)
    return problem._replace(task=problem.task._replace(objective=objective))


def with_own_pieces(problem: Problem, jacobians: Any, vjp: Any) -> Problem:
    """Use somebody's own functions of the cell, with the signatures of ``lft_ref``'s."""
    pieces = problem.pieces
    if jacobians is not None:
        pieces = pieces._replace(jacobians=_checked_jacobians(jacobians))
    if vjp is not None:
        pieces = pieces._replace(vjp=_checked_vjp(vjp))
    return problem._replace(pieces=pieces)


def _arrays(found: Any, shapes: dict[str, tuple[int, ...]], what: str) -> list[Array]:
    """Return the arrays of a result, each with the shape that it must have."""
    if not isinstance(found, tuple | list) or len(found) != len(shapes):
        have = f"{len(found)} values" if isinstance(found, tuple | list) else type(found).__name__
        raise UserError(f"{what} returns {have}, expected a tuple ({', '.join(shapes)})")
    pairs = zip(found, shapes.items(), strict=True)
    return [
        _numbers(partial(np.asarray, a), shape, f"{what}: {name}") for a, (name, shape) in pairs
    ]


def _checked_jacobians(function: Any) -> Any:
    def jacobians(params: LSTMParams, cell: Any, g: Array, state: LSTMState) -> Jacobians:
        d, n, P = g.shape[0], params.n, size(params.m, params.n)
        wanted = Jacobians((d,), (d, 2 * n), (d, P), (d, 2 * n), (d, 2 * n, 2 * n), (d, 2 * n, P))
        with user_code("--jacobians"), np.errstate(all="ignore"):
            found = function(params, cell, g, state)
        return Jacobians(*_arrays(found, wanted._asdict(), "--jacobians"))

    return jacobians


def _checked_vjp(function: Any) -> Any:
    def vjp(
        params: LSTMParams, cell: Any, g: Array, state: LSTMState, *bars: Any
    ) -> tuple[LSTMParams, Array, LSTMState]:
        with user_code("--vjp"), np.errstate(all="ignore"):
            found = function(params, cell, g, state, *bars)
        if not isinstance(found, tuple | list) or len(found) != 3:
            raise UserError("--vjp must return (Φ̄, ḡ, (h̄, c̄)), as lft_ref.vjp does")
        of_phi = shapes(params.m, params.n)._asdict()
        params_bar = LSTMParams(*_arrays(found[0], of_phi, "--vjp: Φ̄"))
        g_bar = _numbers(lambda: found[1], g.shape, "--vjp: ḡ")
        of_state = {"h̄": state.h.shape, "c̄": state.c.shape}
        return params_bar, g_bar, LSTMState(*_arrays(found[2], of_state, "--vjp: state"))

    return vjp
