"""This project's contestants: the engines of ``lft_ref`` on its backends."""

from __future__ import annotations

from typing import Any

import numpy as np

from lft_backends.backend import Backend, BackendUnavailable, get_backend
from lft_ref import (
    FineTuner,
    MetaGradient,
    MetaState,
    adam,
    adjoint,
    flatten,
    forward_mode,
    initial_meta_state,
    sum_over_tasks,
    train_on,
)
from lft_ref.meta import Engine
from lft_validation.bench.contestant import FUSED, OURS, PLAIN, Contestant, Field, Missing, Result
from lft_validation.bench.problems import Problem, send

TRAINING_STEPS = 200
LEARNING_RATE, CLIP = 1e-3, 1.0  # of Adam on Φ, as in Table 1
ENGINES: dict[str, Engine] = {"adjoint": adjoint, "forward": forward_mode}
NAMES = {"numpy": PLAIN, "numba": FUSED, "cupy": f"{OURS}, CuPy"}


def contestants(problem: Problem, dtype: str, measure: str, device: str = "cpu") -> Field:
    """The plain reference and its fused twins.

    Args:
        problem: what is computed.
        dtype: ``float32`` or ``float64``.
        measure: ``adjoint`` or ``forward`` for one meta-gradient, ``training`` for one task's
            200 steps in truncated unrolls with an update of Φ after each.
        device: ``cpu`` or ``gpu``.
    """
    field: Field = []
    for name in ("numpy", "numba") if device == "cpu" else ("cupy",):
        try:
            backend = get_backend(name, dtype)
        except BackendUnavailable as error:
            field.append(Missing(NAMES[name], str(error)))
            continue
        field.append(contestant(NAMES[name], problem, backend, measure))
    return field


def contestant(name: str, problem: Problem, backend: Backend, measure: str) -> Contestant:
    """One engine on one backend."""
    params, task, weights = send(problem, backend)[1:]
    tuner = FineTuner(ops=backend.ops)

    def gradient() -> MetaGradient:
        result = ENGINES[measure](params, tuner, task, weights)
        backend.synchronize()
        return result

    def training() -> MetaState:
        optimizer = adam(LEARNING_RATE)
        start = initial_meta_state(params, optimizer)
        meta, _ = train_on(start, tuner, [task], weights, TRAINING_STEPS, optimizer, CLIP)
        backend.synchronize()
        return meta

    def read_gradient(result: Any) -> Result:
        flat = backend.to_host(flatten(sum_over_tasks(result.grad)))
        value = float(np.sum(backend.to_host(result.meta_loss), dtype=np.float64))
        return Result(value, flat.astype(np.float64))

    def read_training(meta: Any) -> Result:
        moved = backend.to_host(flatten(meta.params)).astype(np.float64)
        return Result(0.0, moved - np.asarray(flatten(problem.params)))

    run: Any = training if measure == "training" else gradient
    return Contestant(name, OURS, run, read_training if measure == "training" else read_gradient)


def expected(problem: Problem, measure: str) -> Result:
    """What every contestant must find: the plain reference in float64."""
    judge = contestant("judge", problem, get_backend("numpy", "float64"), measure)
    return judge.read(judge.run())
