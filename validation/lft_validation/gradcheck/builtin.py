"""The built-in problems of ``lft gradcheck``, and the fine-tuner that any task is checked with."""

from __future__ import annotations

import itertools
from typing import Literal, NamedTuple

import numpy as np

from lft_backends.backend import get_backend
from lft_backends.draws import Stage, directions, stream
from lft_ref import (
    Cell,
    CrossEntropy,
    Data,
    Estimator,
    FineTuner,
    FirstOrder,
    Identity,
    LogSign,
    LSTMState,
    NetworkLoss,
    Preprocess,
    Quadratic,
    SquaredError,
    Task,
    ZerothOrder,
    from_draws,
    mlp,
    network_from_draws,
    size,
    weights_linear,
)
from lft_ref.tasks import directions_at
from lft_validation.experiments.sine import SineProblem
from lft_validation.gradcheck.builtin_images import TASKS as IMAGE_TASKS
from lft_validation.gradcheck.builtin_images import image_task
from lft_validation.gradcheck.entries import coordinate_names
from lft_validation.gradcheck.problem import MAML_RATE, Problem

TASKS = ("quadratic", "sine-relu", "sine-tanh", "classes-tanh", *IMAGE_TASKS)
ESTIMATORS = ("first_order", "zeroth_order")
PREPROCESSINGS = ("identity", "log_sign")
HIDDEN_UNITS = 4  # of the cell
STEPS = 5
IMAGE_STEPS = 3  # enough for every term, and images take longer
DIRECTIONS = 3  # of eq. (6)
SMOOTHING = 1e-2  # μ of eq. (6): large enough for rounding not to show in the differences


class Setting(NamedTuple):
    """What one gradient check is about."""

    task: str
    estimator: str
    preprocess: str
    second_order: bool

    def label(self) -> str:
        """Say it in words."""
        kept = "" if self.second_order else ", dg/dtheta left out"
        return f"{self.task}, {self.estimator}, {self.preprocess}{kept}"


def settings() -> list[Setting]:
    """Return all combinations of task, estimator, preprocessing and second order."""
    words = itertools.product(TASKS, ESTIMATORS, PREPROCESSINGS, (True, False))
    return [Setting(*each) for each in words]


def build(setting: Setting, seed: int, index: int) -> Problem:
    """Draw Φ and one built-in task of a setting."""
    rng = stream(seed, Stage.CASE, index, step=0)
    task = _task(setting.task, rng, seed, index)
    names = coordinate_names(task)
    steps = IMAGE_STEPS if setting.task in IMAGE_TASKS else STEPS
    problem = with_fine_tuner(task, setting, rng, seed, index, steps)
    return problem._replace(coordinates=names, maml_rate=MAML_RATE)


def with_fine_tuner(
    task: Task,
    setting: Setting,
    rng: np.random.Generator,
    seed: int,
    index: int,
    steps: int = STEPS,
) -> Problem:
    """Give a task a random Φ. w_k = k, so that no two steps count alike.

    W_x is scaled to raw gradients (``identity``): gates that are all open or shut hide mistakes.
    """
    d = task.theta_0.shape[-1]
    preprocess: Preprocess = LogSign() if setting.preprocess == "log_sign" else Identity()
    estimator: Estimator = FirstOrder()
    if setting.estimator == "zeroth_order":
        estimator = ZerothOrder(SMOOTHING)
        u = [directions(seed, Stage.CASE, index, 2 + k, DIRECTIONS, d) for k in range(steps)]
        task = task._replace(directions=np.stack(u))
    flat = rng.uniform(-1.0, 1.0, size(preprocess.m, HIDDEN_UNITS))
    params = from_draws(flat, preprocess.m, HIDDEN_UNITS)
    if setting.preprocess == "identity":
        g = estimator.estimate(task.objective, task.theta_0, task.train, directions_at(task, 0))
        largest = float(np.max(np.abs(g)))
        if largest > 1.0 and np.isfinite(largest):
            params = params._replace(W_x=params.W_x / largest)
    tuner = FineTuner(Cell(preprocess), estimator, setting.second_order)
    zero = np.zeros((d, HIDDEN_UNITS))
    state_0 = LSTMState(zero, zero)
    return Problem(params, tuner, task, weights_linear(steps), state_0, label=setting.label())


def _task(name: str, rng: np.random.Generator, seed: int, index: int) -> Task:
    match name:
        case "quadratic":
            return _quadratic(rng)
        case "sine-relu":
            return _sine(rng, "relu", seed, index)
        case "sine-tanh":
            return _sine(rng, "tanh", seed, index)
        case "classes-tanh":
            return _classes(rng)
        case _:
            return image_task(name, rng)


def _quadratic(rng: np.random.Generator) -> Task:
    train, val = (Data(rng.standard_normal((6, 4)), rng.standard_normal(6)) for _ in range(2))
    return Task(Quadratic(), train, val, rng.standard_normal(4))


def _sine(
    rng: np.random.Generator, activation: Literal["relu", "tanh"], seed: int, index: int
) -> Task:
    """The regression of supplement G, (S28) and (S29), with a small network."""
    problem = SineProblem(get_backend("numpy"), hidden=(4, 4), shots=5, val_shots=5)
    batch = problem.data(seed, Stage.META_TASK, [index])
    train, val = (Data(data.x[0], data.y[0]) for data in batch)
    network = mlp((1, 4, 4, 1), activation)
    theta_0 = network_from_draws(network, rng.uniform(-1.0, 1.0, network.size))
    return Task(NetworkLoss(network, SquaredError("sum")), train, val, theta_0)


def _classes(rng: np.random.Generator) -> Task:
    """Three clouds of points in the plane, and a small classifier."""
    network = mlp((2, 5, 3), "tanh")
    centres = 2.0 * rng.standard_normal((3, 2))
    y = np.arange(6) % 3
    train, val = (Data(centres[y] + rng.standard_normal((6, 2)), y) for _ in range(2))
    theta_0 = network_from_draws(network, rng.uniform(-1.0, 1.0, network.size))
    return Task(NetworkLoss(network, CrossEntropy("mean")), train, val, theta_0)
