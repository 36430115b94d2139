"""What the engines ask of their arguments: shapes, dtypes and settings that fit together.

Every function raises ``ValueError`` with the argument, the value found and the remedy.
"""

from __future__ import annotations

from math import isfinite, prod
from numbers import Real
from typing import Any

from lft_ref._array import Array, namespace
from lft_ref.attack import AttackLoss
from lft_ref.lstm import Cell, LSTMState
from lft_ref.objectives import Data, NetworkLoss, Quadratic
from lft_ref.params import LSTMParams, shapes
from lft_ref.tasks import Task
from lft_ref.zeroth_order import Estimator, FirstOrder, ZerothOrder


def check_task(
    params: LSTMParams,
    cell: Cell,
    estimator: Estimator,
    task: Task,
    K: int,
    state_0: LSTMState | None,
) -> None:
    """Check all that K steps of eq. (3) need."""
    if K < 1:
        raise ValueError(f"K must be at least 1, found {K}")
    check_params(params)
    check_features(params, cell)
    shape = tuple(task.theta_0.shape)
    if not shape or shape[-1] < 1:
        raise ValueError(f"theta_0 must have shape (..., d) with d >= 1, found {shape}")
    _check_dtypes(params, task, state_0)
    if isinstance(task.objective, AttackLoss):
        check_attack(task.objective, shape, task.train)
        check_attack(task.objective, shape, task.val)
    else:
        _check_batch(task)
    check_directions(estimator, task, K)
    if state_0 is not None:
        _check_state(state_0, (*shape, params.n))


def check_params(params: LSTMParams) -> None:
    """Check that the five arrays of Φ belong together."""
    for name, wanted in shapes(params.m, params.n)._asdict().items():
        found = tuple(getattr(params, name).shape)
        if found != wanted:
            raise ValueError(
                f"Φ's {name} must have shape {wanted} for m={params.m}, n={params.n}, found {found}"
            )


def check_features(params: LSTMParams, cell: Cell) -> None:
    """Check that the preprocessing makes as many features as Φ takes."""
    if params.m != cell.preprocess.m:
        raise ValueError(
            f"Φ takes m={params.m} features, but {cell.preprocess!r} makes {cell.preprocess.m}; "
            "use the preprocessing that Φ was trained with"
        )


def check_directions(estimator: Estimator, task: Task, K: int) -> None:
    """Check the estimator's settings, and that there are directions for K steps."""
    if isinstance(estimator, FirstOrder):
        return
    if isinstance(estimator, ZerothOrder) and not estimator.mu > 0.0:
        raise ValueError(f"mu must be positive, found {estimator.mu}; try 1e-3")
    shape = tuple(task.theta_0.shape)
    found = None if task.directions is None else tuple(task.directions.shape)
    if found is None or len(found) < 3 or found[0] < K or found[1] < 1 or found[2:] != shape:
        wanted = f"(K, q, *theta_0.shape) = ({K}, q, {', '.join(map(str, shape))})"
        raise ValueError(f"directions must have shape {wanted} with q >= 1, found {found}")


def check_weights(weights: tuple[float, ...], truncate: int | None) -> None:
    """Check that there is a w_k, and that a truncation is at least one step long."""
    if not weights:
        raise ValueError("weights must hold w_1 … w_K, found none; use for example (1.0,) * K")
    for k, w in enumerate(weights, start=1):
        if not (isinstance(w, Real) and isfinite(w)):
            raise ValueError(f"weights must be finite numbers, found w_{k} = {w!r}")
    if truncate is not None and truncate < 1:
        raise ValueError(f"truncate must be at least 1 step, or None, found {truncate}")


def check_steps(**counts: int | None) -> None:
    """Check that what is counted in steps is at least one step long, or None."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ValueError(f"{name} must be at least 1 step, or None, found {count}")


def check_attack(f: AttackLoss, shape: tuple[int, ...], data: Data) -> None:
    """Check that victim, images and perturbations fit together, and the settings of (12).

    Shapes alone tell, so that nothing has to be computed, unlike for losses of other people.
    """
    found, (low, high), (*batch, d) = tuple(f.weights.shape), f.box, shape
    if found != (f.network.size,):
        raise ValueError(f"the victim's weights must have shape ({f.network.size},), found {found}")
    image = tuple(data.x.shape[-3:])
    if data.x.ndim < 4 or prod(image) != d:
        raise ValueError(
            f"theta_0 has {d} entries, but the images have shape {image}; it needs one per pixel"
        )
    if tuple(data.y.shape) != tuple(data.x.shape[:-3]):
        raise ValueError(
            f"each image needs its class, found images of shape {tuple(data.x.shape)} and classes "
            f"of shape {tuple(data.y.shape)}"
        )
    own = list(data.x.shape[:-4])
    ends = zip(reversed(batch), reversed(own), strict=False)
    if len(own) > len(batch) or any(b not in (1, a) for a, b in ends):
        raise ValueError(
            f"theta_0 has batch axes {tuple(batch)}, but the images have {tuple(own)}; broadcast "
            "theta_0 to one row per task"
        )
    if not low < high:
        raise ValueError(f"box must be (low, high) with low < high, found {f.box}")
    if not (f.kappa >= 0.0 and f.l1 >= 0.0):
        raise ValueError(f"kappa and l1 must not be negative, found {f.kappa} and {f.l1}")


def _check_dtypes(params: LSTMParams, task: Task, state_0: LSTMState | None) -> None:
    """No step may silently change precision."""
    xp: Any = namespace(task.theta_0)
    dtype = task.theta_0.dtype
    if not xp.isdtype(dtype, "real floating"):
        raise ValueError(
            f"theta_0 must be real floating-point, found {dtype}; "
            "convert it, for example to float64"
        )
    arrays: dict[str, Array] = {f"Φ's {name}": a for name, a in params._asdict().items()}
    arrays |= {"train.x": task.train.x, "train.y": task.train.y}
    arrays |= {"val.x": task.val.x, "val.y": task.val.y}
    if task.directions is not None:
        arrays["directions"] = task.directions
    if isinstance(task.objective, AttackLoss):
        arrays["the victim's weights"] = task.objective.weights
    if state_0 is not None:
        arrays |= {"state_0.h": state_0.h, "state_0.c": state_0.c}
    for name, array in arrays.items():
        counted = not xp.isdtype(array.dtype, "real floating")  # classes, in y
        if not (counted and name.endswith(".y")) and array.dtype != dtype:
            raise ValueError(
                f"theta_0 is {dtype} but {name} is {array.dtype}; convert one of them, so that no "
                "step silently changes precision"
            )


def _check_batch(task: Task) -> None:
    """θ^(0) must have the batch axes of the data, so that every engine accepts the same tasks."""
    (*axes, d), f = task.theta_0.shape, task.objective
    batch = tuple(axes)
    if isinstance(f, NetworkLoss) and d != f.network.size:
        raise ValueError(
            f"theta_0 has {d} entries, but the network has {f.network.size} parameters"
        )
    for name, data in (("train", task.train), ("val", task.val)):
        if type(f) is Quadratic and data.x.shape[-1:] != (d,):
            raise ValueError(
                f"theta_0 has {d} entries, but A, {name}.x, has shape {tuple(data.x.shape)}; it "
                "needs a column for each"
            )
        found = tuple(f.value(task.theta_0, data).shape)
        if found != batch:
            raise ValueError(
                f"theta_0 has batch axes {batch}, but its loss on {name} has {found}; "
                "broadcast theta_0 to one row per task"
            )


def _check_state(state_0: LSTMState, wanted: tuple[int, ...]) -> None:
    for name, array in zip("hc", state_0, strict=True):
        if tuple(array.shape) != wanted:
            raise ValueError(f"state_0.{name} must have shape {wanted}, found {tuple(array.shape)}")
