"""What the engines ask of a task: that θ^(0), D_tr, D_val, Φ, state and directions fit together.

Every function raises ``ValueError`` with the argument, the value found and the remedy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lft_ref._array import Array, namespace
from lft_ref.attack import AttackLoss
from lft_ref.checks_data import check_data, takes_classes, takes_numbers
from lft_ref.checks_settings import (
    check_cell,
    check_count,
    check_directions,
    check_is_array,
    check_params,
    check_theta,
)
from lft_ref.lstm import Cell, LSTMState
from lft_ref.params import LSTMParams
from lft_ref.tasks import Task
from lft_ref.zeroth_order import Estimator


def check_task(
    params: LSTMParams,
    cell: Cell,
    estimator: Estimator,
    task: Task,
    K: int,
    state_0: LSTMState | None,
) -> None:
    """Check all that K steps of eq. (3) need.

    Numbers that are not finite pass: they may lie on a device that would have to be waited for, and
    a training that diverges must be able to say where.
    """
    check_count("K", K)
    check_params(params)
    check_cell(params, cell)
    arrays: dict[str, Array] = {f"Φ's {name}": a for name, a in params._asdict().items()}
    if state_0 is not None:
        arrays |= {"state_0.h": state_0.h, "state_0.c": state_0.c}
    _check_arrays(task, arrays)
    for name, data in (("train", task.train), ("val", task.val)):
        check_data(task.objective, task.theta_0, name, data, batch=None)
    check_directions(estimator, task.theta_0, task.directions, K)
    if state_0 is not None:
        _check_state(state_0, (*task.theta_0.shape, params.n))


def check_shared_task(task: Task) -> None:
    """Check θ and the data of tasks that may share one θ, as MAML's do."""
    _check_arrays(task, {})
    batch = tuple(task.theta_0.shape[:-1])
    for name, data in (("train", task.train), ("val", task.val)):
        batch = check_data(task.objective, task.theta_0, name, data, batch)


def _check_arrays(task: Task, others: Mapping[str, Array]) -> None:
    """All are arrays, of one dtype but for classes: no step may silently change precision."""
    check_theta("theta_0", task.theta_0)
    arrays = {**others, "train.x": task.train.x, "val.x": task.val.x}
    if task.directions is not None:
        arrays["directions"] = task.directions
    if isinstance(task.objective, AttackLoss):
        arrays["the victim's weights"] = task.objective.weights
    for name, array in arrays.items():
        check_is_array(name, array)
        _check_dtype(name, array, task.theta_0.dtype)
    for name, data in (("train.y", task.train), ("val.y", task.val)):
        check_is_array(name, data.y)
        xp: Any = namespace(data.y)
        if takes_classes(task.objective):
            if not xp.isdtype(data.y.dtype, "integral"):
                raise ValueError(
                    f"{name} must hold classes as integers, found {data.y.dtype}; convert it, for "
                    "example to int64"
                )
        elif takes_numbers(task.objective) or xp.isdtype(data.y.dtype, "real floating"):
            _check_dtype(name, data.y, task.theta_0.dtype)


def _check_dtype(name: str, array: Array, dtype: Any) -> None:
    if array.dtype != dtype:
        raise ValueError(
            f"theta_0 is {dtype} but {name} is {array.dtype}; convert one of them, so that no "
            "step silently changes precision"
        )


def _check_state(state_0: LSTMState, wanted: tuple[int, ...]) -> None:
    for name, array in zip("hc", state_0, strict=True):
        if tuple(array.shape) != wanted:
            raise ValueError(f"state_0.{name} must have shape {wanted}, found {tuple(array.shape)}")
