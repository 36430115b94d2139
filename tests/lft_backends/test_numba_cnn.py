"""The Numba twin of a tuned CNN gives the reference's results, to within rounding."""

from __future__ import annotations

import numpy as np
import pytest

from lft_ref import (
    Activation,
    Conv2d,
    CrossEntropy,
    Data,
    Dense,
    FineTuner,
    Flatten,
    Network,
    NetworkLoss,
    Pool2d,
    Task,
    adjoint,
    cnn,
    flatten,
    from_draws,
    mlp,
    network_from_draws,
)
from tests.helpers import assert_close

pytest.importorskip("numba", reason="the extra 'fast' is not installed")

from lft_backends import numba_network
from lft_backends.kernels import cnn_cpu, convolution_cpu, products_cpu, strips_cpu
from lft_backends.numba_cnn import FusedCNN, fuse
from lft_backends.numba_mlp import FusedMLP

RELU, POOL = Activation("relu"), Pool2d("max")
NETWORKS = {
    "one block": (cnn((1, 4, 4), 1, 2, 2), (1, 4, 4)),
    "odd sides": (cnn((2, 7, 9), 2, 3, 3), (2, 7, 9)),
    "no margin": (
        Network((Conv2d(1, 3, 5), POOL, RELU, Conv2d(3, 2, 2), POOL, RELU, Flatten(), Dense(2, 2))),
        (1, 10, 11),
    ),
    "many tiles": (cnn((3, 20, 20), 2, 16, 2), (3, 20, 20)),
    "one tap, wide margin, one filter and nine": (
        Network(
            (
                *(Conv2d(1, 9, 1, padding=1), POOL, RELU, Conv2d(9, 1, 3, padding=3), POOL, RELU),
                *(Flatten(), Dense(9, 2)),
            )
        ),
        (1, 5, 4),
    ),
    "long rows": (cnn((1, 6, 120), 1, 17, 2), (1, 6, 120)),
}
BATCHES = {  # axes of θ before d, and of the examples before N
    "one task": ((), ()),
    "tasks": ((3,), (3,)),
    "many θ for each task": ((2, 3), (3,)),
    "many θ, one task": ((4,), ()),
    "one θ, many tasks": ((), (3,)),
    "θ and tasks cross": ((2, 1), (3,)),
}
DTYPES = ["float64", "float32"]


def draw(name, batch, dtype="float64", N=5, seed=0):
    """A network, and θ, data and a direction that fit it."""
    network, shape = NETWORKS[name]
    rng, (own, tasks) = np.random.default_rng(seed), BATCHES[batch]
    theta = network_from_draws(network, rng.uniform(-1, 1, (*own, network.size))).astype(dtype)
    v = rng.normal(size=theta.shape).astype(dtype)
    x = rng.normal(size=(*tasks, N, *shape)).astype(dtype)
    y = rng.integers(0, network.layers[-1].n_out, (*tasks, N))
    return network, theta, Data(x, y), v


def everything(network, theta, data, v):
    """Value, gradient, Hessian-vector product, and the products with several directions."""
    f = NetworkLoss(network, CrossEntropy("mean"))
    results = f.value(theta, data), f.grad(theta, data), f.hvp(theta, data, v)
    if theta.ndim > 1 or data.x.ndim == 4:
        results += (f.hvp(theta, data, np.stack([v, -2 * v, v * v])),)
    return results


def interpreted(monkeypatch):
    """Let Python run the kernels, and what they call, so that any of it can be replaced."""
    for module in (cnn_cpu, convolution_cpu, products_cpu, strips_cpu):
        for name in dir(module):
            kernel = getattr(module, name)
            monkeypatch.setattr(module, name, getattr(kernel, "py_func", kernel))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", NETWORKS)
def test_losses_and_their_derivatives_equal_the_reference(name, batch, dtype):
    network, *inputs = draw(name, batch, dtype)
    twin = fuse(network)
    assert isinstance(twin, FusedCNN)
    assert (twin.size, twin.layers) == (network.size, network.layers)
    pairs = zip(everything(twin, *inputs), everything(network, *inputs), strict=True)
    for fused, reference in pairs:
        assert fused.dtype == dtype
        assert fused.shape == reference.shape
        assert_close(fused, reference, 64 * np.finfo(dtype).eps)


@pytest.mark.parametrize("batch", ["tasks", "many θ for each task"])
def test_the_kernels_do_the_work_where_each_task_has_its_own_weights(monkeypatch, batch):
    network, theta, data, v = draw("odd sides", batch)
    monkeypatch.setattr(Network, "activations", None)
    monkeypatch.setattr(Network, "vjp_dot", None)
    f = NetworkLoss(fuse(network), CrossEntropy("mean"))
    assert np.isfinite(f.hvp(theta, data, v)).all()


def test_equal_entries_and_zeros_are_decided_as_in_the_reference():
    network, theta, data, v = draw("odd sides", "tasks")
    rng = np.random.default_rng(1)
    theta, v = (rng.integers(-1, 2, a.shape).astype("float64") for a in (theta, v))
    data = Data(rng.integers(-1, 2, data.x.shape).astype("float64"), data.y)
    for fused, reference in zip(
        everything(fuse(network), theta, data, v), everything(network, theta, data, v), strict=True
    ):
        assert_close(fused, reference, 1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_reaches_the_loss_of_its_task_and_no_other(dtype):
    network, theta, data, _ = draw("odd sides", "tasks", dtype)
    data.x[1, 2, 0, 3, 3] = np.nan
    f = NetworkLoss(fuse(network), CrossEntropy("mean"))
    for result in (f.value(theta, data), f.grad(theta, data)):
        assert np.isnan(result).reshape(3, -1).any(axis=1).tolist() == [False, True, False]


@pytest.mark.parametrize(
    "network",
    [
        cnn((1, 8, 8), 2, 2, 2, "tanh"),
        cnn((1, 4, 4), 3, 2, 2),  # its last block has nothing to pool
        Network((Conv2d(1, 2, 3), Pool2d("average"), RELU, Flatten(), Dense(8, 2))),
        Network((Conv2d(1, 2, 3), Pool2d("max", 3), RELU, Flatten(), Dense(8, 2))),
        Network((Conv2d(1, 2, 3, stride=2), POOL, RELU, Flatten(), Dense(8, 2))),
        Network((Conv2d(1, 2, 3), POOL, RELU, Flatten(), Dense(8, 2), RELU, Dense(2, 2))),
        Network((Conv2d(1, 2, 3), RELU, POOL, Flatten(), Dense(8, 2))),
    ],
)
def test_other_networks_are_left_as_they_are(network):
    assert fuse(network) is network


def test_a_perceptron_gets_its_own_twin():
    assert isinstance(fuse(mlp((1, 4, 1))), FusedMLP)


def test_no_example_and_no_task_are_left_to_the_reference():
    network, theta, data, _ = draw("one block", "tasks")
    f = NetworkLoss(fuse(network), CrossEntropy("sum"))
    assert not f.grad(theta, Data(data.x[:, :0], data.y[:, :0])).any()
    assert f.value(theta[:0], Data(data.x[:0], data.y[:0])).shape == (0,)


def test_a_whole_meta_gradient_equals_the_reference():
    network, theta, data, _ = draw("odd sides", "tasks")
    params = from_draws(np.random.default_rng(2).uniform(-1, 1, 531), m=2, n=10)
    val = Data(data.x[::-1], data.y[::-1])
    found, wanted = (
        adjoint(
            params,
            FineTuner(),
            Task(NetworkLoss(one, CrossEntropy("mean")), data, val, theta, None),
            (1.0,) * 4,
        )
        for one in (fuse(network), network)
    )
    assert_close(found.val_loss, wanted.val_loss, 1e-11)
    assert_close(flatten(found.grad), flatten(wanted.grad), 1e-8)


def test_the_same_input_twice_gives_the_same_bits_and_read_only_input_is_fine():
    network, *inputs = draw("many tiles", "many θ for each task", "float32")
    theta, data, v = inputs
    for a in (theta, *data, v):
        a.flags.writeable = False
    twin = fuse(network)
    for once, again in zip(everything(twin, *inputs), everything(twin, *inputs), strict=True):
        np.testing.assert_array_equal(once, again)


def test_kernels_mean_the_same_compiled_and_interpreted(monkeypatch):
    network, *inputs = draw("one block", "many θ for each task")
    compiled = everything(fuse(network), *inputs)
    interpreted(monkeypatch)
    for plain, fused in zip(everything(fuse(network), *inputs), compiled, strict=True):
        assert_close(plain, fused, 1e-13)


def test_many_short_strips_stay_within_their_arrays(monkeypatch):
    network, *inputs = draw("no margin", "tasks", N=1)
    compiled = everything(fuse(network), *inputs)
    interpreted(monkeypatch)  # Python looks at bounds
    monkeypatch.setattr(strips_cpu, "STRIP", 8)
    for module in (cnn_cpu, convolution_cpu, products_cpu):
        monkeypatch.setattr(module, "WIDTH", 16)
    for plain, fused in zip(everything(fuse(network), *inputs), compiled, strict=True):
        assert_close(plain, fused, 1e-13)


@pytest.mark.parametrize("N", [1, 19])
def test_one_image_and_more_than_a_processor_takes_at_once(N):
    network, *inputs = draw("odd sides", "tasks", N=N)
    pairs = zip(everything(fuse(network), *inputs), everything(network, *inputs), strict=True)
    for fused, reference in pairs:
        assert_close(fused, reference, 64 * np.finfo("float64").eps)


@pytest.mark.parametrize("twin", [fuse, numba_network.fuse])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_infinity_is_no_nan_and_relu_cuts_it_off(sign, twin):
    network = Network((Conv2d(1, 1, 3), POOL, RELU, Flatten(), Dense(1, 2)))
    theta, x = np.full(network.size, sign), np.ones((1, 1, 4, 4))
    x[0, 0, -1, -1] = np.inf  # under the last tap, which is the first of a block of four
    found, wanted = (one.activations(theta, x)[-1] for one in (twin(network), network))
    assert np.isinf(wanted).all() == (sign > 0)
    np.testing.assert_array_equal(found, wanted)


MISTAKES = {  # what is left out, and which of value, gradient, Hessian-vector product it spoils
    "pool_back": [False, True, True],
    "pool_dot": [False, False, True],
    "correlate": [False, True, True],
    "convolve_back": [False, True, True],
    "sums": [False, True, True],
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_kernel_that_leaves_a_part_out_is_caught(monkeypatch, name):
    network, *inputs = draw("no margin", "tasks")
    wanted = everything(network, *inputs)[:3]
    interpreted(monkeypatch)
    monkeypatch.setattr(cnn_cpu, name, lambda *args: None)
    found = everything(fuse(network), *inputs)[:3]
    spoilt = [not np.allclose(a, b, rtol=1e-9) for a, b in zip(found, wanted, strict=True)]
    assert spoilt == MISTAKES[name]
