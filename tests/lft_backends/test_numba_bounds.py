"""Kernels look at no bounds, so twins let nothing through to them that does not fit."""

from __future__ import annotations

import numpy as np
import pytest

import lft_ref
from lft_ref import (
    REFERENCE,
    AttackLoss,
    Cell,
    CrossEntropy,
    Data,
    Identity,
    LogSign,
    LSTMState,
    NetworkLoss,
    cnn,
    digits_network,
    from_draws,
    mlp,
    size,
)
from lft_ref.params import Columns, all_columns

pytest.importorskip("numba", reason="the extra 'fast' is not installed")

from lft_backends import numba_attack, numba_backend, numba_cnn, numba_network

TUNED = {"mlp": (mlp((5, 4, 3)), (5,)), "cnn": (cnn((1, 8, 8), 2, 3, 3), (1, 8, 8))}


def outcome(call):
    """What a call returns, or what kind of error it raises."""
    try:
        return call()
    except (ValueError, IndexError) as error:
        return type(error)


def short(size, missing, dtype="float64"):
    """Too few parameters, with enormous numbers behind them in memory."""
    memory = np.full(size + 10, 1e6, dtype)
    memory[:size] = 0.01 * np.random.default_rng(0).normal(size=size)
    return memory[: size - missing]


@pytest.mark.parametrize("missing", [-1, 1, 2])
@pytest.mark.parametrize("name", TUNED)
def test_parameters_of_another_length_give_what_the_reference_gives(name, missing):
    network, shape = TUNED[name]
    data = Data(np.ones((4, *shape)), np.zeros(4, int))
    theta, twin = short(network.size, missing), numba_cnn.fuse(network)
    assert twin is not network
    for passes in ("value", "grad"):
        found, wanted = (
            outcome(lambda loss=loss, passes=passes: getattr(loss, passes)(theta, data))
            for loss in (NetworkLoss(one, CrossEntropy()) for one in (twin, network))
        )
        np.testing.assert_equal(found, wanted)


@pytest.mark.parametrize("name", TUNED)
def test_examples_of_another_size_or_type_give_what_the_reference_gives(name):
    network, shape = TUNED[name]
    theta, twin = short(network.size, 0), numba_cnn.fuse(network)
    x = np.random.default_rng(1).normal(size=(4, *shape))
    others = [x[..., :-1], np.concatenate([x, x], axis=-1), x[0], x.astype("float32")]
    others.append((3.0 * x).astype(int))
    for some in others:
        data = Data(some, np.zeros(4, int))
        found, wanted = (
            outcome(lambda one=one, data=data: NetworkLoss(one, CrossEntropy()).value(theta, data))
            for one in (twin, network)
        )
        np.testing.assert_equal(found, wanted)


@pytest.mark.parametrize("missing", [-1, 1, 5])
def test_a_victim_refuses_weights_of_another_length(missing):
    network, x = digits_network(), np.ones((4, 1, 8, 8))
    weights = short(network.size, missing)
    with pytest.raises(ValueError, match="weights must have shape"):
        numba_network.fuse(network).activations(weights, x)
    loss = numba_attack.fuse(AttackLoss(network, weights))
    for call in (loss.value, loss.grad):
        with pytest.raises(ValueError, match="weights must have shape"):
            call(np.zeros(64), Data(x, np.zeros(4, int)))


def test_a_victim_takes_weights_that_lie_apart_in_memory_and_refuses_another_precision():
    network, x = digits_network(), np.ones((4, 1, 8, 8))
    weights, twin = short(network.size, 0), numba_network.fuse(network)
    apart = np.stack([weights, weights], axis=1)[:, 0]
    np.testing.assert_array_equal(twin.activations(apart, x)[-1], twin.activations(weights, x)[-1])
    with pytest.raises(ValueError, match="float64 and float32"):
        twin.activations(weights, x.astype("float32"))


def _misfits():
    """Φ, cell, g, state, δ̄ and the state's cotangent that do not belong together."""
    rng = np.random.default_rng(0)
    p = from_draws(rng.normal(size=size(2, 3)), 2, 3)
    g, b = rng.normal(size=(2, 6))
    s, t = (LSTMState(*rng.normal(size=(2, 6, 3))) for _ in range(2))
    twice, fewer = np.stack([g, g]), LSTMState(*(a[:-1] for a in s))
    both = LSTMState(*(np.stack([a, a]) for a in s))
    return {
        "g with an axis more": (p, Cell(), twice, s, twice, t),
        "a state of fewer coordinates": (p, Cell(), g, fewer, b, t),
        "a cotangent without the batch": (p, Cell(), twice, both, twice, t),
        "a matrix with a row too few": (p._replace(W_x=p.W_x[:1]), Cell(), g, s, b, t),
        "fewer features": (p, Cell(Identity()), g, s, b, t),
        "a bias that is too short": (p._replace(b=p.b[:-1]), Cell(), g, s, b, t),
        "another precision": (p, Cell(), g.astype("float32"), s, b, t),
        "an enormous p": (p, Cell(LogSign(95.0)), 0.0 * g, s, b, t),
    }


def _outcome(module, name, arguments):
    """The arrays that a function returns, or what it raises."""
    try:
        return _flat(getattr(module, name)(*arguments))
    except (ValueError, IndexError) as error:
        return [type(error)]


def _flat(tree):
    return [a for part in tree for a in _flat(part)] if isinstance(tree, tuple) else [tree]


@pytest.mark.parametrize("misfit", _misfits())
def test_what_does_not_fit_together_is_left_to_the_reference(misfit):
    given = _misfits()[misfit]
    for name, arguments in (("step", given[:4]), ("vjp", given)):
        found = _outcome(numba_backend, name, arguments)
        for ours, wanted in zip(found, _outcome(lft_ref, name, arguments), strict=True):
            if isinstance(wanted, type):
                assert ours is wanted
            else:
                np.testing.assert_allclose(ours, wanted, rtol=1e-12)


def _given(batch, d, dtype):
    """Φ, cell, g, state, δ̄ and the state's cotangent, of any number of tasks and coordinates."""
    rng = np.random.default_rng(0)
    params = from_draws(rng.normal(size=size(2, 3)), 2, 3)
    g, b = rng.normal(size=(2, *batch, d))
    s, t = (LSTMState(*rng.normal(size=(2, *batch, d, 3))) for _ in range(2))
    return _cast((params, Cell(), g, s, b, t), dtype)


def _cast(tree, dtype):
    if isinstance(tree, tuple) and not isinstance(tree, Cell):
        parts = [_cast(part, dtype) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return tree if isinstance(tree, Cell) else np.asarray(tree).astype(dtype)


@pytest.mark.parametrize(
    ("batch", "d", "dtype"),
    [
        pytest.param((0,), 4, "f8", id="no tasks"),
        pytest.param((2, 0), 4, "f4", id="no tasks on two axes"),
        pytest.param((2,), 0, "f8", id="no coordinates"),
        pytest.param((), 0, "f4", id="no coordinates of one task"),
        pytest.param((2,), 5, ">f8", id="another byte order"),
        pytest.param((2,), 5, ">f4", id="another byte order, float32"),
    ],
)
def test_the_cells_twins_answer_what_the_reference_answers(batch, d, dtype):
    given, columns = _given(batch, d, dtype), all_columns(2, 3)
    P = columns.width(3)
    G, G_dot = np.ones((2, *batch, d, P), dtype)
    forwards = (*given[:4], G, G_dot, np.ones((*batch, d, 6, P), dtype), columns)
    for name, arguments in (("step", given[:4]), ("vjp", given), ("forward_update", forwards)):
        found, wanted = (
            _flat(getattr(ops, name)(*arguments)) for ops in (numba_backend.OPS, REFERENCE)
        )
        for ours, theirs in zip(found, wanted, strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_forward_updates_of_columns_that_there_are_not_are_refused_as_by_the_reference():
    given = _given((), 4, "f8")
    for columns in (Columns(0, 7, True), Columns(-1, 5, True), Columns(2, 8, False)):
        G, H = np.ones((4, columns.width(3))), np.ones((4, 6, columns.width(3)))
        for ops in (REFERENCE, numba_backend.OPS):
            with pytest.raises(ValueError, match="could not be broadcast"):
                ops.forward_update(*given[:4], G, G, H, columns)


def _passes(network, theta, x, cotangents):
    """All passes of a network that is tuned, for ȳ, θ̇ and the tangent of ȳ."""
    y_bar, theta_dot, y_bar_dot = cotangents
    xs = network.activations(theta, x, keep=True)
    xs_dot = network.jvp(theta, xs, theta_dot)
    product = network.vjp_dot(theta, xs, y_bar, theta_dot, xs_dot, y_bar_dot)
    return [xs[-1], network.vjp(theta, xs, y_bar), xs_dot[-1], product]


@pytest.mark.parametrize("other", range(3), ids=["y_bar", "theta_dot", "y_bar_dot"])
@pytest.mark.parametrize(("dtype", "others"), [("f8", "f4"), ("f4", "f8"), (">f8", ">f8")])
@pytest.mark.parametrize("name", TUNED)
def test_tangents_and_cotangents_of_another_type_give_what_the_reference_gives(
    name, dtype, others, other
):
    (network, shape), rng = TUNED[name], np.random.default_rng(0)
    theta, x = rng.normal(size=(2, network.size)), rng.normal(size=(2, 4, *shape))
    sizes = (2, 4, 3), (2, network.size), (2, 4, 3)
    given = [rng.normal(size=s).astype(dtype) for s in sizes]
    given[other] = given[other].astype(others)
    found, wanted = (
        _passes(one, theta.astype(dtype), x.astype(dtype), given)
        for one in (numba_cnn.fuse(network), network)
    )
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("tasks", "dtype"), [(0, "f8"), (2, ">f8"), (2, ">f4")])
def test_attacks_on_no_tasks_or_in_another_byte_order_give_what_the_reference_gives(tasks, dtype):
    network, rng = digits_network(), np.random.default_rng(0)
    loss = AttackLoss(network, (0.1 * rng.normal(size=network.size)).astype(dtype))
    data = Data(rng.random((tasks, 3, 1, 8, 8)).astype(dtype), np.ones((tasks, 3), ">i8"))
    theta, twin = (0.1 * rng.normal(size=(tasks, 64))).astype(dtype), numba_attack.fuse(loss)
    for name in ("value", "grad"):
        found, wanted = (getattr(one, name)(theta, data) for one in (twin, loss))
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("dtype", "other"), [("f8", "f4"), ("f4", "f8"), (">f8", ">f8")])
def test_a_victim_pulls_back_cotangents_of_another_type_as_the_reference_does(dtype, other):
    network, rng = digits_network(), np.random.default_rng(0)
    weights, x = rng.normal(size=network.size).astype(dtype), rng.random((3, 1, 8, 8)).astype(dtype)
    y_bar = rng.normal(size=(3, 10)).astype(other)
    found, wanted = (
        one.x_vjp(weights, one.activations(weights, x), y_bar)
        for one in (numba_network.fuse(network), network)
    )
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
