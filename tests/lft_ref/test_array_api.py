"""Every public function on every array library: the same numbers, dtype and device."""

from __future__ import annotations

import functools
import inspect
import sys
import types

import numpy as np
import pytest

import lft_ref
from lft_ref import (
    REFERENCE,
    Data,
    Ops,
    accuracy,
    adam,
    adjoint,
    blockwise,
    clip_by_norm,
    clip_each_task,
    fine_tune,
    flatten,
    forward_mode,
    forward_step,
    from_draws,
    initial_meta_state,
    initial_state,
    jacobians,
    l2o_data,
    l2o_train_data,
    learned,
    lft_data,
    maml_gradient,
    meta_update,
    mlp,
    network_from_draws,
    sgd,
    size,
    step,
    sum_over_tasks,
    train_on,
    unflatten,
    unroll,
    vjp,
    weights_every_step,
)
from lft_ref._array import namespace
from lft_ref.forward_mode import initial_forward_state
from lft_ref.params import all_columns
from tests import libraries
from tests.helpers import assert_close, cast, leaves
from tests.libraries import LIBRARIES
from tests.measuring import measured_once
from tests.random_cases import (
    ESTIMATORS,
    OBJECTIVES,
    Case,
    random_case,
    random_params,
    random_state,
)

NO_ARRAYS = {
    "adjoint_memory_bytes",
    "cifar_cnn",
    "cnn",
    "digits_network",
    "fitting_segment",
    "lenet5",
    "memory_bytes",
    "miniimagenet_cnn",
    "mlp",
    "mnist_mlp",
    "omniglot_cnn",
    "size",
    "weights_every_step",
    "weights_last_step",
    "weights_linear",
    "weights_mean",
}


# Made for users' own losses: checks at every step that the gradient is finite.
LOOKS_AT_VALUES = {"fine_tune", "learned"}


def arguments():
    """NumPy arguments of the calls below, the same at every call."""
    rng = np.random.default_rng(0)
    # Seed 1: rounding the arguments changes its gradient by 7 eps only, so that libraries whose
    # sums round otherwise than NumPy's can be held to hundreds of eps.
    case = random_case(
        1, "squared_mean_tanh", "gaussian", batch=(2,), with_state=True, weights="linear"
    )
    return {
        "case": case,
        "g": rng.normal(size=(2, 3)),
        "state": random_state(rng, (2, 3), 2),
        "delta_bar": rng.normal(size=(2, 3)),
        "params": random_params(rng, 2, 2),
        "flat": rng.uniform(-1, 1, size(2, 2)),
        "draws": rng.uniform(-1, 1, 17),
        "train": Data(rng.normal(size=(4, 2)), rng.normal(size=4)),
        "val": Data(rng.normal(size=(3, 2)), rng.normal(size=3)),
        "ops": REFERENCE,  # a library with twins has its own there
    }


def _cell_call(f, a, *rest):
    return f(a["params"], a["case"].tuner.cell, a["g"], a["state"], *rest)


def _forward_step(a):
    params, tuner, task, _, state, _ = a["case"]
    at = initial_forward_state(params, task.theta_0, state, all_columns(params.m, params.n))
    return forward_step(params, tuner, task, 0, at)


def _blockwise(a):
    ops = blockwise(a["ops"], block=2)
    return _cell_call(ops.step, a), _cell_call(ops.vjp, a, a["delta_bar"], a["state"])


def _meta_update(a):
    params, tuner, task, weights, state, _ = a["case"]
    meta = initial_meta_state(params, adam(0.01))
    return meta_update(meta, tuner, [task, task], weights, adam(0.01), [state, None], clip=0.1)


def _train_on(a):
    params, tuner, task, *_ = a["case"]
    meta = initial_meta_state(params, sgd(0.01))
    return train_on(meta, tuner, [task], weights_every_step(1), 3, sgd(0.01))


def _fine_tune(a):
    tuner = a["case"].tuner
    rule = learned(a["params"], tuner.cell, tuner.ops)
    return fine_tune(rule, lambda x: 2.0 * x, a["g"], 3)


def _optimizer(optimizer, a):
    state, deltas = optimizer.init(a["flat"]), []
    for factor in (1.0, -0.5, 2.0):
        delta, state = optimizer.update(factor * a["flat"], state)
        deltas.append(delta)
    return deltas, state


CALLS = {
    "accuracy": lambda a: accuracy(
        mlp((2, 3, 2)), a["draws"], a["train"]._replace(y=0.0 * a["train"].y)
    ),
    "adam": lambda a: _optimizer(adam(0.1), a),
    "adjoint": lambda a: adjoint(*a["case"]),
    "blockwise": _blockwise,
    "clip_by_norm": lambda a: clip_by_norm(a["flat"], 0.5),
    "clip_each_task": lambda a: clip_each_task(*a["case"][:5], limit=0.5),
    "fine_tune": _fine_tune,
    "flatten": lambda a: flatten(a["params"]),
    "forward_mode": lambda a: forward_mode(*a["case"], rows_per_block=2),
    "forward_step": _forward_step,
    "from_draws": lambda a: from_draws(a["flat"], 2, 2),
    "initial_meta_state": lambda a: initial_meta_state(a["params"], adam(0.1)),
    "initial_state": lambda a: initial_state(a["g"], 3),
    "jacobians": lambda a: _cell_call(jacobians, a),
    "l2o_data": lambda a: l2o_data(a["train"], a["val"]),
    "l2o_train_data": lambda a: l2o_train_data(a["train"], a["val"]),
    "learned": _fine_tune,
    "lft_data": lambda a: lft_data(a["train"], a["val"]),
    "maml_gradient": lambda a: maml_gradient(a["case"].task, 0.1, 2, a["case"].tuner.estimator),
    "meta_update": _meta_update,
    "network_from_draws": lambda a: network_from_draws(mlp((2, 3, 2)), a["draws"]),
    "sgd": lambda a: _optimizer(sgd(0.1), a),
    "step": lambda a: _cell_call(step, a),
    "sum_over_tasks": lambda a: sum_over_tasks(adjoint(*a["case"]).grad),
    "train_on": _train_on,
    "unflatten": lambda a: unflatten(a["flat"], 2, 2),
    "unroll": lambda a: unroll(*a["case"][:3], 3, a["case"].state_0),
    "vjp": lambda a: _cell_call(vjp, a, a["delta_bar"], a["state"]),
}


def test_the_calls_below_are_all_public_functions():
    public = {name for name in lft_ref.__all__ if inspect.isfunction(getattr(lft_ref, name))}
    assert set(CALLS) == public - NO_ARRAYS


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CALLS)
def test_a_public_function_gives_numpys_numbers_and_keeps_the_dtype(xp, name, dtype):
    host = cast(arguments(), dtype)
    device = {key: xp.put(value) for key, value in host.items()}
    call = CALLS[name]
    found = call(device) if name in LOOKS_AT_VALUES else xp.call(call, device)
    got, want = leaves(xp.get(found)), leaves(call(host))
    assert len(got) == len(want) > 0
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype == dtype
        assert_close(a, b, 500 * np.finfo(dtype).eps)
    for before, after in zip(
        leaves(list(cast(arguments(), dtype).values())), leaves(list(host.values())), strict=True
    ):
        np.testing.assert_array_equal(before, after)  # nothing is written to its arguments


USE_THE_CELL = (
    "adjoint", "blockwise", "fine_tune", "forward_mode", "forward_step", "learned", "meta_update",
    "sum_over_tasks", "train_on", "unroll",
)  # fmt: skip


@pytest.mark.parametrize("name", USE_THE_CELL)
def test_a_library_with_twins_computes_with_them_alone(monkeypatch, name):
    numba_backend = pytest.importorskip("lft_backends.numba_backend", exc_type=ImportError)
    there = LIBRARIES["numba"]().put(arguments())
    assert there["case"].tuner.ops == numba_backend.OPS == there["ops"]

    def plain(*_):
        raise AssertionError("the reference was called")

    monkeypatch.setattr(numba_backend, "REFERENCE", Ops(plain, plain, plain))
    CALLS[name](there)
    monkeypatch.setattr(numba_backend, "_fit", lambda *_: False)
    with pytest.raises(AssertionError, match="the reference was called"):
        CALLS[name](there)


def test_cupy_is_tested_with_its_twins(monkeypatch):
    twins = Ops(*3 * [lambda *_: None])
    backend = types.SimpleNamespace(ops=twins)
    monkeypatch.setattr(libraries, "get_backend", lambda _: backend)
    fake = types.SimpleNamespace(asarray=np.asarray, asnumpy=np.asarray)
    monkeypatch.setitem(sys.modules, "cupy", fake)
    there = LIBRARIES["cupy"]().put(arguments())
    assert there["case"].tuner.ops == twins == there["ops"]


@functools.cache
def numpys(objective: str, estimator: str, m: int) -> tuple[Case, list[list[np.ndarray]]]:
    """A case, and what NumPy finds for it with both engines: every library is judged by it."""
    case = random_case(3, objective, estimator, m=m, batch=(2,), truncate=2)
    return case, [leaves(engine(*case)) for engine in (adjoint, forward_mode)]


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("objective", measured_once(OBJECTIVES))
def test_engines_give_numpys_numbers_for_every_objective_and_estimator(
    eager, objective, estimator, m
):
    case, wants = numpys(objective, estimator, m)
    for engine, want in zip((adjoint, forward_mode), wants, strict=True):
        got = leaves(eager.get(engine(*eager.put(case))))
        for a, b in zip(got, want, strict=True):
            assert a.dtype == b.dtype
            assert_close(a, b, 1e-10)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objectives_give_numpys_numbers(eager, objective):
    task = random_case(4, objective, batch=(2,)).task
    f, there = task.objective, eager.put(task)
    f_there = there.objective  # an attack carries its victim's weights
    v = np.random.default_rng(0).normal(size=(3, *task.theta_0.shape))
    for got, want in (
        (f_there.value(there.theta_0, there.train), f.value(task.theta_0, task.train)),
        (f_there.grad(there.theta_0, there.train), f.grad(task.theta_0, task.train)),
        (f_there.hvp(there.theta_0, there.train, eager.put(v)), f.hvp(task.theta_0, task.train, v)),
    ):
        assert_close(eager.get(got), want, 1e-13)


@pytest.mark.slow
@pytest.mark.jax
def test_a_network_with_pooling_and_convolutions_runs_where_arrays_never_change():
    pytest.importorskip("jax")
    jax, task = LIBRARIES["jax"](), random_case(4, "convolution", batch=(2,)).task
    there = jax.put(task)
    got = there.objective.grad(there.theta_0, there.train)
    assert_close(jax.get(got), task.objective.grad(task.theta_0, task.train), 1e-13)


def test_the_namespace_is_found_from_the_arrays_and_remembered(xp):
    a = xp.put(np.ones(2))
    assert namespace(a) is namespace(a, a)
    assert np.all(xp.get(namespace(a).asarray(a) + 1.0) == 2.0)
