"""The comparison that every engine's test uses fails where it must."""

from __future__ import annotations

import pytest

from lft_ref import LSTMParams, flatten, unflatten
from lft_validation.autodiff_oracle import oracle
from tests.helpers import assert_same_gradient, gradient_error
from tests.random_cases import random_case


def gradient():
    case = random_case(6, "squared_sum_tanh_deep", K=4, with_state=True, weights="linear")
    return oracle(*case).grad


def test_a_zero_gradient_is_caught_however_small_the_right_one_is():
    want = LSTMParams(*(1e-12 * a for a in gradient()))
    got = LSTMParams(*(0.0 * a for a in want))
    assert gradient_error(got, want) > 1e-4
    with pytest.raises(AssertionError, match="gradients differ"):
        assert_same_gradient(got, want)


@pytest.mark.parametrize("index", [0, 20, -1])
def test_one_wrong_entry_among_all_is_caught(index):
    want = gradient()
    flat = flatten(want)
    flat[index] *= 1.001
    with pytest.raises(AssertionError, match="gradients differ"):
        assert_same_gradient(unflatten(flat, 2, 2), want)
