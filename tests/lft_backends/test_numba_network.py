"""The Numba twin of a victim gives the reference's results, to within rounding."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from lft_ref import (
    Activation,
    AttackLoss,
    Conv2d,
    Data,
    Dense,
    Flatten,
    Network,
    Pool2d,
    adjoint,
    digits_network,
    flatten,
    from_draws,
    lenet5,
    mlp,
)
from lft_ref.tasks import Task
from lft_ref.unroll import FineTuner
from tests.helpers import assert_close

pytest.importorskip("numba", reason="the extra 'fast' is not installed")

import numba

from lft_backends import numba_network
from lft_backends.kernels import convolution_cpu, products_cpu, victim_cpu
from lft_backends.numba_network import FusedNetwork, fuse

RELU, POOL = Activation("relu"), Pool2d("max")
# Odd sides that pooling leaves rows and columns of, margins before both convolutions.
UNEVEN = Network(
    (
        *(Conv2d(2, 3, 3, padding=2), POOL, RELU, Conv2d(3, 5, 2, padding=1), POOL, RELU),
        *(Flatten(), Dense(20, 7), RELU, Dense(7, 4)),
    )
)
WIDE = Network((Conv2d(1, 2, 3), POOL, RELU, Flatten(), Dense(8, 517), RELU, Dense(517, 3)))
CASES = {
    "lenet 28": (lenet5(), (1, 28, 28)),
    "lenet 32": (lenet5((3, 32, 32)), (3, 32, 32)),
    "digits": (digits_network(), (1, 8, 8)),
    "uneven": (UNEVEN, (2, 7, 5)),
    "wide": (WIDE, (1, 6, 6)),  # a dense layer of more outputs than products work on at once
}
DTYPES = ["float64", "float32"]


def draw(name, batch, dtype, seed=0):
    network, shape = CASES[name]
    rng = np.random.default_rng(seed)
    theta = (0.2 * rng.normal(size=network.size)).astype(dtype)
    return network, theta, rng.normal(size=(*batch, *shape)).astype(dtype)


def both(network, theta, x, y_bar=None):
    """Logits and x̄ of the reference and of the twin."""
    results = []
    for one in (network, fuse(network)):
        xs = one.activations(theta, x)
        bar = np.sin(np.arange(xs[-1].size)).reshape(xs[-1].shape) if y_bar is None else y_bar
        results.append((xs[-1], one.x_vjp(theta, xs, bar.astype(x.dtype))))
    return results


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [(4,), (19,), (2, 3, 4), (1,)])
@pytest.mark.parametrize("name", CASES)
def test_logits_and_cotangents_of_images_equal_the_reference(name, batch, dtype):
    (z, x_bar), (fused_z, fused_x_bar) = both(*draw(name, batch, dtype))
    assert fused_z.dtype == fused_x_bar.dtype == dtype
    eps = np.finfo(dtype).eps
    assert_close(fused_z, z, 64 * eps)
    assert_close(fused_x_bar, x_bar, 64 * eps)


@pytest.mark.parametrize("name", CASES)
def test_of_equal_entries_the_first_wins_the_window(name):
    network, theta, x = draw(name, (3,), "float64")
    rng = np.random.default_rng(1)
    theta = rng.integers(-1, 2, theta.shape).astype("float64")  # sums of integers are exact
    x = rng.integers(-1, 1, x.shape).astype("float64")
    (z, x_bar), (fused_z, fused_x_bar) = both(network, theta, x)
    np.testing.assert_array_equal(fused_z, z)
    assert_close(fused_x_bar, x_bar, 1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_reaches_the_logits_of_its_image_and_no_other(dtype):
    network, theta, x = draw("lenet 28", (5,), dtype)
    x[2, 0, 13, 13] = np.nan
    (z, _), (fused_z, _) = both(network, theta, x)
    assert np.isnan(fused_z[2]).all()
    np.testing.assert_array_equal(np.isnan(fused_z), np.isnan(z))


@pytest.mark.parametrize(
    "network",
    [
        lenet5(activation="tanh"),
        lenet5(pooling="average"),
        mlp((4, 3)),
        Network((Flatten(), Dense(4, 3))),
        Network((*UNEVEN.layers, RELU)),
        Network((Conv2d(1, 2, 3, stride=2), POOL, RELU, Flatten(), Dense(2, 3))),
        Network((Conv2d(1, 2, 3), RELU, POOL, Flatten(), Dense(2, 3))),
    ],
)
def test_other_networks_are_left_as_they_are(network):
    assert fuse(network) is network


def test_tangents_are_those_of_the_reference():
    network, theta, x = draw("uneven", (6,), "float64")
    twin, rng = fuse(network), np.random.default_rng(2)
    assert isinstance(twin, FusedNetwork)
    assert (twin.size, twin.curved) == (network.size, False)
    x_dot, y_bar, y_bar_dot = rng.normal(size=x.shape), *rng.normal(size=(2, 6, 4))
    found = []
    for one in (network, twin):
        xs = one.activations(theta, x)
        xs_dot = one.x_jvp(theta, xs, x_dot)
        found.append((xs_dot[-1], one.x_vjp_dot(theta, xs, y_bar, xs_dot, y_bar_dot)))
    for reference, fused in zip(*found, strict=True):
        assert_close(fused, reference, 1e-13)


def test_a_whole_meta_gradient_of_an_attack_equals_the_reference():
    network, shape = CASES["lenet 28"]
    rng = np.random.default_rng(3)
    weights = 0.2 * rng.normal(size=network.size)
    images = np.clip(0.5 * rng.normal(size=(2, 2, 4, *shape)), -0.5, 0.5)
    train, val = (Data(x, rng.integers(0, 10, (2, 4))) for x in images)
    params = from_draws(rng.uniform(-1, 1, 531), m=2, n=10)
    results = [
        adjoint(
            params,
            FineTuner(),
            Task(AttackLoss(one, weights, 3.0, 0.02), train, val, 0.05 * rng_theta),
            (0.0, 1.0, 1.0),
        )
        for rng_theta in [rng.normal(size=(2, 784))]
        for one in (network, fuse(network))
    ]
    assert_close(results[1].val_loss, results[0].val_loss, 1e-12)
    assert_close(flatten(results[1].grad), flatten(results[0].grad), 1e-9)


def test_the_same_input_twice_gives_the_same_bits_and_read_only_input_is_fine():
    network, theta, x = draw("lenet 28", (4,), "float32")
    for a in (theta, x):
        a.flags.writeable = False
    for once, again in zip(both(network, theta, x)[1], both(network, theta, x)[1], strict=True):
        np.testing.assert_array_equal(once, again)


def interpreted(module):
    """The kernels' source as plain Python: a second copy of the module, njit doing nothing."""
    spec = importlib.util.spec_from_file_location(f"{module.__name__}_plain", module.__file__)
    copy = importlib.util.module_from_spec(spec)
    compiled = numba.njit
    numba.njit = lambda **_: lambda function: function
    try:
        spec.loader.exec_module(copy)
    finally:
        numba.njit = compiled
    return copy


@pytest.mark.parametrize("dtype", DTYPES)
def test_kernels_mean_the_same_compiled_and_interpreted(monkeypatch, dtype):
    case = draw("uneven", (3,), dtype)
    case[2][1, 0, 3, 2] = np.nan
    _, compiled = both(*case)
    products, layers, whole = map(interpreted, (products_cpu, convolution_cpu, victim_cpu))
    for name in ("whole_weights", "add_products", "add_transposed"):
        monkeypatch.setattr(layers, name, getattr(products, name))
    for name in ("frame", "unframe", "convolve", "convolve_back", "pool", "pool_back", "copy"):
        monkeypatch.setattr(whole, name, getattr(layers, name))
    for name in ("whole_weights", "add_products", "add_correlations"):
        monkeypatch.setattr(whole, name, getattr(products, name))
    monkeypatch.setattr(numba_network, "victim_cpu", whole)
    with np.errstate(invalid="ignore"):
        _, plain = both(*case)
    bound = 1e2 * np.finfo(dtype).eps
    for a, b in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(a, b, rtol=bound, atol=bound)
