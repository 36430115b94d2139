"""The CUDA twin of a perceptron gives the reference's results: mlp.cu on the CPU, and on a GPU."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import numpy as np
import pytest

from lft_ref import (
    CrossEntropy,
    Data,
    FineTuner,
    Network,
    NetworkLoss,
    SquaredError,
    Task,
    ZerothOrder,
    adjoint,
    flatten,
    from_draws,
    mlp,
)
from tests.device_array import to_device, to_host
from tests.helpers import assert_close
from tests.lft_backends.cuda_on_cpu.fake_cupy import GXX, fake_cupy
from tests.lft_backends.cuda_on_cpu.parity import cast, load_backend
from tests.lft_backends.perceptrons import BATCHES, DTYPES, NETWORKS, draw, everything
from tests.libraries import usable


class Device(NamedTuple):
    """Where the twin runs."""

    module: Any  # lft_backends.cupy_mlp
    put: Any
    get: Any
    launched: list[str] | None  # names of kernels; None on a GPU


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(params=["forwards", "backwards", pytest.param("gpu", marks=pytest.mark.gpu)])
def there(request, folder):
    """mlp.cu behind the shim with threads in both orders, and the real thing."""
    if request.param == "gpu":
        usable("cupy")
        cupy = importlib.import_module("cupy")
        module = importlib.import_module("lft_backends.cupy_mlp")
        return Device(module, cupy.asarray, cupy.asnumpy, None)
    if GXX is None:
        pytest.skip("g++ is not installed: it compiles mlp.cu for the CPU")
    fake = fake_cupy(folder, backwards=request.param == "backwards")
    return Device(load_backend(fake, "cupy_mlp"), to_device, to_host, fake.log)


def on_device(there, network, *inputs):
    """Return what :func:`everything` gives there, on the host."""
    twin = there.module.fuse(network)
    return [there.get(a) for a in everything(twin, *(cast(a, there.put) for a in inputs))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", NETWORKS)
def test_losses_and_their_derivatives_equal_the_reference(there, name, batch, dtype):
    network, *inputs = draw(name, batch, dtype)
    assert type(there.module.fuse(network)).__name__ == "CudaMLP"
    pairs = zip(on_device(there, network, *inputs), everything(network, *inputs), strict=True)
    for fused, reference in pairs:
        assert fused.dtype == dtype
        assert fused.shape == reference.shape
        assert_close(fused, reference, 64 * np.finfo(dtype).eps)


def test_more_entries_than_a_block_has_threads(there):
    """Also fewer: every thread has several entries of each result, or none."""
    for N in (1, 29):
        network, *inputs = draw("sine", "tasks", "float64", N=N)
        pairs = zip(on_device(there, network, *inputs), everything(network, *inputs), strict=True)
        for fused, reference in pairs:
            assert_close(fused, reference, 1e-13)


def test_a_pass_is_one_launch(there):
    if there.launched is None:
        pytest.skip("launches are counted on the stand-in")
    network, theta, data, v = draw("sine", "tasks", "float64")
    theta, data, v = cast((theta, data, v), there.put)
    f = NetworkLoss(there.module.fuse(network), SquaredError())
    f.grad(theta, data)
    assert there.launched == ["lft_mlp_forwards", "lft_mlp_backwards"]
    there.launched.clear()
    f.hvp(theta, data, v)
    assert sorted(there.launched) == sorted(
        f"lft_mlp_{name}" for name in ("forwards", "forwards_dot", "backwards_dot")
    )


def test_units_at_the_kink_are_off_as_in_the_reference(there):
    network, *inputs = draw("narrow", "tasks", "float64")
    rng = np.random.default_rng(1)
    inputs = cast(tuple(inputs), lambda a: rng.integers(-1, 2, a.shape).astype("float64"))
    found, wanted = on_device(there, network, *inputs), everything(network, *inputs)
    for fused, reference in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(fused, reference)


def test_nan_reaches_the_loss_of_its_task_and_no_other(there):
    network, theta, data, v = draw("narrow", "tasks", "float32")
    data.x[1, 2, 0] = np.nan
    value, grad, *_ = on_device(there, network, theta, data, v)
    np.testing.assert_array_equal(np.isnan(value), [False, True, False])
    np.testing.assert_array_equal(np.isnan(grad).any(axis=1), [False, True, False])


def test_the_same_input_twice_gives_the_same_bits(there):
    network, *inputs = draw("sine", "many θ for each task", "float32")
    once, again = (on_device(there, network, *inputs) for _ in range(2))
    for a, b in zip(once, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_work_too_long_for_a_block_goes_to_the_reference(there):
    if there.launched is None:
        pytest.skip("launches are counted on the stand-in")
    network = mlp((3, 200, 200, 2))
    examples = there.module.MOST_PRODUCTS // network.size
    theta = there.put(np.ones((1, network.size)))
    for N, kernels in ((examples, 1), (examples + 1, 0)):
        there.launched.clear()
        there.module.fuse(network).activations(theta, there.put(np.ones((1, N, 3))))
        assert len(there.launched) == kernels


@pytest.mark.parametrize("network", [mlp((1, 4, 1), "tanh"), Network(mlp((2, 2, 1)).layers[:2])])
def test_other_networks_are_left_as_they_are(there, network):
    assert there.module.fuse(network) is network


def test_no_example_and_no_task_are_left_to_the_reference(there):
    network, theta, data, _ = cast(draw("narrow", "tasks", "float64"), there.put)
    f = NetworkLoss(there.module.fuse(network), SquaredError())
    assert not there.get(f.grad(theta, Data(data.x[:, :0], data.y[:, :0]))).any()
    assert f.value(theta[:0], Data(data.x[:0], data.y[:0])).shape == (0,)


def test_a_whole_zeroth_order_meta_gradient_equals_the_reference(there):
    network, theta, data, _ = draw("narrow", "tasks", "float64")
    rng, K = np.random.default_rng(2), 3
    u = rng.normal(size=(K, 5, *theta.shape))
    params = from_draws(rng.uniform(-1, 1, 531), m=2, n=10)
    tuner = FineTuner(estimator=ZerothOrder(1e-3))

    def result(one, put):
        task = Task(NetworkLoss(one, SquaredError()), *cast((data, data, theta, u), put))
        return adjoint(cast(params, put), tuner, task, (1.0,) * K)

    found, wanted = result(there.module.fuse(network), there.put), result(network, np.asarray)
    assert_close(there.get(found.val_loss), wanted.val_loss, 1e-11)
    assert_close(there.get(flatten(found.grad)), flatten(wanted.grad), 1e-8)


def test_a_classifier_of_images_equals_the_reference(there):
    network, theta, data, v = draw("images", "tasks", "float64")
    data = Data(data.x, np.tile(np.arange(6) % 3, (3, 1)))
    inputs = cast((theta, data, v), there.put)
    found = NetworkLoss(there.module.fuse(network), CrossEntropy("mean")).hvp(*inputs)
    wanted = NetworkLoss(network, CrossEntropy("mean")).hvp(theta, data, v)
    assert_close(there.get(found), wanted, 1e-13)
