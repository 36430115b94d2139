"""A task of one's own: a loss, and optionally its gradient and Hessian-vector product.

``lft gradcheck file.py:name`` takes an object with

    theta_0                    the start, d numbers
    train, val                 D_tr and D_val: any objects; your functions get them back
    value(theta, data)         the loss, a number
    grad(theta, data)          optional: its gradient (d,)
    hvp(theta, data, v)        optional: its Hessian times v (d,)
    parameters                 optional: {name: shape}, so that reports can say b[2]

or a class or function without arguments that makes one, or a :class:`lft_ref.Task`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lft_ref import Task
from lft_validation.autodiff_restatement import OwnLoss
from lft_validation.errors import UserError
from lft_validation.gradcheck.entries import names_of
from lft_validation.gradcheck.load import user_code
from lft_validation.gradcheck.problem import TOLERANCE, Array

DIFFERENCES_TOLERANCE = 1e-5  # where derivatives are differences of the value: see differences.py
STEP = 6e-6  # of these differences: ε^(1/3)


class OwnData(NamedTuple):
    """Data of one's own, as the engines carry data about: ``given`` is what the loss gets back."""

    x: Array
    y: Array
    given: Any


class OwnObjective(NamedTuple):
    """Somebody's own loss as an objective of ``lft_ref``: one point at a time."""

    loss: OwnLoss
    value_of: Callable[[Array, Any], Array]
    grad_of: Callable[[Array, Any], Array]
    hvp_of: Callable[[Array, Any, Array], Array]

    def value(self, theta: Array, data: OwnData) -> Array:
        """Return f (...,)."""
        return _rows(lambda at: self.value_of(at, data.given), theta)

    def grad(self, theta: Array, data: OwnData) -> Array:
        """Return ∇f (..., d)."""
        return _rows(lambda at: self.grad_of(at, data.given), theta)

    def hvp(self, theta: Array, data: OwnData, v: Array) -> Array:
        """Return ∇²f v (..., d)."""
        theta, v = np.broadcast_arrays(theta, v)
        both = np.concatenate([theta, v], axis=-1)
        d = theta.shape[-1]
        return _rows(lambda at: self.hvp_of(at[:d], data.given, at[d:]), both)


class OwnTask(NamedTuple):
    """What was loaded, ready to be checked."""

    task: Task
    coordinates: tuple[str, ...]
    tolerance: float
    judge: str  # what the derivatives are compared with


def _rows(f: Callable[[Array], Array], points: Array) -> Array:
    flat = [f(np.array(p)) for p in points.reshape(-1, points.shape[-1])]
    result = np.asarray(flat)
    return result.reshape((*points.shape[:-1], *result.shape[1:]))


def own_task(found: Any, name: str, gradient: Any = None, hvp: Any = None) -> OwnTask:
    """Check somebody's task at its start, and make it one of ours.

    Args:
        found: the object, see the head of this file.
        name: what to call it in messages.
        gradient: a gradient to use instead of the task's.
        hvp: a Hessian-vector product to use instead of the task's.

    Raises:
        UserError: in one sentence, for anything that does not fit.
    """
    found = _made(found, name)
    if isinstance(found, Task):
        found = _as_own(found)
    theta_0 = _start(found, name)
    missing = [part for part in ("value", "train", "val") if not hasattr(found, part)]
    if missing:
        raise UserError(f"{name} has no {missing[0]!r}; a task needs theta_0, train, val and value")
    value, judge = _differentiable(found.value, theta_0, found.train, name)
    exact = judge == "automatic differentiation"
    gradient = gradient or getattr(found, "grad", None)
    hvp = hvp or getattr(found, "hvp", None)
    objective = OwnObjective(
        OwnLoss(value),
        _checked(found.value, (), f"{name}: value"),
        _checked(gradient or _grad(value), theta_0.shape, f"{name}: grad"),
        _checked(hvp or _hvp(value), theta_0.shape, f"{name}: hvp"),
    )
    for part in ("train", "val"):
        _try(objective, theta_0, getattr(found, part), f"{name}: value(theta_0, {part})")
    none = np.zeros(0)
    train, val = (OwnData(none, none, data) for data in (found.train, found.val))
    return OwnTask(
        Task(objective, train, val, theta_0),  # type: ignore[arg-type] # data of another kind
        _names(found, theta_0.size, name),
        TOLERANCE if exact else DIFFERENCES_TOLERANCE,
        judge,
    )


def _made(found: Any, name: str) -> Any:
    """Call a class or a function without arguments."""
    if inspect.isclass(found) or (callable(found) and not hasattr(found, "value")):
        with user_code(f"{name}()"):
            return found()
    return found


class _Plain(NamedTuple):
    """A task of ``lft_ref`` with the names that are looked for."""

    theta_0: Array
    train: Any
    val: Any
    value: Any
    grad: Any
    hvp: Any


def _as_own(task: Task) -> _Plain:
    f = task.objective
    return _Plain(task.theta_0, task.train, task.val, f.value, f.grad, f.hvp)


def _start(found: Any, name: str) -> Array:
    if not hasattr(found, "theta_0"):
        raise UserError(
            f"{name} is of type {type(found).__name__}, without theta_0; a task needs theta_0, "
            "train, val and value"
        )
    try:
        theta_0 = np.asarray(found.theta_0, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: theta_0 is no array of numbers ({error})") from error
    if theta_0.ndim != 1 or theta_0.size < 1:
        raise UserError(f"{name}: theta_0 must have shape (d,) with d >= 1, found {theta_0.shape}")
    if not np.all(np.isfinite(theta_0)):
        raise UserError(f"{name}: theta_0 is not finite; choose numbers to start from")
    return theta_0


def _names(found: Any, d: int, name: str) -> tuple[str, ...]:
    parameters = getattr(found, "parameters", None)
    if parameters is None:
        return ()
    try:
        names = names_of({str(key): tuple(shape) for key, shape in dict(parameters).items()})
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: parameters must be {{name: shape}} ({error})") from error
    if len(names) != d:
        raise UserError(f"{name}: parameters name {len(names)} coordinates, theta_0 has {d}")
    return names


def _checked(f: Callable[..., Any], shape: tuple[int, ...], what: str) -> Callable[..., Array]:
    """Wrap a user's function: its errors, and results of another shape, become one sentence."""

    def call(theta: Array, data: Any, *rest: Array) -> Array:
        with user_code(what), np.errstate(all="ignore"):
            found = f(theta, data, *rest)
        try:
            result = np.asarray(found, dtype=np.float64)
        except (TypeError, ValueError) as error:
            kind = type(found).__name__
            raise UserError(
                f"{what} returns a {kind}, expected numbers of shape {shape}"
            ) from error
        if result.shape != shape:
            wanted = "a single number" if shape == () else f"shape {shape}"
            raise UserError(f"{what} returns shape {result.shape}, expected {wanted}")
        return result

    return call


def _try(objective: OwnObjective, theta_0: Array, data: Any, what: str) -> None:
    value = float(objective.value_of(theta_0, data))
    if not np.isfinite(value):
        raise UserError(f"{what} is {value}; a task's loss must be a finite number at its start")
    objective.grad_of(theta_0, data)
    objective.hvp_of(theta_0, data, np.ones_like(theta_0))


def _differentiable(
    value: Callable[..., Any], theta: Array, data: Any, name: str
) -> tuple[Any, str]:
    """Return a value that autograd can differentiate twice, and who judges."""
    from autograd import grad

    from lft_validation.gradcheck.differences import differentiable_by_differences

    _checked(value, (), f"{name}: value")(theta, data)
    try:
        with np.errstate(all="ignore"):
            first = np.asarray(grad(value)(theta, data))
            _hvp(value)(theta, data, np.ones_like(theta))
    except Exception:  # noqa: BLE001 - whatever autograd, or NumPy on its boxes, says
        first = np.zeros(0)
    if first.shape == theta.shape:
        return value, "automatic differentiation"
    return differentiable_by_differences(value, STEP), "central differences of the value"


def _grad(value: Callable[..., Any]) -> Callable[..., Any]:
    from autograd import grad

    return grad(value)  # type: ignore[no-any-return]


def _hvp(value: Callable[..., Any]) -> Callable[..., Any]:
    from autograd import grad

    def hvp(theta: Array, data: Any, v: Array) -> Array:
        return grad(lambda at: _inner(grad(value)(at, data), v))(theta)

    return hvp


def _inner(a: Any, b: Any) -> Any:
    import autograd.numpy as anp

    return anp.sum(a * b)
