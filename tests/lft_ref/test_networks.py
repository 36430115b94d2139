from __future__ import annotations

import numpy as np
import pytest

from lft_ref import mlp, network_from_draws
from tests.helpers import assert_close, assert_is_derivative

NETWORKS = {
    "tanh": mlp((2, 3, 2), "tanh"),
    "relu": mlp((2, 3, 3, 1), "relu"),
    "linear": mlp((2, 2)),
}


def point(network, seed=0):
    rng = np.random.default_rng(seed)
    theta, theta_dot = rng.normal(size=(2, network.size))
    x = rng.normal(size=(4, 2))
    xs = network.activations(theta, x)
    for e in (-1e-2, 1e-2):  # no difference below crosses a kink of ReLU
        for a, b in zip(network.activations(theta + e * theta_dot, x), xs, strict=True):
            np.testing.assert_array_equal(a > 0, b > 0)
    y_bar, y_bar_dot = rng.normal(size=(2, *xs[-1].shape))
    return theta, theta_dot, x, xs, y_bar, y_bar_dot


def test_an_mlp_has_its_activation_on_all_but_the_last_layer():
    W_1, b_1 = np.array([[1.0, -1.0]]), np.array([0.0, 2.0])
    W_2, b_2 = np.array([[1.0], [10.0]]), np.array([100.0])
    theta = np.concatenate([W_1.ravel(), b_1, W_2.ravel(), b_2])
    x = np.array([[3.0], [-3.0]])
    for activation, phi in (("relu", lambda z: np.maximum(z, 0)), ("tanh", np.tanh)):
        network = mlp((1, 2, 1), activation)
        assert network.size == 7
        want = phi(x @ W_1 + b_1) @ W_2 + b_2
        np.testing.assert_allclose(network.activations(theta, x)[-1], want, rtol=1e-15)


def test_split_gives_each_layer_its_consecutive_parameters():
    network = NETWORKS["tanh"]
    parts = network.split(np.arange(17.0))
    assert [part.shape for part in parts] == [(9,), (0,), (8,)]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(17.0))


@pytest.mark.parametrize("name", NETWORKS)
def test_jvp_is_the_derivative_of_every_activation(name):
    network = NETWORKS[name]
    theta, theta_dot, x, xs, _, _ = point(network)
    xs_dot = network.jvp(theta, xs, theta_dot)
    assert xs_dot[0] is None  # the data do not move
    for layer in range(1, len(xs)):
        assert_is_derivative(
            lambda e, i=layer: network.activations(theta + e * theta_dot, x)[i], xs_dot[layer]
        )


@pytest.mark.parametrize("name", NETWORKS)
def test_vjp_is_the_transpose_of_jvp(name):
    network = NETWORKS[name]
    theta, theta_dot, _, xs, y_bar, _ = point(network)
    left = np.sum(y_bar * network.jvp(theta, xs, theta_dot)[-1])
    assert_close(left, np.sum(network.vjp(theta, xs, y_bar) * theta_dot), 1e-13)


@pytest.mark.parametrize("name", NETWORKS)
def test_vjp_dot_is_the_derivative_of_vjp(name):
    network = NETWORKS[name]
    theta, theta_dot, x, xs, y_bar, y_bar_dot = point(network)

    def vjp_at(e):
        moved = theta + e * theta_dot
        return network.vjp(moved, network.activations(moved, x), y_bar + e * y_bar_dot)

    xs_dot = network.jvp(theta, xs, theta_dot)
    got = network.vjp_dot(theta, xs, y_bar, theta_dot, xs_dot, y_bar_dot)
    assert_is_derivative(vjp_at, got)


@pytest.mark.parametrize("name", NETWORKS)
def test_x_jvp_and_x_vjp_are_the_derivatives_with_respect_to_the_input(name):
    network = NETWORKS[name]
    theta, _, x, xs, y_bar, _ = point(network)
    x_dot = 0.1 * np.random.default_rng(2).normal(size=x.shape)
    xs_dot = network.x_jvp(theta, xs, x_dot)
    for layer in range(len(xs)):
        assert_is_derivative(
            lambda e, i=layer: network.activations(theta, x + e * x_dot)[i], xs_dot[layer]
        )
    x_bar = network.x_vjp(theta, xs, y_bar)
    assert x_bar.shape == x.shape
    assert_close(np.sum(x_bar * x_dot), np.sum(y_bar * xs_dot[-1]), 1e-13)


@pytest.mark.parametrize("name", NETWORKS)
def test_x_vjp_dot_is_the_derivative_of_x_vjp(name):
    network = NETWORKS[name]
    theta, _, x, xs, y_bar, y_bar_dot = point(network)
    x_dot = 0.1 * np.random.default_rng(2).normal(size=x.shape)

    def x_vjp_at(e):
        there = network.activations(theta, x + e * x_dot)
        return network.x_vjp(theta, there, y_bar + e * y_bar_dot)

    xs_dot = network.x_jvp(theta, xs, x_dot)
    assert_is_derivative(x_vjp_at, network.x_vjp_dot(theta, xs, y_bar, xs_dot, y_bar_dot))


def test_a_network_is_curved_in_its_input_if_one_of_its_layers_is():
    assert {name: network.curved for name, network in NETWORKS.items()} == {
        "tanh": True,
        "relu": False,
        "linear": False,
    }
    network = NETWORKS["relu"]
    theta, _, x, xs, y_bar, _ = point(network)
    xs_dot = network.x_jvp(theta, xs, np.ones_like(x))
    assert not network.x_vjp_dot(theta, xs, y_bar, xs_dot, np.zeros_like(y_bar)).any()


def test_many_parameter_vectors_broadcast_against_the_same_data():
    network = NETWORKS["tanh"]
    rng = np.random.default_rng(1)
    thetas, x = rng.normal(size=(2, 3, network.size)), rng.normal(size=(4, 2))
    together = network.activations(thetas, x)[-1]
    y_bar = rng.normal(size=together.shape)
    grads = network.vjp(thetas, network.activations(thetas, x), y_bar)
    for i in np.ndindex(2, 3):
        xs = network.activations(thetas[i], x)
        assert_close(together[i], xs[-1], 1e-14)
        assert_close(grads[i], network.vjp(thetas[i], xs, y_bar[i]), 1e-13)


def test_draws_become_weights_and_biases_within_one_over_root_fan_in():
    network = mlp((4, 9, 2))
    theta = network_from_draws(network, np.ones((3, network.size)))
    assert theta.shape == (3, network.size)
    np.testing.assert_allclose(theta[:, :45], 0.5, rtol=1e-15)  # 1/√4: W (4, 9) and b (9)
    np.testing.assert_allclose(theta[:, 45:], 1.0 / 3.0, rtol=1e-15)
