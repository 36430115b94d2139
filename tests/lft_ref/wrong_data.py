"""Calls whose data or arrays are wrong, and what the ``ValueError`` must say of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lft_ref import (
    Activation,
    CrossEntropy,
    Data,
    Dense,
    LSTMState,
    Network,
    NetworkLoss,
    fine_tune,
    maml_gradient,
    network_from_draws,
    sgd,
    unflatten,
    unroll,
)
from tests.lft_ref.wrong_arguments import ATTACK, NETWORK, PARAMS, TUNER, ZEROTH, task_with
from tests.random_cases import random_case

CLASSES = random_case(0, "cross_entropy_sum_tanh")
IMAGES = random_case(0, "convolution")
ONES, WORDS = np.ones((5, 2)), np.full((5, 2), "a")


class OfTwoTasks(NamedTuple):
    """Somebody's loss, which has batch axes whatever θ has."""

    def value(self, theta: Any, data: Data) -> Any:
        return np.zeros(2)


def on(case, *data, **changes):
    """Unroll a case with another D_tr."""
    task = case.task._replace(train=Data(*data), **changes)
    return lambda: unroll(*case[:2], task, 3)


def maml(case, **changes):
    return lambda: maml_gradient(case.task._replace(**changes), 0.1, 2)


def quadratic(x, y):
    return lambda: task_with(train=Data(x, y))


def classifier(network):
    f, theta = NetworkLoss(network, CrossEntropy()), np.zeros(network.size)
    return on(CLASSES, ONES, np.zeros(5, int), objective=f, theta_0=theta)


ROWS = r"train\.y must have shape \(\.\.\., 5, 2\), a row of outputs for each example, found "
EACH = r"train\.y must have shape \(\.\.\., 5\), a class for each example, found "
INTEGERS = r"train\.y must hold classes as integers, found "
PRECISION = r"theta_0 is float64 but {} is {}; convert one of them"
AN_ARRAY = "{} must be an array, found {}; convert it, for example with numpy.asarray"
SOME = r"train\.x must hold at least one example, found shape "

WRONG_DATA = {
    "one b for five rows": (
        quadratic(np.ones((5, 3)), np.ones(1)),
        r"train\.y must have shape \(\.\.\., 5\), a number for each row of A, found \(1,\)",
    ),
    "b without an axis": (quadratic(np.ones((5, 3)), np.ones(())), r"a number .*, found \(\)"),
    "a matrix that is a row": (
        quadratic(np.ones(3), np.ones(3)),
        r"A, train\.x, has shape \(3,\); it needs a column for each",
    ),
    "a matrix without rows": (
        quadratic(np.ones((0, 3)), np.ones(0)),
        SOME + r"\(0, 3\)",
    ),
    "one column of outputs": (on(NETWORK, ONES, np.ones((5, 1))), ROWS + r"\(5, 1\)"),
    "one row of outputs": (on(NETWORK, ONES, np.ones((1, 2))), ROWS + r"\(1, 2\)"),
    "outputs that are too few": (on(NETWORK, ONES, np.ones((4, 2))), ROWS + r"\(4, 2\)"),
    "outputs in a row": (on(NETWORK, ONES, np.ones(2)), ROWS + r"\(2,\)"),
    "no example": (on(NETWORK, ONES[:0], ONES[:0]), SOME + r"\(0, 2\)"),
    "no image": (on(IMAGES, np.ones((0, 1, 4, 4)), np.zeros(0, int)), SOME + r"\(0, 1, 4, 4\)"),
    "no image to attack": (
        on(ATTACK, np.ones((0, 1, 4, 4)), np.zeros(0, int)),
        SOME + r"\(0, 1, 4, 4\)",
    ),
    "examples of another width": (
        on(NETWORK, np.ones((5, 3)), ONES),
        r"train\.x has shape \(5, 3\), which the network does not take: Dense.* cannot follow on",
    ),
    "an example without an axis of examples": (
        on(NETWORK, np.ones(2), ONES),
        r"train\.x has shape \(2,\), which the network does not take",
    ),
    "rows for a network of images": (
        on(IMAGES, np.ones((5, 16)), np.zeros(5, int)),
        r"train\.x has shape \(5, 16\), which the network does not take: Conv2d",
    ),
    "images of three channels": (
        on(IMAGES, np.ones((5, 3, 4, 4)), np.zeros(5, int)),
        r"train\.x has shape \(5, 3, 4, 4\), .*: Conv2d\(channels=1, .* cannot follow on \(5, 3",
    ),
    "larger images": (
        on(IMAGES, np.ones((5, 1, 9, 9)), np.zeros(5, int)),
        r"\(5, 1, 9, 9\), which .*: Dense\(n_in=8, n_out=3\) cannot follow on \(5, 50\)",
    ),
    "layers that do not fit": (
        classifier(Network((Dense(2, 3), Activation("tanh"), Dense(4, 2)))),
        r"Dense\(n_in=4, n_out=2\) cannot follow on \(5, 3\); give it the shape that",
    ),
    "one class for five examples": (on(CLASSES, ONES, np.zeros(1, int)), EACH + r"\(1,\)"),
    "a class too many": (on(CLASSES, ONES, np.zeros(6, int)), EACH + r"\(6,\)"),
    "one-hot classes": (on(CLASSES, ONES, np.zeros((5, 2), int)), EACH + r"\(5, 2\)"),
    "class 9 of 2": (
        on(CLASSES, ONES, np.asarray([0, 1, 9, 0, 1])),
        r"train\.y must hold classes from 0 to 1, found 9; count them from 0, or use a network of",
    ),
    "class -1": (
        on(CLASSES, ONES, np.asarray([0, 1, -1, 0, 1])),
        r"train\.y must hold classes from 0 to 1, found -1; count them from 0",
    ),
    "class 3 of an attack's 3": (
        on(ATTACK, np.ones((2, 1, 4, 4)), np.asarray([0, 3])),
        r"train\.y must hold classes from 0 to 2, found 3",
    ),
    "classes that are numbers": (on(CLASSES, ONES, np.zeros(5)), INTEGERS + "float64; convert"),
    "classes that are truths": (on(CLASSES, ONES, np.ones(5, bool)), INTEGERS + "bool; convert"),
    "classes that are words": (on(CLASSES, ONES, WORDS[:, 0]), INTEGERS + "<U1; convert"),
    "an attack's classes that are numbers": (
        on(ATTACK, np.ones((2, 1, 4, 4)), np.zeros(2)),
        INTEGERS + "float64; convert",
    ),
    **{
        f"outputs of {dtype}": (
            on(NETWORK, ONES, ONES.astype(dtype)),
            PRECISION.format(r"train\.y", found),
        )
        for dtype, found in {
            "complex128": "complex128",
            "bool": "bool",
            "int64": "int64",
            "object": "object",
            "str": "<U32",
        }.items()
    },
    "b of whole numbers": (
        quadratic(np.ones((5, 3)), np.ones(5, int)),
        PRECISION.format(r"train\.y", "int64"),
    ),
    "examples as a list": (on(NETWORK, [[1.0, 2.0]], ONES), AN_ARRAY.format("train.x", "list")),
    "outputs as a list": (on(NETWORK, ONES, [[1.0, 2.0]]), AN_ARRAY.format("train.y", "list")),
    "theta_0 as a list": (
        lambda: task_with(theta_0=[1.0, 2.0, 3.0]),
        AN_ARRAY.format("theta_0", "list"),
    ),
    "a list in Φ": (
        lambda: unroll(PARAMS._replace(b=[0.0] * 8), TUNER, ZEROTH.task, 3),
        AN_ARRAY.format("Φ's b", "list"),
    ),
    "a state of lists": (
        lambda: unroll(*NETWORK[:3], 3, LSTMState([0.0], [0.0])),
        AN_ARRAY.format("state_0.h", "list"),
    ),
    "a row for W_x": (
        lambda: unroll(PARAMS._replace(W_x=np.ones(8)), TUNER, ZEROTH.task, 3),
        r"Φ's W_x must be a matrix of 4n columns, found shape \(8,\)",
    ),
    "batch axes that cannot be one": (
        on(NETWORK, np.ones((3, 5, 2)), ONES, theta_0=np.zeros((2, NETWORK.task.theta_0.size))),
        r"theta_0 has batch axes \(2,\), but train\.x has \(3,\); broadcast theta_0",
    ),
    "outputs of two tasks": (
        on(NETWORK, ONES, np.ones((2, 5, 2))),
        r"theta_0 has batch axes \(\), but train\.y has \(2,\); broadcast theta_0",
    ),
    "somebody's loss of two tasks": (
        lambda: task_with(objective=OfTwoTasks()),
        r"theta_0 has batch axes \(\), but its loss on train has \(2,\); broadcast theta_0",
    ),
    "flat Φ without an axis": (
        lambda: unflatten(np.ones(()), 2, 2),
        r"flat Φ must have shape \(\.\.\., 43\) for m=2, n=2, found \(\); check",
    ),
    "flat Φ as a list": (lambda: unflatten([0.0] * 43, 2, 2), "found list; convert them first"),
    "MAML's integer theta": (
        maml(NETWORK, theta_0=np.zeros(17, int)),
        "theta_0 must be real floating-point, found int64; convert it",
    ),
    "MAML's theta in another precision": (
        maml(NETWORK, theta_0=np.zeros(17, "float32")),
        r"theta_0 is float32 but train\.x is float64; convert one of them",
    ),
    "MAML's theta for another network": (
        maml(NETWORK, theta_0=np.zeros(18)),
        "theta_0 has 18 entries, but the network has 17 parameters",
    ),
    "MAML's theta for another matrix": (
        maml(ZEROTH, theta_0=np.zeros(4)),
        r"theta_0 has 4 entries, but A, train\.x, has shape \(3, 3\)",
    ),
    "MAML without examples": (maml(NETWORK, train=Data(ONES[:0], ONES[:0])), SOME + r"\(0, 2\)"),
    "MAML's tasks": (
        maml(
            NETWORK,
            train=Data(np.ones((2, 5, 2)), np.ones((2, 5, 2))),
            val=Data(np.ones((3, 5, 2)), np.ones((3, 5, 2))),
        ),
        r"theta_0 has batch axes \(2,\), but val\.x has \(3,\); broadcast theta_0",
    ),
    "draws for another network": (
        lambda: network_from_draws(Network((Dense(2, 3),)), np.zeros((4, 8))),
        r"draws must have shape \(\.\.\., 9\) for this network, found \(4, 8\)",
    ),
    "fine_tune's integer theta": (
        lambda: fine_tune(sgd(0.1), lambda a: a, np.zeros(2, int), 1),
        "theta must be real floating-point, found int64; convert it",
    ),
    "fine_tune's list": (
        lambda: fine_tune(sgd(0.1), lambda a: a, [0.0], 1),
        AN_ARRAY.format("theta", "list"),
    ),
}
