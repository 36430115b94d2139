"""The right side of (11), and the moments that A2 and A3 speak of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft_ref.theorem1 import bound, bound_of_parts, matrix_moments, vector_moments
from tests.helpers import assert_close

positive = st.floats(1e-3, 1e3)


def test_the_bound_is_11_by_hand():
    assert bound(3.0, 2.0, D_tr=4, D_val=12) == pytest.approx(np.sqrt(2) * 6 * np.sqrt(1 / 3))


@given(G=positive, sigma=positive, D_tr=st.integers(1, 512), D_val=st.integers(1, 512))
def test_the_square_of_the_bound_is_S19_and_twice_S22_plus_S26(G, sigma, D_tr, D_val):
    S22, S26 = G**2 * sigma**2 / D_val, G**2 * sigma**2 / D_tr
    assert bound(G, sigma, D_tr, D_val) ** 2 == pytest.approx(2 * (S22 + S26))


@given(st.lists(positive, min_size=4, max_size=4), st.integers(1, 99), st.integers(1, 99))
def test_a_pair_of_constants_for_each_quantity_never_gives_more_than_11(parts, D_tr, D_val):
    G, sigma = max(parts[0], parts[2]), max(parts[1], parts[3])
    assert bound_of_parts(*parts, D_tr, D_val) <= bound(G, sigma, D_tr, D_val) * (1 + 1e-12)


def test_moments_of_gradients_are_means_over_draws(xp):
    rng = np.random.default_rng(0)
    draws, centre = rng.normal(size=(7, 2, 3)), rng.normal(size=(7, 2, 3))
    norms = np.linalg.norm(draws, axis=-1)
    want = norms.mean(0), (norms**2).mean(0), (np.linalg.norm(draws - centre, axis=-1) ** 2).mean(0)
    for found, expected in zip(xp.get(vector_moments(*xp.put((draws, centre)))), want, strict=True):
        assert_close(found, expected)


def test_moments_of_jacobians_are_in_the_spectral_norm_around_their_mean(xp):
    draws = np.random.default_rng(1).normal(size=(5, 2, 3, 4))
    norms = np.linalg.norm(draws, ord=2, axis=(-2, -1))
    spread = np.linalg.norm(draws - draws.mean(0), ord=2, axis=(-2, -1))
    want = norms.mean(0), (norms**2).mean(0), (spread**2).sum(0) / 4  # one degree of freedom less
    for found, expected in zip(xp.get(matrix_moments(xp.put(draws))), want, strict=True):
        assert_close(found, expected)


def test_jacobians_of_zero_have_moments_of_zero():
    for moment in matrix_moments(np.zeros((3, 2, 4, 5))):
        np.testing.assert_array_equal(moment, np.zeros(2))
