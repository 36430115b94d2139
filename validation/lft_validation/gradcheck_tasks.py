"""The built-in problems on which ``lft gradcheck`` compares the engines."""

from __future__ import annotations

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
    mlp_from_draws,
    size,
    weights_linear,
)
from lft_validation.cases import Case
from lft_validation.experiments.sine import SineProblem

TASKS = ("quadratic", "sine-relu", "sine-tanh", "classes-tanh")
ESTIMATORS = ("first_order", "zeroth_order")
PREPROCESSINGS = ("identity", "log_sign")
HIDDEN_UNITS = 4  # of the cell
STEPS = 5
DIRECTIONS = 3  # of eq. (6)
SMOOTHING = 1e-2  # μ of eq. (6): large enough for rounding not to show in the differences


class Setting(NamedTuple):
    """What one gradient check is about."""

    task: str
    estimator: str
    preprocess: str
    second_order: bool


def build(setting: Setting, seed: int, index: int) -> Case:
    """Draw Φ and one task of a setting. w_k = k, so that no two steps count alike."""
    rng = stream(seed, Stage.CASE, index, step=0)
    task = _task(setting.task, rng, seed, index)
    d = task.theta_0.shape[-1]
    preprocess: Preprocess = LogSign() if setting.preprocess == "log_sign" else Identity()
    estimator: Estimator = FirstOrder()
    if setting.estimator == "zeroth_order":
        estimator = ZerothOrder(SMOOTHING)
        u = [directions(seed, Stage.CASE, index, 2 + k, DIRECTIONS, d) for k in range(STEPS)]
        task = task._replace(directions=np.stack(u))
    flat = rng.uniform(-1.0, 1.0, size(preprocess.m, HIDDEN_UNITS))
    params = from_draws(flat, preprocess.m, HIDDEN_UNITS)
    tuner = FineTuner(Cell(preprocess), estimator, setting.second_order)
    zero = np.zeros((d, HIDDEN_UNITS))
    return Case(params, tuner, task, weights_linear(STEPS), LSTMState(zero, zero), setting.task)


def _task(name: str, rng: np.random.Generator, seed: int, index: int) -> Task:
    match name:
        case "quadratic":
            return _quadratic(rng)
        case "sine-relu":
            return _sine(rng, "relu", seed, index)
        case "sine-tanh":
            return _sine(rng, "tanh", seed, index)
        case _:
            return _classes(rng)


def _quadratic(rng: np.random.Generator) -> Task:
    train, val = (Data(rng.standard_normal((6, 4)), rng.standard_normal(6)) for _ in range(2))
    return Task(Quadratic(), train, val, rng.standard_normal(4))


def _sine(
    rng: np.random.Generator, activation: Literal["relu", "tanh"], seed: int, index: int
) -> Task:
    """The regression of supplement G, (S28) and (S29), with a small network."""
    problem = SineProblem(get_backend("numpy"), hidden=(6, 6), shots=5, val_shots=5)
    batch = problem.data(seed, Stage.META_TASK, [index])
    train, val = (Data(data.x[0], data.y[0]) for data in batch)
    network = mlp((1, 6, 6, 1), activation)
    theta_0 = mlp_from_draws(network, rng.uniform(-1.0, 1.0, network.size))
    return Task(NetworkLoss(network, SquaredError("sum")), train, val, theta_0)


def _classes(rng: np.random.Generator) -> Task:
    """Three clouds of points in the plane, and a small classifier."""
    network = mlp((2, 5, 3), "tanh")
    centres = 2.0 * rng.standard_normal((3, 2))
    y = np.arange(6) % 3
    train, val = (Data(centres[y] + rng.standard_normal((6, 2)), y) for _ in range(2))
    theta_0 = mlp_from_draws(network, rng.uniform(-1.0, 1.0, network.size))
    return Task(NetworkLoss(network, CrossEntropy("mean")), train, val, theta_0)
