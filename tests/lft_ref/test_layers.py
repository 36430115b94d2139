from __future__ import annotations

import numpy as np
import pytest

from lft_ref.convolution import Conv2d
from lft_ref.layers import Activation, Dense
from lft_ref.pooling import Flatten, Pool2d
from tests.helpers import assert_close, assert_is_derivative

LAYERS = {
    "dense": Dense(3, 2),
    "relu": Activation("relu"),
    "tanh": Activation("tanh"),
    "conv": Conv2d(2, 3, 3),
    "conv, same": Conv2d(2, 3, 3, padding=1),
    "conv, strided": Conv2d(2, 3, 2, stride=2, padding=1),
    "max": Pool2d("max"),
    "max of 3 x 3": Pool2d("max", 3),
    "average": Pool2d("average"),
    "flatten": Flatten(),
}
BATCHES = [(), (2,), (2, 1)]


def example(layer):
    """Shape of one example; the image's sides are unequal, and fill no whole number of windows."""
    return (3,) if isinstance(layer, Dense | Activation) else (2, 5, 4)


def point(layer, batch=(), seed=0):
    """p, x, a cotangent of y, and tangents of all three, in general position."""
    rng = np.random.default_rng(seed)
    shape = (*batch, 4, *example(layer))
    outputs = layer.forward(np.zeros(layer.size), np.zeros((1, *example(layer)))).shape[1:]
    p, p_dot = rng.normal(size=(2, *batch, layer.size))
    x, x_dot = rng.uniform(-1.0, 1.0, (2, *shape))
    x = x + 0.1 * np.sign(x)  # farther from the kink of ReLU than any difference reaches
    if isinstance(layer, Pool2d):  # and no two entries so close that a difference swaps them
        x = 0.05 * rng.permutation(x.size).reshape(shape) - 4.0
    y_bar, y_bar_dot = rng.normal(size=(2, *batch, 4, *outputs))
    return p, x, y_bar, p_dot, x_dot, y_bar_dot


def test_dense_is_x_W_plus_b_with_W_row_major_before_b():
    p = np.array([1.0, 2, 3, 4, 5, 6, 10, 20])  # W = [[1, 2], [3, 4], [5, 6]], b = [10, 20]
    layer = LAYERS["dense"]
    assert layer.size == 8
    np.testing.assert_array_equal(layer.forward(p, np.array([[1.0, 10, 100]])), [[541.0, 662]])
    np.testing.assert_array_equal(layer.pack(layer.weight(p), layer.bias(p)[0]), p)


def test_activations_are_entrywise_and_have_no_parameters():
    x, none = np.array([[-2.0, 0.0, 3.0]]), np.zeros(0)
    np.testing.assert_array_equal(LAYERS["relu"].forward(none, x), [[0.0, 0.0, 3.0]])
    np.testing.assert_array_equal(LAYERS["tanh"].forward(none, x), np.tanh(x))
    assert LAYERS["relu"].size == LAYERS["tanh"].size == 0


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Activation("sigmoid"), "kind must be 'relu' or 'tanh', found 'sigmoid'"),
        (Pool2d("mean"), "kind must be 'max' or 'average', found 'mean'"),
    ],
)
def test_a_layer_of_another_kind_computes_nothing(layer, message):
    p, image = np.zeros(0), np.ones((1, 1, 2, 2))
    y_bar = layer._replace(kind={"sigmoid": "tanh", "mean": "max"}[layer.kind]).forward(p, image)
    passes = {
        "keep": lambda: layer.forward(p, layer.keep(p, image)),
        "forward": lambda: layer.forward(p, image),
        "jvp": lambda: layer.jvp(p, image, None, image),
        "x_bar": lambda: layer.x_bar(p, image, y_bar),
        "x_bar_dot": lambda: layer.x_bar_dot(p, image, y_bar, None, image, y_bar),
    }
    for run in passes.values():
        with pytest.raises(ValueError, match=message):
            run()


def test_relu_has_slope_zero_at_its_kink_and_no_curvature():
    x = np.array([[-1.0, 0.0, 1.0]])
    np.testing.assert_array_equal(LAYERS["relu"].slope(x), [[0.0, 0.0, 1.0]])
    np.testing.assert_array_equal(LAYERS["relu"].curvature(x), np.zeros((1, 3)))


def test_tanh_slope_and_curvature_are_its_first_two_derivatives():
    x, ones = np.array([[-1.3, 0.1, 0.8]]), np.ones((1, 3))
    tanh = LAYERS["tanh"]
    assert_is_derivative(lambda e: tanh.forward(np.zeros(0), x + e * ones), tanh.slope(x))
    assert_is_derivative(lambda e: tanh.slope(x + e * ones), tanh.curvature(x))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch", BATCHES)
def test_jvp_is_the_derivative_of_forward(name, batch):
    layer = LAYERS[name]
    p, x, _, p_dot, x_dot, _ = point(layer, batch)
    assert_is_derivative(
        lambda e: layer.forward(p + e * p_dot, x + e * x_dot), layer.jvp(p, x, p_dot, x_dot)
    )


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch", BATCHES)
def test_cotangents_are_the_transpose_of_the_jvp(name, batch):
    layer = LAYERS[name]
    p, x, y_bar, p_dot, x_dot, _ = point(layer, batch)
    left = np.sum(y_bar * layer.jvp(p, x, p_dot, x_dot))
    right = np.sum(layer.x_bar(p, x, y_bar) * x_dot)
    if layer.size:
        right += np.sum(layer.p_bar(x, y_bar) * p_dot)
    assert_close(left, right, 1e-13)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch", BATCHES)
def test_tangents_of_the_cotangents_are_their_derivatives(name, batch):
    layer = LAYERS[name]
    p, x, y_bar, p_dot, x_dot, y_bar_dot = point(layer, batch)
    assert_is_derivative(
        lambda e: layer.x_bar(p + e * p_dot, x + e * x_dot, y_bar + e * y_bar_dot),
        layer.x_bar_dot(p, x, y_bar, p_dot, x_dot, y_bar_dot),
    )
    got = layer.p_bar_dot(x, y_bar, x_dot, y_bar_dot)
    if not layer.size:
        assert got is layer.p_bar(x, y_bar) is None
        return
    assert got.shape == (*batch, layer.size)
    assert_is_derivative(lambda e: layer.p_bar(x + e * x_dot, y_bar + e * y_bar_dot), got)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch", BATCHES)
def test_no_p_dot_means_that_the_parameters_stand_still(name, batch):
    layer = LAYERS[name]
    p, x, y_bar, _, x_dot, y_bar_dot = point(layer, batch)
    still = np.zeros_like(p)
    got, want = layer.jvp(p, x, None, x_dot), layer.jvp(p, x, still, x_dot)
    assert_close(got, want, 1e-15)
    got = layer.x_bar_dot(p, x, y_bar, None, x_dot, y_bar_dot)
    assert_close(got, layer.x_bar_dot(p, x, y_bar, still, x_dot, y_bar_dot), 1e-15)


@pytest.mark.parametrize("name", LAYERS)
def test_parameters_that_tasks_share_give_what_single_tasks_give(name):
    layer = LAYERS[name]
    p = point(layer)[0]
    _, x, y_bar, *_ = point(layer, (2, 3), seed=1)
    together = layer.forward(p, x), layer.x_bar(p, x, y_bar)
    for i in np.ndindex(2, 3):
        assert_close(together[0][i], layer.forward(p, x[i]), 1e-14)
        assert_close(together[1][i], layer.x_bar(p, x[i], y_bar[i]), 1e-14)


@pytest.mark.parametrize("name", LAYERS)
def test_many_directions_broadcast_against_one_point(name):
    layer = LAYERS[name]
    p, x, y_bar, *_ = point(layer)
    _, _, _, p_dot, x_dot, y_bar_dot = point(layer, (5,), seed=1)
    together = layer.x_bar_dot(p, x, y_bar, p_dot, x_dot, y_bar_dot)
    for j in range(5):
        alone = layer.x_bar_dot(p, x, y_bar, p_dot[j], x_dot[j], y_bar_dot[j])
        assert_close(together[j], alone, 1e-13)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch", BATCHES)
def test_what_is_kept_of_an_input_changes_no_bit(name, batch):
    layer = LAYERS[name]
    p, x, y_bar, p_dot, x_dot, y_bar_dot = point(layer, batch)
    bare, kept = (
        [
            layer.forward(p, at),
            layer.jvp(p, at, p_dot, x_dot),
            layer.x_bar(p, at, y_bar),
            layer.p_bar(at, y_bar),
            layer.x_bar_dot(p, at, y_bar, p_dot, x_dot, y_bar_dot),
            layer.p_bar_dot(at, y_bar, x_dot, y_bar_dot),
        ]
        for at in (x, layer.keep(p, x))
    )
    for a, b in zip(bare, kept, strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_is_kept_where_tasks_that_share_weights_are_joined():
    layer = LAYERS["conv"]
    x = point(layer, (2,))[1]
    assert layer.keep(np.zeros(layer.size), x) is x
    assert layer.keep(np.zeros((2, layer.size)), x) is not x


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_linear_in_their_parameters(name):
    layer = LAYERS[name]
    p, x, _, p_dot, x_dot, _ = point(layer)
    still = layer.jvp(p, x, p_dot, 0.0 * x_dot)
    assert_close(still, layer.forward(p_dot, x) if layer.size else 0.0 * still, 1e-13)
