from __future__ import annotations

import math

import numpy as np
import pytest
from autograd import elementwise_grad
from hypothesis import given
from hypothesis import strategies as st

from lft_ref import Identity, LogSign
from lft_validation.autodiff_restatement import features
from tests.helpers import assert_close, assert_is_derivative, examples

# On both branches, of both signs, away from the kink at |g| = e^-10 = 4.5e-5.
POINTS = np.array([3.0, -0.7, 1e-3, -2e-4, 3e-5, -1e-5, 2e-7, 0.0])


def test_identity_feeds_the_gradient_itself():
    g = np.array([[1.0, -2.0, 0.0]])
    assert Identity().m == 1
    np.testing.assert_array_equal(Identity().features(g), g[..., None])
    np.testing.assert_array_equal(Identity().derivative(g), np.ones((1, 3, 1)))


@examples(50)
@given(g=st.floats(-1e3, 1e3), p=st.floats(1.0, 12.0))
def test_log_sign_is_the_formula_of_andrychowicz_et_al(g, p):
    if abs(g) >= math.exp(-p):
        want = [math.log(abs(g)) / p, math.copysign(1.0, g)]
    else:
        want = [-1.0, math.exp(p) * g]
    np.testing.assert_allclose(LogSign(p).features(np.array([g]))[0], want, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_infinity_has_a_sign_and_no_slope_and_nan_stays_nan(dtype):
    found = LogSign().features(np.asarray([np.inf, -np.inf, np.nan], dtype))
    np.testing.assert_array_equal(found, [[np.inf, 1.0], [np.inf, -1.0], [np.nan, np.nan]])
    slopes = LogSign().derivative(np.asarray([np.inf, -np.inf], dtype))
    np.testing.assert_array_equal(slopes, np.zeros((2, 2)))


def test_log_sign_is_continuous_where_its_branches_meet():
    edge = math.exp(-10.0)
    for sign in (-1.0, 1.0):
        inside, outside = LogSign().features(sign * np.array([edge * (1 - 1e-9), edge]))
        np.testing.assert_allclose(inside, outside, rtol=1e-8)


def test_log_sign_has_its_kink_where_it_is_said_to_be():
    edge = math.exp(-10.0)
    inside, outside = LogSign().derivative(np.array([edge * (1 - 1e-9), edge * (1 + 1e-9)]))
    np.testing.assert_allclose(inside, [0.0, math.exp(10.0)], rtol=1e-8)
    np.testing.assert_allclose(outside, [math.exp(10.0) / 10.0, 0.0], rtol=1e-8)


@pytest.mark.parametrize("preprocess", [Identity(), LogSign(), LogSign(3.0)])
def test_features_and_derivative_agree_with_autograd_on_a_restatement(preprocess):
    assert_close(preprocess.features(POINTS), features(preprocess, POINTS), 1e-15)
    for feature in range(preprocess.m):
        want = elementwise_grad(lambda g, i=feature: features(preprocess, g)[:, i])(POINTS)
        np.testing.assert_allclose(preprocess.derivative(POINTS)[:, feature], want, rtol=1e-14)


@pytest.mark.parametrize("preprocess", [Identity(), LogSign()])
@pytest.mark.parametrize("g", POINTS[:-1])
def test_derivative_is_the_limit_of_central_differences(preprocess, g):
    g = np.array([g])
    # Steps relative to |g| stay on one branch: see the margin of POINTS from the kink.
    assert abs(math.log(abs(g[0])) + 10.0) > 0.2
    assert_is_derivative(
        lambda e: preprocess.features(g * (1.0 + e)), g[:, None] * preprocess.derivative(g)
    )


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1, 3)])
def test_features_stand_on_a_new_last_axis(shape):
    g = np.linspace(-1, 1, math.prod(shape)).reshape(shape)
    for preprocess in (Identity(), LogSign()):
        assert preprocess.features(g).shape == (*shape, preprocess.m)
        assert preprocess.derivative(g).shape == (*shape, preprocess.m)
        np.testing.assert_array_equal(
            preprocess.features(g).reshape(-1, preprocess.m), preprocess.features(g.ravel())
        )
