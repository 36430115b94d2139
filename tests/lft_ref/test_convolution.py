"""Convolution and pooling say what their formulas say; their derivatives are in test_layers.py."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft_ref import network_from_draws
from lft_ref.convolution import Conv2d
from lft_ref.lenet import digits_network, lenet5
from lft_ref.pooling import Flatten, Pool2d
from tests.helpers import assert_close, examples

NONE = np.zeros(0)


def by_definition(layer, p, x):
    """The sum in the docstring of Conv2d, one output pixel at a time."""
    C, F, k, s, m = layer
    W, b = p[: F * C * k * k].reshape(F, C, k, k), p[F * C * k * k :]
    framed = np.pad(x, ((0, 0), (0, 0), (m, m), (m, m)))
    H, W_out = ((n + 2 * m - k) // s + 1 for n in x.shape[-2:])
    y = np.zeros((len(x), F, H, W_out))
    for n, o, i, j in np.ndindex(*y.shape):
        y[n, o, i, j] = b[o] + np.sum(W[o] * framed[n, :, s * i : s * i + k, s * j : s * j + k])
    return y


@examples(60)
@given(
    seed=st.integers(0, 2**32 - 1),
    channels=st.integers(1, 3),
    filters=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    height=st.integers(3, 6),
    width=st.integers(3, 6),
)
def test_convolution_is_its_definition(
    seed, channels, filters, kernel, stride, padding, height, width
):
    layer = Conv2d(channels, filters, kernel, stride, padding)
    rng = np.random.default_rng(seed)
    p, x = rng.normal(size=layer.size), rng.normal(size=(2, channels, height, width))
    assert_close(layer.forward(p, x), by_definition(layer, p, x), 1e-13)


def test_same_padding_keeps_the_sides_and_valid_takes_k_minus_1():
    x = np.zeros((1, 1, 7, 9))
    assert Conv2d(1, 2, 3, padding=1).forward(np.zeros(20), x).shape == (1, 2, 7, 9)
    assert Conv2d(1, 2, 3).forward(np.zeros(20), x).shape == (1, 2, 5, 7)


def test_tasks_with_filters_of_their_own_are_apart():
    layer, rng = Conv2d(2, 3, 3, padding=1), np.random.default_rng(0)
    p, x = rng.normal(size=(4, layer.size)), rng.normal(size=(4, 2, 2, 5, 4))
    together = layer.forward(p, x)
    for one, p_i, x_i in zip(together, p, x, strict=True):
        assert_close(one, layer.forward(p_i, x_i), 1e-14)


@pytest.mark.parametrize("layer", [Conv2d(2, 3, 3), Pool2d("max"), Pool2d("average"), Flatten()])
def test_an_empty_batch_gives_an_empty_result(layer):
    x, p = np.zeros((0, 4, 2, 6, 6)), np.zeros(layer.size)
    y = layer.forward(p, x)
    assert y.shape[:2] == (0, 4)
    assert layer.x_bar(p, x, y).shape == x.shape


def test_pooling_by_hand():
    x = np.arange(20.0).reshape(1, 1, 4, 5)  # the fifth column fills no window
    largest, mean = (Pool2d(kind).forward(NONE, x) for kind in ("max", "average"))
    np.testing.assert_array_equal(largest[0, 0], [[6.0, 8.0], [16.0, 18.0]])
    np.testing.assert_array_equal(mean[0, 0], [[3.0, 5.0], [13.0, 15.0]])


def test_the_first_of_equal_entries_stands_for_a_window():
    x, y_bar = np.zeros((1, 1, 2, 4)), np.array([[[[3.0, 5.0]]]])
    x[0, 0, 1, 2:] = 1.0  # the right window's largest entries are its lower two
    pool = Pool2d("max")
    np.testing.assert_array_equal(
        pool.x_bar(NONE, x, y_bar)[0, 0], [[3.0, 0.0, 0.0, 0.0], [0.0, 0.0, 5.0, 0.0]]
    )
    x_dot = np.arange(8.0).reshape(x.shape)
    np.testing.assert_array_equal(pool.jvp(NONE, x, None, x_dot)[0, 0], [[0.0, 6.0]])


def test_pooling_and_a_growing_activation_commute_for_the_maximum():
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 6))
    pool = Pool2d("max")
    for phi in (np.tanh, lambda a: np.maximum(a, 0.0)):
        np.testing.assert_array_equal(phi(pool.forward(NONE, x)), pool.forward(NONE, phi(x)))


def test_flatten_is_row_major():
    x = np.arange(24.0).reshape(2, 2, 3, 2)
    np.testing.assert_array_equal(Flatten().forward(NONE, x), np.arange(24.0).reshape(2, 12))


@pytest.mark.parametrize(
    ("network", "shape", "sides", "size"),
    [
        (lenet5(), (1, 28, 28), [28, 14, 10, 5], 61_706),
        (lenet5((3, 32, 32), "tanh", "average", 7), (3, 32, 32), [28, 14, 10, 5], 61_751),
        (digits_network(), (1, 8, 8), [8, 4, 4, 2], 1_898),
    ],
)
def test_networks_have_the_published_sides_and_sizes(network, shape, sides, size):
    assert network.size == size
    xs = network.activations(np.zeros(size), np.zeros((2, *shape)))
    images = [x.shape[-1] for x in xs[1:] if x.ndim == 4]
    assert list(dict.fromkeys(images)) == list(dict.fromkeys(sides))
    assert xs[-1].shape == (2, network.layers[-1].n_out)


def test_draws_become_filters_within_one_over_root_fan_in():
    network = digits_network()
    parts = network.split(network_from_draws(network, np.ones(network.size)))
    for layer, fan_in in ((0, 9), (3, 72), (7, 64)):
        np.testing.assert_allclose(parts[layer], fan_in**-0.5, rtol=1e-15)
    assert sum(part.size for part in parts) == network.size
