from __future__ import annotations

import numpy as np
import pytest
from autograd import jacobian
from hypothesis import given
from hypothesis import strategies as st

from lft_ref import Data, FirstOrder, Quadratic, ZerothOrder
from lft_validation.autodiff_restatement import estimate
from tests.helpers import assert_close, assert_product_close, examples, relative_error
from tests.random_cases import ESTIMATORS, OBJECTIVES, random_directions, random_objective

SCALINGS = ESTIMATORS[1:]


def problem(seed, objective, estimator, antithetic=False, batch=(), q=2, mu=0.1):
    rng = np.random.default_rng(seed)
    f, d, draw = random_objective(rng, objective, batch)
    theta = 0.7 * rng.normal(size=(*batch, d))
    if estimator == "first_order":
        return FirstOrder(), f, theta, draw(3), None
    u = random_directions(rng, estimator, 1, q, theta.shape)[0]
    return ZerothOrder(mu, estimator, antithetic), f, theta, draw(3), u


settings_of_problems = {
    "seed": st.integers(0, 2**32 - 1),
    "objective": st.sampled_from(OBJECTIVES),
    "estimator": st.sampled_from(ESTIMATORS),
    "antithetic": st.booleans(),
}


@pytest.mark.no_cover
@examples(40)
@given(**settings_of_problems)
def test_estimate_and_its_jacobian_agree_with_autograd(seed, objective, estimator, antithetic):
    how, f, theta, data, u = problem(seed, objective, estimator, antithetic)
    v = np.random.default_rng(seed + 1).normal(size=theta.shape)
    g = estimate(how, f, theta, data, u)
    assert_close(how.estimate(f, theta, data, u), g, 1e-11)
    J = jacobian(lambda at: estimate(how, f, at, data, u))(theta)
    assert_product_close(how.jvp(f, theta, data, u, v), J @ v, g, 1e-11)
    assert_product_close(how.vjp(f, theta, data, u, v), J.T @ v, g, 1e-11)


@examples(60)
@given(batch=st.sampled_from([(), (2,), (2, 1)]), **settings_of_problems)
def test_jvp_and_vjp_are_transposes(batch, seed, objective, estimator, antithetic):
    how, f, theta, data, u = problem(seed, objective, estimator, antithetic, batch)
    v, w = np.random.default_rng(seed + 1).normal(size=(2, *theta.shape))
    left = np.sum(v * how.jvp(f, theta, data, u, w))
    right = np.sum(how.vjp(f, theta, data, u, v) * w)
    scale = np.linalg.norm(v) * np.linalg.norm(how.jvp(f, theta, data, u, w))
    assert abs(left - right) <= 1e-12 * scale


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("batch", [(), (2,)])
def test_jvp_takes_many_directions_at_once(estimator, batch):
    how, f, theta, data, u = problem(1, "squared_mean_tanh", estimator, batch=batch)
    many = np.random.default_rng(2).normal(size=(4, *theta.shape))
    together = how.jvp(f, theta, data, u, many)
    for v, got in zip(many, together, strict=True):
        assert_close(got, how.jvp(f, theta, data, u, v), 1e-13)


def test_estimate_is_equation_6_with_no_factor_for_gaussian_directions():
    how, f, theta, data, u = problem(3, "quadratic", "gaussian", q=5, mu=0.3)
    want = sum(u_j * (f.value(theta + 0.3 * u_j, data) - f.value(theta, data)) for u_j in u)
    assert_close(how.estimate(f, theta, data, u), want / (0.3 * 5), 1e-13)


def test_sphere_directions_carry_the_factor_d():
    how, f, theta, data, u = problem(3, "quadratic", "sphere", q=5)
    gaussian = how._replace(scaling="gaussian").estimate(f, theta, data, u)
    assert_close(how.estimate(f, theta, data, u), 3.0 * gaussian, 1e-14)


def test_coordinate_directions_give_the_forward_difference():
    how, f, theta, data, u = problem(3, "squared_sum_tanh_deep", "coordinate", mu=1e-2)
    want = [
        (f.value(theta + 1e-2 * e, data) - f.value(theta, data)) / 1e-2 for e in np.eye(len(theta))
    ]
    assert_close(how.estimate(f, theta, data, u), want, 1e-12)


@pytest.mark.parametrize(("scaling", "length"), [("gaussian", 2.0), ("sphere", 1.0)])
def test_both_conventions_give_the_gradient_on_a_full_orthogonal_set(scaling, length):
    # (1/q) Σ u uᵀ = I for u of length √d, and (d/q) Σ u uᵀ = I for unit vectors.
    rng = np.random.default_rng(5)
    Q, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    data, theta = Data(rng.normal(size=(3, 4)), rng.normal(size=3)), rng.normal(size=4)
    how = ZerothOrder(0.1, scaling, antithetic=True)  # exact on a quadratic
    got = how.estimate(Quadratic(), theta, data, length * Q)
    assert_close(got, Quadratic().grad(theta, data), 1e-12)


def test_one_sided_error_vanishes_with_mu_and_two_sided_with_its_square():
    errors = {}
    for antithetic in (False, True):
        for mu in (1e-2, 5e-3):
            how, f, theta, data, u = problem(
                6, "squared_mean_tanh", "coordinate", antithetic, mu=mu
            )
            estimated = how.estimate(f, theta, data, u)
            errors[antithetic, mu] = relative_error(estimated, f.grad(theta, data))
    assert errors[False, 1e-2] / errors[False, 5e-3] == pytest.approx(2.0, rel=0.1)
    assert errors[True, 1e-2] / errors[True, 5e-3] == pytest.approx(4.0, rel=0.1)


def test_jacobian_of_the_estimate_is_not_symmetric():
    how, f, theta, data, u = problem(7, "squared_mean_tanh", "gaussian")
    v = np.random.default_rng(8).normal(size=theta.shape)
    assert relative_error(how.jvp(f, theta, data, u, v), how.vjp(f, theta, data, u, v)) > 0.1


def test_hessian_of_the_first_order_estimator_is_symmetric():
    how, f, theta, data, u = problem(7, "squared_mean_tanh", "first_order")
    v = np.random.default_rng(8).normal(size=theta.shape)
    assert_close(how.jvp(f, theta, data, u, v), how.vjp(f, theta, data, u, v), 1e-15)
