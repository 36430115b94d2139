"""The Numba twin of a tuned perceptron gives the reference's results, to within rounding."""

from __future__ import annotations

import numpy as np
import pytest

from lft_ref import (
    Conv2d,
    CrossEntropy,
    Data,
    Dense,
    FineTuner,
    FirstOrder,
    Flatten,
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
from tests.helpers import assert_close

pytest.importorskip("numba", reason="the extra 'fast' is not installed")

from lft_backends import numba_mlp
from lft_backends.kernels import mlp_cpu
from lft_backends.numba_mlp import FusedMLP, fuse
from tests.lft_backends.perceptrons import BATCHES, DTYPES, NETWORKS, RELU, draw, everything


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", NETWORKS)
def test_losses_and_their_derivatives_equal_the_reference(name, batch, dtype):
    network, *inputs = draw(name, batch, dtype)
    twin = fuse(network)
    assert isinstance(twin, FusedMLP)
    assert (twin.size, twin.layers) == (network.size, network.layers)
    pairs = zip(everything(twin, *inputs), everything(network, *inputs), strict=True)
    for fused, reference in pairs:
        assert fused.dtype == dtype
        assert fused.shape == reference.shape
        assert_close(fused, reference, 64 * np.finfo(dtype).eps)


@pytest.mark.parametrize("batch", ["tasks", "many θ for each task"])
def test_the_kernels_do_the_work_where_each_task_has_its_own_weights(monkeypatch, batch):
    network, theta, data, v = draw("sine", batch, "float64")
    monkeypatch.setattr(Network, "activations", None)
    monkeypatch.setattr(Network, "vjp_dot", None)
    f = NetworkLoss(fuse(network), SquaredError())
    assert np.isfinite(f.hvp(theta, data, v)).all()


def test_units_at_the_kink_are_off_as_in_the_reference():
    network, theta, data, v = draw("narrow", "tasks", "float64")
    rng = np.random.default_rng(1)
    theta, v = (rng.integers(-1, 2, a.shape).astype("float64") for a in (theta, v))
    data = Data(*(rng.integers(-1, 2, a.shape).astype("float64") for a in data))
    zeros = [np.count_nonzero(a == 0.0) for a in network.activations(theta, data.x)[1:-1:2]]
    assert min(zeros) > 0, "no unit lies at the kink"
    found, wanted = (everything(one, theta, data, v) for one in (fuse(network), network))
    for fused, reference in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(fused, reference)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_reaches_the_loss_of_its_task_and_no_other(dtype):
    network, theta, data, v = draw("narrow", "tasks", dtype)
    data.x[1, 2, 0] = np.nan
    for fused, reference in zip(
        everything(fuse(network), theta, data, v)[:2],
        everything(network, theta, data, v)[:2],
        strict=True,
    ):
        np.testing.assert_array_equal(
            np.isnan(fused).reshape(3, -1).any(axis=1), [False, True, False]
        )
        np.testing.assert_array_equal(np.isnan(reference).reshape(3, -1).any(axis=1), [0, 1, 0])


@pytest.mark.parametrize(
    "network",
    [
        mlp((1, 4, 1), "tanh"),
        Network((Dense(2, 2), Dense(2, 1))),
        Network((Dense(2, 2), RELU)),
        Network((Flatten(), Flatten(), Dense(2, 2))),
        Network((Conv2d(1, 2, 3), RELU, Flatten(), Dense(8, 2))),
    ],
)
def test_other_networks_are_left_as_they_are(network):
    assert fuse(network) is network


def test_no_example_and_no_task_are_left_to_the_reference():
    network, theta, data, _ = draw("narrow", "tasks", "float64")
    f = NetworkLoss(fuse(network), SquaredError())
    assert not f.grad(theta, Data(data.x[:, :0], data.y[:, :0])).any()
    assert f.value(theta[:0], Data(data.x[:0], data.y[:0])).shape == (0,)


@pytest.mark.parametrize("estimator", [FirstOrder(), ZerothOrder(1e-3)])
def test_a_whole_meta_gradient_equals_the_reference(estimator):
    network, theta, data, _ = draw("narrow", "tasks", "float64")
    rng, K = np.random.default_rng(2), 4
    u = rng.normal(size=(K, 5, *theta.shape))
    params = from_draws(rng.uniform(-1, 1, 531), m=2, n=10)
    val = Data(data.x[::-1], data.y[::-1])
    found, wanted = (
        adjoint(
            params,
            FineTuner(estimator=estimator),
            Task(NetworkLoss(one, SquaredError()), data, val, theta, u),
            (1.0,) * K,
        )
        for one in (fuse(network), network)
    )
    assert_close(found.val_loss, wanted.val_loss, 1e-11)
    assert_close(flatten(found.grad), flatten(wanted.grad), 1e-8)


def test_a_classifier_of_images_equals_the_reference():
    network, theta, data, v = draw("images", "tasks", "float64")
    data = Data(data.x, np.tile(np.arange(6) % 3, (3, 1)))
    found, wanted = (
        NetworkLoss(one, CrossEntropy("mean")).hvp(theta, data, v)
        for one in (fuse(network), network)
    )
    assert_close(found, wanted, 1e-13)


def test_the_same_input_twice_gives_the_same_bits_and_read_only_input_is_fine():
    network, *inputs = draw("sine", "many θ for each task", "float32")
    theta, data, v = inputs
    for a in (theta, *data, v):
        a.flags.writeable = False
    twin = fuse(network)
    for once, again in zip(everything(twin, *inputs), everything(twin, *inputs), strict=True):
        np.testing.assert_array_equal(once, again)


KERNELS = ("forwards", "backwards", "forwards_dot", "backwards_dot")


def test_kernels_mean_the_same_compiled_and_interpreted(monkeypatch):
    network, *inputs = draw("narrow", "many θ for each task", "float64")
    compiled = everything(fuse(network), *inputs)
    for name in dir(mlp_cpu):
        kernel = getattr(mlp_cpu, name)
        monkeypatch.setattr(mlp_cpu, name, getattr(kernel, "py_func", kernel))
    for plain, fused in zip(everything(fuse(network), *inputs), compiled, strict=True):
        assert_close(plain, fused, 1e-13)


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_that_leaves_out_the_mask_is_caught(monkeypatch, name):
    """Planted: a hidden unit that is off sends something on after all."""
    network, *inputs = draw("narrow", "tasks", "float64")
    wanted = everything(network, *inputs)
    for kernel in dir(mlp_cpu):
        function = getattr(mlp_cpu, kernel)
        monkeypatch.setattr(mlp_cpu, kernel, getattr(function, "py_func", function))
    right = getattr(mlp_cpu, name)

    def wrong(*args):
        patch.setattr(mlp_cpu, "mask", lambda rows, h: None)
        right(*args)
        patch.undo()

    with pytest.MonkeyPatch.context() as patch:
        monkeypatch.setattr(mlp_cpu, name, wrong)
        found = everything(numba_mlp.fuse(network), *inputs)
    same = [np.allclose(a, b, rtol=1e-9) for a, b in zip(found, wanted, strict=True)]
    assert all(same) == (name == "forwards"), "ReLU itself is no mask; all others need it"
