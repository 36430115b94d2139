"""The classifiers of section 5: their sizes, and their derivatives for many tasks at once."""

from __future__ import annotations

import numpy as np
import pytest
from autograd import grad
from hypothesis import given
from hypothesis import strategies as st

from lft_ref import (
    CrossEntropy,
    Data,
    NetworkLoss,
    accuracy,
    cifar_cnn,
    cnn,
    miniimagenet_cnn,
    mnist_mlp,
    network_from_draws,
    omniglot_cnn,
)
from lft_ref.convolution import Conv2d
from lft_ref.layers import Dense
from lft_ref.networks import Network
from lft_ref.pooling import Flatten, Pool2d
from lft_validation.autodiff_restatement import loss
from tests.helpers import assert_close, examples
from tests.libraries import Library

SMALL = {
    "cnn, relu": cnn((1, 4, 4), 2, 2, 3),
    "cnn, tanh": cnn((2, 5, 4), 2, 2, 3, "tanh"),
    "cnn of more blocks than the image can be halved": cnn((1, 3, 3), 3, 2, 2, "tanh"),
    "mlp": mnist_mlp(3, (1, 3, 2), (4, 3), "tanh"),
    "mlp, relu": mnist_mlp(2, (2, 2, 2), (3, 3)),
}
SHAPES = dict(zip(SMALL, [(1, 4, 4), (2, 5, 4), (1, 3, 3), (1, 3, 2), (2, 2, 2)], strict=True))


def problem(name, rng, batch=(), N=3):
    network = SMALL[name]
    ways = network.layers[-1].n_out
    x = rng.uniform(-1.0, 1.0, (*batch, N, *SHAPES[name]))
    data = Data(x, rng.integers(ways, size=(*batch, N)))
    theta = 2.0 * network_from_draws(network, rng.uniform(-1.0, 1.0, (*batch, network.size)))
    return NetworkLoss(network, CrossEntropy("mean")), theta, data, rng.normal(size=theta.shape)


@pytest.mark.parametrize("name", SMALL)
def test_value_gradient_and_hessian_agree_with_autograd(name):
    @examples(12)
    @given(seed=st.integers(0, 2**32 - 1))
    def check(seed):
        f, theta, data, v = problem(name, np.random.default_rng(seed))

        def value(at):
            return loss(f, at, data)

        assert_close(f.value(theta, data), value(theta), 1e-12)
        slope = grad(value)
        assert_close(f.grad(theta, data), slope(theta), 1e-11)
        product = grad(lambda at: np.dot(slope(at), v))(theta)
        scale = max(np.linalg.norm(product), 1e-3 * np.linalg.norm(slope(theta)))
        assert np.linalg.norm(f.hvp(theta, data, v) - product) <= 1e-10 * scale

    check()


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("batch", [(4,), (2, 3)])
def test_tasks_with_weights_of_their_own_give_what_each_gives_alone(name, batch):
    f, theta, data, v = problem(name, np.random.default_rng(0), batch)
    together = f.value(theta, data), f.grad(theta, data), f.hvp(theta, data, v)
    for i in np.ndindex(*batch):
        one = Data(data.x[i], data.y[i])
        alone = f.value(theta[i], one), f.grad(theta[i], one), f.hvp(theta[i], one, v[i])
        for a, b in zip(together, alone, strict=True):
            assert_close(a[i], b, 1e-13)


@pytest.mark.parametrize("name", ["cnn, relu", "cnn, tanh", "mlp"])
def test_derivatives_on_every_array_library(xp: Library, name):
    f, theta, data, v = problem(name, np.random.default_rng(1), (2,))
    theta_, data_, v_ = xp.put(theta), Data(*xp.put(tuple(data))), xp.put(v)
    got = f.value(theta_, data_), f.grad(theta_, data_), f.hvp(theta_, data_, v_)
    want = f.value(theta, data), f.grad(theta, data), f.hvp(theta, data, v)
    for a, b in zip(got, want, strict=True):
        assert_close(xp.get(a), b, 1e-13)
    share = xp.get(accuracy(f.network, theta_, data_))
    np.testing.assert_array_equal(share, accuracy(f.network, theta, data))


def test_single_precision_stays_single():
    f, theta, data, v = problem("cnn, relu", np.random.default_rng(2), (2,))
    theta, v = theta.astype(np.float32), v.astype(np.float32)
    data = Data(data.x.astype(np.float32), data.y)
    found = f.value(theta, data), f.grad(theta, data), f.hvp(theta, data, v)
    assert {a.dtype for a in found} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("network", "shape", "convolutions", "size"),
    [
        (cifar_cnn(5), (3, 32, 32), 4, 29_285),
        (cifar_cnn(2, 64), (3, 32, 32), 4, 113_090),
        (omniglot_cnn(5), (1, 28, 28), 2, 17_413),
        (miniimagenet_cnn(5), (3, 84, 84), 4, 32_645),
        (mnist_mlp(5), (1, 28, 28), 0, 26_341),
    ],
)
def test_the_networks_have_the_papers_layers(network, shape, convolutions, size):
    kinds = [type(layer) for layer in network.layers]
    assert kinds.count(Conv2d) == kinds.count(Pool2d) == convolutions
    assert kinds.count(Dense) == (1 if convolutions else 3)
    assert network.size == size
    logits = network.activations(np.zeros(size), np.zeros((2, *shape)))[-1]
    assert logits.shape == (2, network.layers[-1].n_out)


def test_nothing_is_asked_of_layers_before_the_first_parameters():
    class Stubborn(Flatten):
        """What comes of the data before the first parameters is not asked for."""

        def jvp(self, *arguments):
            raise AssertionError

        x_bar = x_bar_dot = p_bar_dot = jvp

    f, theta, data, v = problem("mlp", np.random.default_rng(3))
    f = f._replace(network=Network((Stubborn(), *f.network.layers[1:])))
    assert f.network.first == 1
    assert f.grad(theta, data).any()
    assert f.hvp(theta, data, v).any()


def test_accuracy_is_the_share_of_largest_logits_that_are_right():
    network = Network((Dense(2, 2),))
    theta = np.asarray([[1.0, 0.0, 0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0, 0.0, 0.0]])
    x = np.asarray([[2.0, 1.0], [1.0, 2.0], [5.0, 0.0]])
    data = Data(np.stack([x, x]), np.asarray([[0, 1, 1], [0, 0, 0]]))
    np.testing.assert_allclose(accuracy(network, theta, data), [2 / 3, 1 / 3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mnist_mlp(1), "ways must be at least 2 classes, found 1"),
        (lambda: cifar_cnn(0), "ways must be at least 2 classes, found 0"),
        (lambda: cnn((1, 8, 8), 0, 4, 3), "at least 1, found 0 and 4"),
        (lambda: cnn((1, 8, 8), 2, 0, 3), "at least 1, found 2 and 0"),
        (lambda: cnn((1, 8, 8), 2, 4, 3, "gelu"), "activation must be 'relu' or 'tanh'"),
        (lambda: mnist_mlp(3, hidden=(0, 4)), "sizes must be at least two positive widths"),
    ],
)
def test_networks_that_cannot_be_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
