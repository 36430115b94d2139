"""A planted mistake: what it is, where it is planted, and the problem on which it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from lft_backends.draws import Stage, stream
from lft_ref import LSTMState, NetworkLoss
from lft_validation.gradcheck.builtin import Setting, build
from lft_validation.gradcheck.problem import Problem

Change = Callable[[Problem], Problem]

FIRST = Setting("sine-tanh", "first_order", "log_sign", True)
RELU = FIRST._replace(task="sine-relu")
CLASSES = FIRST._replace(task="classes-tanh")
ZEROTH = FIRST._replace(estimator="zeroth_order")


class Plant(NamedTuple):
    """One mistake."""

    name: str  # for --plant
    says: str
    term: str  # the first term that is wrong
    change: Change  # from the right problem to the wrong one
    setting: Setting = FIRST
    prepare: Change | None = None  # from the built-in problem to one on which the mistake shows
    # Of the problem.
    needs: Literal["", "estimator", "network", "squared", "classes", "images"] = ""


def demonstration(setting: Setting, prepare: Change | None = None, seed: int = 0) -> Problem:
    """Return the right problem on which a mistake shows: a state to start from, uneven weights."""
    problem = build(setting, seed, 0)
    shape = (2, problem.d, problem.params.n)
    h, c = stream(seed, Stage.CASE, 0, step=20).uniform(-0.5, 0.5, shape)
    problem = problem._replace(state_0=LSTMState(h, c))
    return problem if prepare is None else prepare(problem)


def with_pieces(**pieces: Any) -> Change:
    """Exchange functions of the engines."""
    return lambda problem: problem._replace(pieces=problem.pieces._replace(**pieces))


def with_tuner(problem: Problem, **changes: Any) -> Problem:
    """Change a setting of the fine-tuner."""
    return problem._replace(tuner=problem.tuner._replace(**changes))


def with_task(problem: Problem, **changes: Any) -> Problem:
    """Change a part of the task."""
    return problem._replace(task=problem.task._replace(**changes))


def network_loss(problem: Problem) -> NetworkLoss:
    """Return the objective, which is a network's in every demonstration that asks for it."""
    objective = problem.task.objective
    assert isinstance(objective, NetworkLoss)
    return objective


def swap_gates(a: np.ndarray, order: tuple[int, ...] = (1, 0, 2, 3)) -> np.ndarray:
    """Put the four gates on the last axis (4n) into another order."""
    gates = a.reshape(*a.shape[:-1], 4, a.shape[-1] // 4)
    return gates[..., list(order), :].reshape(a.shape)
