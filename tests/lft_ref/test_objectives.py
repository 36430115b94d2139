from __future__ import annotations

import numpy as np
import pytest
from autograd import grad, hessian
from hypothesis import given
from hypothesis import strategies as st

from lft_ref import CrossEntropy, Data, NetworkLoss, Quadratic, SquaredError, mlp
from lft_ref.objectives import value_and_grad
from lft_validation.autodiff_restatement import loss
from tests.helpers import assert_close, assert_product_close, examples
from tests.random_cases import OBJECTIVES, random_objective


@examples(80)
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(OBJECTIVES))
def test_value_gradient_and_hessian_agree_with_autograd(seed, name):
    rng = np.random.default_rng(seed)
    f, d, draw = random_objective(rng, name)
    data, (theta, v) = draw(3), rng.normal(size=(2, d))
    assert_close(f.value(theta, data), loss(f, theta, data), 1e-12)
    slope = grad(lambda at: loss(f, at, data))(theta)
    assert_close(f.grad(theta, data), slope, 1e-11)
    want = hessian(lambda at: loss(f, at, data))(theta) @ v
    assert_product_close(f.hvp(theta, data, v), want, slope, 1e-11)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_value_and_gradient_of_one_pass_are_those_of_two(name):
    rng = np.random.default_rng(0)
    f, d, draw = random_objective(rng, name)
    data, theta = draw(3), rng.normal(size=d)
    value, gradient = value_and_grad(f, theta, data)
    np.testing.assert_array_equal(value, f.value(theta, data))
    np.testing.assert_array_equal(gradient, f.grad(theta, data))


@pytest.mark.parametrize("name", ["squared_sum_relu", "attack_relu"])
def test_it_takes_one_pass_forwards(name):
    class Counting:
        def __init__(self, network):
            self.network, self.passes = network, 0

        def activations(self, *args, **kwargs):
            self.passes += 1
            return self.network.activations(*args, **kwargs)

        def __getattr__(self, name):
            return getattr(self.network, name)

    rng = np.random.default_rng(0)
    f, d, draw = random_objective(rng, name)
    counting = Counting(f.network)
    value_and_grad(f._replace(network=counting), rng.normal(size=d), draw(3))
    assert counting.passes == 1


def test_a_gradient_of_a_class_derived_from_the_networks_loss_is_asked_for():
    class Halved(NetworkLoss):
        def grad(self, theta, data):
            return 0.5 * super().grad(theta, data)

    rng = np.random.default_rng(0)
    f, theta = Halved(mlp((1, 3, 1)), SquaredError()), rng.normal(size=10)
    data = Data(rng.normal(size=(4, 1)), rng.normal(size=(4, 1)))
    np.testing.assert_array_equal(value_and_grad(f, theta, data)[1], f.grad(theta, data))


@examples(60)
@given(
    seed=st.integers(0, 2**32 - 1),
    name=st.sampled_from(OBJECTIVES),
    batch=st.sampled_from([(), (2,), (2, 1)]),
)
def test_hessian_vector_product_is_symmetric(seed, name, batch):
    rng = np.random.default_rng(seed)
    f, d, draw = random_objective(rng, name, batch)
    data, (theta, v, w) = draw(3), rng.normal(size=(3, *batch, d))
    Hv, Hw = f.hvp(theta, data, v), f.hvp(theta, data, w)
    scale = np.linalg.norm(Hv) * np.linalg.norm(w)
    assert abs(np.sum(w * Hv) - np.sum(v * Hw)) <= 1e-12 * scale


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("shared_data", [True, False])
@pytest.mark.parametrize("batch", [(2,), (2, 3)])
def test_batches_and_many_directions_give_what_single_calls_give(name, shared_data, batch):
    rng = np.random.default_rng(0)
    f, d, draw = random_objective(rng, name, () if shared_data else batch)
    data, theta, v = draw(4), rng.normal(size=(*batch, d)), rng.normal(size=(5, *batch, d))
    value, gradient, product = f.value(theta, data), f.grad(theta, data), f.hvp(theta, data, v)
    assert value.shape == batch
    for i in np.ndindex(*batch):
        one = data if shared_data else Data(data.x[i], data.y[i])
        assert_close(value[i], f.value(theta[i], one), 1e-13)
        assert_close(gradient[i], f.grad(theta[i], one), 1e-13)
        for j in range(5):
            assert_close(product[j][i], f.hvp(theta[i], one, v[j][i]), 1e-12)


def test_quadratic_is_half_the_mean_squared_residual():
    data = Data(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 0.0]))
    theta = np.array([1.0, -1.0])  # residuals -2, -1
    assert Quadratic().value(theta, data) == pytest.approx(5.0 / 4.0, rel=1e-15)
    np.testing.assert_allclose(Quadratic().grad(theta, data), [-2.5, -4.0], rtol=1e-15)


def test_squared_error_is_the_sum_of_S29_or_its_mean_over_examples_and_outputs():
    y, target = np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([[0.0, 0.0], [3.0, 3.0]])
    assert SquaredError().value(y, target) == 9.0
    assert SquaredError("mean").value(y, target) == 9.0 / 4.0


def test_cross_entropy_is_the_negative_log_probability_of_the_class():
    y, target = np.log(np.array([[0.2, 0.8], [0.5, 0.5]])), np.array([0, 1])
    want = -np.log(0.2) - np.log(0.5)
    assert CrossEntropy().value(y, target) == pytest.approx(want, rel=1e-14)
    assert CrossEntropy("mean").value(y, target) == pytest.approx(want / 2, rel=1e-14)


def test_cross_entropy_neither_overflows_nor_loses_far_away_classes():
    y, target = np.array([[1e4, 0.0, -1e4]]), np.array([1])
    assert CrossEntropy().value(y, target) == 1e4
    np.testing.assert_array_equal(CrossEntropy().grad(y, target), [[1.0, -1.0, 0.0]])


def test_gradient_of_a_network_vanishes_where_it_fits_exactly():
    network = mlp((2, 3, 1), "tanh")
    rng = np.random.default_rng(1)
    theta, x = rng.normal(size=network.size), rng.normal(size=(5, 2))
    fitted = Data(x, network.activations(theta, x)[-1])
    f = NetworkLoss(network, SquaredError())
    assert f.value(theta, fitted) == 0.0
    assert not f.grad(theta, fitted).any()
