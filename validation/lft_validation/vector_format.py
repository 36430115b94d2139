"""Test vectors on disk: the format ``lft-vectors-1``, written and read with complete validation.

One ``.npz`` archive holds one case and its results: see :func:`to_arrays` and :func:`read`.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lft_ref import (
    Cell,
    CrossEntropy,
    Data,
    Estimator,
    FineTuner,
    FirstOrder,
    Identity,
    LogSign,
    LSTMParams,
    LSTMState,
    NetworkLoss,
    Objective,
    Quadratic,
    SquaredError,
    Task,
    ZerothOrder,
    mlp,
    size,
)
from lft_validation.cases import ACTIVATIONS, OBJECTIVES, REDUCTIONS, Case
from lft_validation.files import write_bytes
from lft_validation.vector_fields import Fields, load_arrays

FORMAT = "lft-vectors-1"
GRADIENTS = tuple(f"grad_{name}" for name in LSTMParams._fields)
RESULTS = ("theta", "val_loss", "meta_loss", *GRADIENTS)
JACOBIANS = ("G", "H")  # results that large cases leave out


class Vector(NamedTuple):
    """One test vector: a case, and what its file says comes out."""

    case: Case
    results: dict[str, np.ndarray]


def to_arrays(case: Case, results: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of a file: words and flags of shape (), everything else as in memory."""
    tuner, task = case.tuner, case.task
    directions = np.zeros((case.K, 0, case.d)) if task.directions is None else task.directions
    arrays = {
        "format": FORMAT,
        **case.params._asdict(),
        "preprocess": case.preprocess,
        "p": float(getattr(tuner.cell.preprocess, "p", 10.0)),
        "output_scale": float(tuner.cell.output_scale),
        "theta_0": task.theta_0,
        "h_0": case.state_0.h,
        "c_0": case.state_0.c,
        "weights": case.weights,
        "estimator": case.estimator,
        "mu": float(getattr(tuner.estimator, "mu", 0.0)),
        "directions": directions,
        "second_order": tuner.second_order,
        "objective": case.objective,
        **_objective_arrays(case),
        **results,
    }
    return {name: np.asarray(value) for name, value in arrays.items()}


def _objective_arrays(case: Case) -> dict[str, object]:
    train, val = case.task.train, case.task.val
    if case.objective == "quadratic":
        return {"train_A": train.x, "train_b": train.y, "val_A": val.x, "val_b": val.y}
    return {
        "layer_sizes": case.layer_sizes,
        "activation": case.activation,
        "reduction": case.reduction,
        "train_x": train.x,
        "train_y": train.y,
        "val_x": val.x,
        "val_y": val.y,
    }


def write(path: Path, vector: Vector) -> None:
    """Write a file, whole or not at all. Equal vectors give equal bytes.

    Raises:
        OSError: if the file cannot be written.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **to_arrays(*vector))  # type: ignore[arg-type] # one stub for all keywords
    write_bytes(path, buffer.getvalue())


def read(path: Path) -> Vector:
    """Read a file and check everything about it but its numbers.

    Raises:
        UserError: if the file is missing, damaged or foreign, or an array is missing, unknown, of
            another type or shape, not finite, or does not fit the others.
    """
    fields = Fields(path, load_arrays(path))
    fields.word("format", (FORMAT,))
    case = _read_case(fields)
    results = _read_results(fields, case)
    fields.finish()
    return Vector(case, results)


def _read_case(fields: Fields) -> Case:
    params, tuner_cell = _read_cell(fields)
    weights = fields.floats("weights", ("K",))
    K, n = len(weights), params.n
    theta_0 = fields.floats("theta_0", ("d",))
    d = len(theta_0)
    state_0 = LSTMState(fields.floats("h_0", (d, n)), fields.floats("c_0", (d, n)))
    estimator, directions = _read_estimator(fields, K, d)
    tuner = FineTuner(tuner_cell, estimator, fields.flag("second_order"))
    kind = fields.word("objective", OBJECTIVES)
    if kind == "quadratic":
        train, val = (
            Data(A := fields.floats(f"{part}_A", ("N", d)), fields.floats(f"{part}_b", (len(A),)))
            for part in ("train", "val")
        )
        task = Task(Quadratic(), train, val, theta_0, directions)
        return Case(params, tuner, task, tuple(weights.tolist()), state_0, kind)
    sizes, activation, reduction, objective = _read_network(fields, kind, d)
    train, val = (_read_examples(fields, part, kind, sizes) for part in ("train", "val"))
    task = Task(objective, train, val, theta_0, directions)
    return Case(
        params, tuner, task, tuple(weights.tolist()), state_0, kind, sizes, activation, reduction
    )


def _read_cell(fields: Fields) -> tuple[LSTMParams, Cell]:
    """Φ, and the preprocessing that its number of inputs m must fit."""
    word = fields.word("preprocess", ("identity", "log_sign"))
    p = fields.number("p", positive=True)
    if not p <= 700.0:  # e^p must be finite
        raise fields.error("p", "a number of at most 700, usually 10", f"{p:g}")
    preprocess = LogSign(p) if word == "log_sign" else Identity()
    w_o = fields.floats("w_o", ("n",))
    m, n = preprocess.m, len(w_o)
    params = LSTMParams(
        W_x=fields.floats("W_x", (m, 4 * n)),
        W_h=fields.floats("W_h", (n, 4 * n)),
        b=fields.floats("b", (4 * n,)),
        w_o=w_o,
        b_o=fields.floats("b_o", ()),
    )
    return params, Cell(preprocess, fields.number("output_scale"))


def _read_estimator(fields: Fields, K: int, d: int) -> tuple[Estimator, np.ndarray | None]:
    word = fields.word("estimator", ("first_order", "zeroth_order"))
    mu = fields.number("mu", positive=word == "zeroth_order")
    if word == "zeroth_order":
        return ZerothOrder(mu), fields.floats("directions", (K, "q", d))
    fields.empty("directions")
    if mu != 0.0:
        raise fields.error("mu", "0 for first_order", f"{mu:g}")
    return FirstOrder(), None


def _read_network(fields: Fields, kind: str, d: int) -> tuple[tuple[int, ...], str, str, Objective]:
    """Layer sizes, activation, reduction, and the objective that they make."""
    sizes = tuple(fields.integers("layer_sizes", ("L",)).tolist())
    if len(sizes) < 2 or min(sizes) < 1:
        raise fields.error("layer_sizes", "at least two numbers, all of them >= 1", str(sizes))
    wanted = sum((a + 1) * b for a, b in itertools.pairwise(sizes))
    if wanted != d:
        raise fields.error(
            "theta_0", f"length {wanted}, as layer_sizes {sizes} need", f"length {d}"
        )
    activation = fields.word("activation", ACTIVATIONS)
    reduction = fields.word("reduction", REDUCTIONS)
    loss = (SquaredError if kind == "mlp_mse" else CrossEntropy)(reduction)
    return sizes, activation, reduction, NetworkLoss(mlp(sizes, activation), loss)


def _read_examples(fields: Fields, part: str, kind: str, sizes: tuple[int, ...]) -> Data:
    x = fields.floats(f"{part}_x", ("N", sizes[0]))
    if kind == "mlp_mse":
        return Data(x, fields.floats(f"{part}_y", (len(x), sizes[-1])))
    y = fields.integers(f"{part}_y", (len(x),))
    if y.min() < 0 or y.max() >= sizes[-1]:
        raise fields.error(f"{part}_y", f"classes 0 to {sizes[-1] - 1}", f"{y.min()} to {y.max()}")
    return Data(x, y)


def _read_results(fields: Fields, case: Case) -> dict[str, np.ndarray]:
    K, d, n = case.K, case.d, case.params.n
    results = {
        "theta": fields.floats("theta", (K + 1, d)),
        "val_loss": fields.floats("val_loss", (K,)),
        "meta_loss": fields.floats("meta_loss", ()),
    }
    for name, array in zip(GRADIENTS, case.params, strict=True):
        results[name] = fields.floats(name, array.shape)
    if any(fields.has(name) for name in JACOBIANS):
        P = size(case.params.m, n)
        results["G"] = fields.floats("G", (d, P))
        results["H"] = fields.floats("H", (d, 2 * n, P))
    return results
