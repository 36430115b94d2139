"""A few-shot learning task T_i, as everything in this package takes it."""

from __future__ import annotations

from typing import NamedTuple

from lft_ref._array import Array
from lft_ref.objectives import Data, Objective


class Task(NamedTuple):
    """One task T_i, or a batch of tasks of one shape on leading axes."""

    objective: Objective
    train: Data  # D_tr: what the fine-tuner sees
    val: Data  # D_val: what it is judged on
    theta_0: Array  # (..., d)
    directions: Array | None = None  # (K, q, ..., d) of eq. (6); None for first order


def directions_at(task: Task, k: int) -> Array:
    """Return the directions (q, ..., d) of the step from θ^(k) to θ^(k+1), or None."""
    return None if task.directions is None else task.directions[k, ...]
