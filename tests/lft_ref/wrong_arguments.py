"""Calls with one wrong argument each, and what the ``ValueError`` must say of it."""

from __future__ import annotations

import numpy as np
import pytest

import lft_ref
from lft_ref import (
    Data,
    Identity,
    LSTMState,
    adam,
    adjoint,
    cnn,
    fine_tune,
    forward_mode,
    from_draws,
    l2o_data,
    maml_gradient,
    mlp,
    sgd,
    unflatten,
    unroll,
)
from lft_ref._array import namespace
from tests.random_cases import random_case

CASE = random_case(0)
PARAMS, TUNER, TASK, WEIGHTS, _, _ = CASE
ZEROTH = random_case(0, estimator="gaussian")
ATTACK = random_case(0, "attack_tanh")
NETWORK = random_case(0, "squared_mean_tanh")


def task_with(**changes):
    return unroll(PARAMS, TUNER, TASK._replace(**changes), 3)


def attack_with(**changes):
    objective = ATTACK.task.objective._replace(**changes)
    return unroll(*ATTACK[:2], ATTACK.task._replace(objective=objective), 3)


def attack_on(x, y):
    return unroll(*ATTACK[:2], ATTACK.task._replace(val=lft_ref.Data(x, y)), 3)


def zeroth_with(directions):
    return unroll(ZEROTH.params, ZEROTH.tuner, ZEROTH.task._replace(directions=directions), 3)


def identity_tuner():
    return TUNER._replace(cell=TUNER.cell._replace(preprocess=Identity()))


def state_with(h, c):
    return LSTMState(np.zeros(h), np.zeros(c))


ERRORS = {
    "no array library": (lambda: namespace("theta"), "found str; convert them first"),
    "two array libraries": (
        lambda: namespace(np.zeros(1), strict_array()),
        "one array library .*, found Array, ndarray; convert them first",
    ),
    "no weights": (lambda: adjoint(PARAMS, TUNER, TASK, ()), r"weights .*found none; use .*\* K"),
    "a weight that is a word": (
        lambda: adjoint(PARAMS, TUNER, TASK, (1.0, "2")),
        "weights must be finite numbers, found w_2 = '2'",
    ),
    "a weight that is not finite": (
        lambda: forward_mode(PARAMS, TUNER, TASK, (np.nan, 1.0)),
        "weights must be finite numbers, found w_1 = nan",
    ),
    "a matrix of other columns": (
        lambda: task_with(theta_0=np.zeros(5)),
        r"theta_0 has 5 entries, but A, train.x, has shape \(\d+, \d+\); it needs",
    ),
    "no weights, forward": (
        lambda: forward_mode(PARAMS, TUNER, TASK, ()),
        r"weights .*found none; use .*\* K",
    ),
    "segment 0": (
        lambda: adjoint(PARAMS, TUNER, TASK, WEIGHTS, segment=0),
        "segment must be a whole number of at least 1, or None, found 0",
    ),
    "one class": (lambda: cnn((1, 8, 8), 2, 4, 1), "ways must be at least 2 classes, found 1"),
    "no filters": (lambda: cnn((1, 8, 8), 2, 0, 3), "at least 1, found 2 and 0"),
    "another activation of a CNN": (
        lambda: cnn((1, 8, 8), 2, 4, 3, "gelu"),
        "activation must be 'relu' or 'tanh', found 'gelu'",
    ),
    "truncate 0": (
        lambda: adjoint(PARAMS, TUNER, TASK, WEIGHTS, truncate=0),
        "truncate must be a whole number of at least 1, or None, found 0",
    ),
    "truncate -1, forward": (
        lambda: forward_mode(PARAMS, TUNER, TASK, WEIGHTS, truncate=-1),
        "truncate must be a whole number of at least 1, or None, found -1",
    ),
    "no rows": (
        lambda: forward_mode(PARAMS, TUNER, TASK, WEIGHTS, rows_per_block=0),
        "rows_per_block must be a whole number of at least 1, or None, found 0",
    ),
    "K 0": (
        lambda: unroll(PARAMS, TUNER, TASK, 0),
        "K must be a whole number of at least 1, found 0",
    ),
    "features": (
        lambda: unroll(PARAMS, identity_tuner(), TASK, 3),
        r"Φ takes m=2 features, but Identity\(\) makes 1; use the preprocessing",
    ),
    "scalar theta_0": (
        lambda: task_with(theta_0=np.asarray(1.0)),
        r"theta_0 must have shape \(\.\.\., d\) with d >= 1, found \(\)",
    ),
    "empty theta_0": (
        lambda: task_with(theta_0=np.zeros((2, 0))),
        r"theta_0 must have shape \(\.\.\., d\) with d >= 1, found \(2, 0\)",
    ),
    "integer theta_0": (
        lambda: task_with(theta_0=np.zeros(3, dtype=int)),
        "theta_0 must be real floating-point, found int64; convert it",
    ),
    "two precisions": (
        lambda: task_with(theta_0=np.zeros(3, dtype="float32")),
        "theta_0 is float32 but Φ's W_x is float64; convert one of them",
    ),
    "another precision in D_val": (
        lambda: task_with(val=lft_ref.Data(*(a.astype("float32") for a in TASK.val))),
        r"theta_0 is float64 but val\.x is float32; convert one of them",
    ),
    "another precision in the state": (
        lambda: unroll(
            PARAMS, TUNER, TASK, 3, LSTMState(*(np.zeros((3, 2), "float32") for _ in "hc"))
        ),
        r"theta_0 is float64 but state_0\.h is float32",
    ),
    "one theta_0 for two tasks": (
        lambda: task_with(train=lft_ref.Data(*(np.stack([a, a]) for a in TASK.train))),
        r"batch axes \(\), but train\.x has \(2,\); broadcast theta_0",
    ),
    "Φ of two sizes": (
        lambda: unroll(PARAMS._replace(b=np.zeros(3)), TUNER, TASK, 3),
        r"Φ's b must have shape \(8,\) for m=2, n=2, found \(3,\)",
    ),
    "a learned rule on another dtype": (
        lambda: lft_ref.learned(PARAMS, TUNER.cell).init(np.zeros(3, "float32")),
        "theta is float32 but Φ is float64; convert one of them",
    ),
    "a gradient that is not finite": (
        lambda: fine_tune(sgd(0.1), lambda theta: theta + np.nan, np.zeros(2), 3),
        "the gradient at step 0 is not finite",
    ),
    "mu 0": (
        lambda: unroll(
            ZEROTH.params,
            ZEROTH.tuner._replace(estimator=lft_ref.ZerothOrder(mu=0.0)),
            ZEROTH.task,
            3,
        ),
        "mu must be positive and finite, found 0.0; try 1e-3",
    ),
    "unknown scaling": (
        lambda: unroll(
            ZEROTH.params,
            ZEROTH.tuner._replace(estimator=lft_ref.ZerothOrder(scaling="cube")),
            ZEROTH.task,
            3,
        ),
        "scaling must be one of .*found 'cube'",
    ),
    "unknown reduction": (
        lambda: lft_ref.SquaredError("men").value(np.ones((2, 1)), np.ones((2, 1))),
        "reduction must be 'sum' or 'mean', found 'men'",
    ),
    "no groups": (
        lambda: lft_ref.meta_update(None, TUNER, [], WEIGHTS, adam(1.0), []),
        "groups must hold at least one group of tasks",
    ),
    "MAML without directions": (
        lambda: maml_gradient(TASK, 0.1, 2, lft_ref.ZerothOrder()),
        r"directions must have shape .*found None",
    ),
    "no directions": (
        lambda: zeroth_with(None),
        r"directions must have shape \(K, q, \*theta_0.shape\) = \(3, q, 3\) .*found None",
    ),
    "too few directions": (
        lambda: zeroth_with(np.ones((2, 5, 3))),
        r"directions must have shape .*\(3, q, 3\) with q >= 1, found \(2, 5, 3\)",
    ),
    "directions without q": (lambda: zeroth_with(np.ones((3, 3))), r"directions .*found \(3, 3\)"),
    "q 0": (lambda: zeroth_with(np.ones((3, 0, 3))), r"with q >= 1, found \(3, 0, 3\)"),
    "directions of another d": (
        lambda: zeroth_with(np.ones((3, 1, 4))),
        r"directions .*found \(3, 1, 4\)",
    ),
    "state h": (
        lambda: unroll(PARAMS, TUNER, TASK, 3, state_with((3, 5), (3, 2))),
        r"state_0\.h must have shape \(3, 2\), found \(3, 5\)",
    ),
    "state c": (
        lambda: unroll(PARAMS, TUNER, TASK, 3, state_with((3, 2), (2,))),
        r"state_0\.c must have shape \(3, 2\), found \(2,\)",
    ),
    "flat Φ": (
        lambda: unflatten(np.zeros(10), 2, 2),
        r"flat Φ must have shape \(\.\.\., 43\) for m=2, n=2, found \(10,\); check",
    ),
    "one size": (lambda: mlp((3,)), r"sizes must be at least two positive widths, found \(3,\)"),
    "size 0": (lambda: mlp((3, 0)), r"sizes must be at least two positive widths, found \(3, 0\)"),
    "activation": (
        lambda: mlp((1, 1), "gelu"),
        "activation must be 'relu' or 'tanh', found 'gelu'",
    ),
    "images for LeNet-5": (
        lambda: lft_ref.lenet5((1, 8, 8)),
        r"images of shape \(1, 28, 28\) or \(3, 32, 32\), found \(1, 8, 8\)",
    ),
    "LeNet-5's activation": (
        lambda: lft_ref.lenet5(activation="gelu"),
        "activation must be 'relu' or 'tanh', found 'gelu'",
    ),
    "LeNet-5's pooling": (
        lambda: lft_ref.lenet5(pooling="sum"),
        "pooling must be 'max' or 'average', found 'sum'",
    ),
    "a victim's weights": (
        lambda: attack_with(weights=np.zeros(3)),
        r"weights must have shape \(37,\), found \(3,\)",
    ),
    "a victim in another precision": (
        lambda: attack_with(weights=np.zeros(37, "float32")),
        "theta_0 is float64 but the victim's weights is float32",
    ),
    "a box upside down": (
        lambda: attack_with(box=(1.0, 0.0)),
        r"box must be \(low, high\) with low < high, found \(1\.0, 0\.0\)",
    ),
    "a negative margin": (
        lambda: attack_with(kappa=-1.0),
        "kappa and l1 must not be negative, found -1.0 and 0.1",
    ),
    "a perturbation of another size": (
        lambda: unroll(*ATTACK[:2], ATTACK.task._replace(theta_0=np.zeros(9)), 3),
        r"theta_0 has 9 entries, but the images have shape \(1, 4, 4\)",
    ),
    "an image without a class": (
        lambda: attack_on(ATTACK.task.val.x, ATTACK.task.val.y[:-1]),
        r"each image needs its class, found images of shape \(4, 1, 4, 4\) and classes of shape",
    ),
    "one perturbation for two tasks": (
        lambda: attack_on(*(np.stack([a, a]) for a in ATTACK.task.val)),
        r"batch axes \(\), but val\.x has \(2,\); broadcast theta_0",
    ),
    "parameters of another network": (
        lambda: unroll(*NETWORK[:2], NETWORK.task._replace(theta_0=np.zeros(5)), 3),
        r"theta_0 has 5 entries, but the network has \d+ parameters",
    ),
    "images of whole numbers": (
        lambda: task_with(train=lft_ref.Data(TASK.train.x.astype(int), TASK.train.y)),
        r"theta_0 is float64 but train\.x is int64; convert one of them",
    ),
    "no step to weigh": (
        lambda: lft_ref.weights_last_step(0),
        "K must be a whole number of at least 1, found 0",
    ),
    "Φ's draws for many tasks": (
        lambda: from_draws(np.zeros((3, 531)), 2, 10),
        r"flat must have shape \(P,\), found \(3, 531\); take one Φ at a time",
    ),
    "L2O's data": (
        lambda: l2o_data(Data(np.ones((4, 2)), np.ones((4, 2, 3))), TASK.val),
        r"train must hold x .*, found x \(4, 2\) and y \(4, 2, 3\)",
    ),
    "L2O's data without examples": (
        lambda: l2o_data(Data(np.ones(2), np.ones(2)), TASK.val),
        r"train must hold x .*, found x \(2,\) and y \(2,\)",
    ),
    "steps": (
        lambda: fine_tune(sgd(0.1), lambda a: a, np.ones(2), -1),
        "steps must be a whole number of at least 0, found -1",
    ),
    "gradient's shape": (
        lambda: fine_tune(sgd(0.1), lambda a: a[:1], np.ones(2), 1),
        r"gradient must return theta's shape and dtype, .*found \(1,\)",
    ),
}


def strict_array():
    strict = pytest.importorskip("array_api_strict")
    return strict.zeros(1)
