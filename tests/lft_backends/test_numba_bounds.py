"""Kernels look at no bounds, so twins let nothing through to them that does not fit."""

from __future__ import annotations

import numpy as np
import pytest

import lft_ref
from lft_ref import (
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
