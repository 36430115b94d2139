"""Kernels look at no bounds, so twins let nothing through to them that does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from lft_ref import AttackLoss, CrossEntropy, Data, NetworkLoss, cnn, digits_network, mlp

pytest.importorskip("numba", reason="the extra 'fast' is not installed")

from lft_backends import numba_attack, numba_cnn, numba_network

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
