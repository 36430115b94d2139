"""This project's contestants: the engines of ``lft_ref`` on its backends."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lft_backends.backend import Backend, BackendUnavailable, get_backend
from lft_ref import (
    REFERENCE,
    FineTuner,
    LSTMParams,
    MetaGradient,
    MetaState,
    adam,
    adjoint,
    blockwise,
    fitting_segment,
    flatten,
    forward_mode,
    initial_meta_state,
    initial_state,
    sum_over_tasks,
    unflatten,
)
from lft_ref.lstm import LSTMState
from lft_ref.meta import Engine, descend
from lft_ref.optimizers import AdamState
from lft_validation.bench.contestant import (
    FUSED,
    ON_GPU,
    OURS,
    PLAIN,
    Contestant,
    Field,
    Missing,
    Point,
    Result,
    Update,
    does_not_run,
)
from lft_validation.bench.device import marked
from lft_validation.bench.problems import CLIP, HUGE, LEARNING_RATE, Problem, send

ENGINES: dict[str, Engine] = {"adjoint": adjoint, "forward": forward_mode}
JUDGED = 2**20  # coordinates at once of the reference on a GPU, whose step needs 24 n numbers each
NAMES = {"numpy": PLAIN, "numba": FUSED, "cupy": ON_GPU}


def contestants(problem: Problem, dtype: str, measure: str, device: str = "cpu") -> Field:
    """The plain reference and its fused twins.

    Args:
        problem: what is computed.
        dtype: ``float32`` or ``float64``.
        measure: ``adjoint`` or ``forward`` for one meta-gradient, ``training`` for truncated
            unrolls of one task with an update of Φ after each.
        device: ``cpu`` or ``gpu``.
    """
    field: Field = []
    for name in ("numpy", "numba") if device == "cpu" else ("cupy",):
        try:
            backend = get_backend(name, dtype)
        except BackendUnavailable as error:
            field.append(Missing(NAMES[name], str(error)))
            continue
        make = training if measure == "training" else unroll
        try:
            field.append(make(NAMES[name], problem, backend, measure))
        except MemoryError as error:
            field.append(does_not_run(NAMES[name], error))
    return field


def unroll(name: str, problem: Problem, backend: Backend, measure: str) -> Contestant:
    """One engine on one backend: value and meta-gradient of one unroll."""
    params, task, weights, _ = send(problem, backend)[1:]
    tuner, engine = FineTuner(ops=backend.ops), ENGINES[measure]
    if problem.kind == "cnn":
        from lft_validation.experiments.fewshot.methods import AT_ONCE

        engine = partial(engine, at_once=AT_ONCE)

    def run() -> MetaGradient:
        kept = _what_fits(problem, backend) if measure == "adjoint" else {}
        with marked(backend.name):
            result = engine(params, tuner, task, weights, **kept)
        backend.synchronize()
        return result

    return Contestant(name, OURS, run, lambda result: _read(result, backend))


def _what_fits(problem: Problem, backend: Backend) -> dict[str, Any]:
    """Of a huge unroll, keep as many steps as the device has room for now, beside the others."""
    if problem.d < HUGE or backend.free_memory is None:
        return {}
    K, itemsize = len(problem.weights), np.dtype(backend.dtype).itemsize
    free, n = backend.free_memory(), problem.params.n
    segment = fitting_segment(free, problem.d, n, K, itemsize, problem.tasks)
    return {"segment": segment, "at_once": 1}


class _At(NamedTuple):
    """What one update hands to the next, as arrays of a backend."""

    meta: MetaState
    theta: Any
    state: LSTMState


def training(name: str, problem: Problem, backend: Backend, measure: str) -> Contestant:
    """Algorithm 1 on one task: unrolls by the adjoint, each with an update of Φ by Adam."""
    assert measure == "training"
    params, task, weights, updates = send(problem, backend)[1:]
    tuner, optimizer, n = FineTuner(ops=backend.ops), adam(LEARNING_RATE), problem.params.n
    state_0 = initial_state(task.theta_0, n)
    start = _At(initial_meta_state(params, optimizer), task.theta_0, state_0)

    def advance(at: _At) -> tuple[MetaGradient, _At]:
        from_here = task._replace(theta_0=at.theta)
        with marked(backend.name):
            result = adjoint(at.meta.params, tuner, from_here, weights, at.state, every_loss=False)
        meta, [carried], _ = descend(at.meta, [result], optimizer, CLIP)
        return result, _At(meta, *carried)

    def run() -> _At:
        at = start
        for _ in range(updates):
            _, at = advance(at)
        backend.synchronize()
        return at

    def update(point: Point) -> Update:
        result, at = advance(_put(point, start, backend))
        return Update(_read(result, backend), _take(at, problem, backend))

    def read(at: _At) -> Result:
        return Result(0.0, _host(flatten(at.meta.params), backend))

    return Contestant(name, OURS, run, read, update)


def expected(problem: Problem, measure: str, device: str = "cpu") -> Result:
    """What every contestant must find: the plain reference in float64.

    It computes on the host, but for a GPU's huge case, which would take it minutes and 55 GiB.

    Raises:
        BackendUnavailable: if the huge case has no GPU to be computed on.
        MemoryError: if there is not enough memory.
    """
    judge = unroll("judge", problem, _reference(problem, device), measure)
    return judge.read(judge.run())


def _reference(problem: Problem, device: str) -> Backend:
    if device == "cpu" or problem.d < HUGE:
        return get_backend("numpy", "float64")
    return get_backend("cupy", "float64")._replace(ops=blockwise(REFERENCE, JUDGED))


def beginning(problem: Problem) -> Point:
    """Where training starts."""
    flat = np.asarray(flatten(problem.params))
    theta = np.reshape(problem.task.theta_0, (problem.tasks, problem.d))
    still = np.zeros((problem.tasks, problem.d, problem.params.n))
    return Point(flat, 0.0 * flat, 0.0 * flat, 0, theta, still, still)


def _read(result: MetaGradient, backend: Backend) -> Result:
    value = float(np.sum(backend.to_host(result.meta_loss), dtype=np.float64))
    return Result(value, _host(flatten(sum_over_tasks(result.grad)), backend))


def _host(a: Any, backend: Backend) -> np.ndarray:
    return backend.to_host(a).astype(np.float64)


def _put(point: Point, like: _At, backend: Backend) -> _At:
    """Send a point to the backend, in the shapes of ``like``."""
    flat, mean, square = (backend.asarray(a) for a in point[:3])
    params: LSTMParams = unflatten(flat, like.meta.params.m, like.meta.params.n)
    theta, h, c = (
        backend.asarray(np.reshape(a, b.shape))
        for a, b in zip(point[4:], (like.theta, *like.state), strict=True)
    )
    moments = AdamState(point.updates, mean, square)
    return _At(MetaState(params, moments, point.updates), theta, LSTMState(h, c))


def _take(at: _At, problem: Problem, backend: Backend) -> Point:
    """Bring a point to the host."""
    count, mean, square = at.meta.optimizer
    shape = (problem.tasks, problem.d)
    flat, mean, square, theta, h, c = (
        _host(a, backend) for a in (flatten(at.meta.params), mean, square, at.theta, *at.state)
    )
    cells = (*shape, problem.params.n)
    return Point(flat, mean, square, count, *map(np.reshape, (theta, h, c), (shape, cells, cells)))
