"""The estimator of the gap, on cases whose answer is known; and the case that refutes (11)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm

from lft_validation.experiments.theorem1.closed_form import Linear, draws, exact, refutation
from lft_validation.experiments.theorem1.estimate import (
    QUANTILES,
    Length,
    length_of_mean,
    root_of_mean,
    slope,
    with_control,
)
from tests.helpers import examples

CASE = Linear(np.asarray([1.0, -0.5, 2.0]), np.asarray([0.3, 0.1, 0.6]), noise=0.5)
SEEDS = 200


def gap(case: Linear, D_tr: int) -> float:
    known = exact(case, D_tr)
    return float(np.linalg.norm(known.l2o - known.lft))


def enough(covered: int) -> bool:
    """Whether a coverage of 95 % or more is credible: one such test in a thousand would fail."""
    return covered >= binom.ppf(0.001, SEEDS, 0.95)


@pytest.mark.parametrize("D_tr", [1, 2, 7])
def test_the_closed_form_is_the_mean_of_many_draws(D_tr):
    rng = np.random.default_rng(D_tr)
    found, _ = draws(CASE, D_tr, 3, 200_000 // D_tr, rng)
    for drawn, known in zip(found, exact(CASE, D_tr), strict=True):
        error = drawn.std(axis=0) / np.sqrt(len(drawn))
        assert np.all(np.abs(drawn.mean(axis=0) - known) < 4.5 * error)
        assert np.all(error < 0.2 * np.linalg.norm(known))


@pytest.mark.parametrize("controlled", [False, True])
@pytest.mark.parametrize(("D_tr", "D_val"), [(16, 16), (64, 16)])
def test_the_stated_interval_covers_the_known_gap_in_95_percent_of_seeds(D_tr, D_val, controlled):
    covered, truth = 0, gap(CASE, D_tr)
    for seed in range(SEEDS):
        found, control = draws(CASE, D_tr, D_val, 80, np.random.default_rng([seed, D_tr]))
        x = found.l2o - found.lft
        if controlled:
            x = with_control(x, control.l2o - control.lft)
        low, high = length_of_mean(x).interval
        covered += low <= truth <= high
    assert covered >= 0.95 * SEEDS, f"{covered} of {SEEDS}"


def test_the_control_makes_large_data_sets_measurable():
    found, control = draws(CASE, 1024, 1024, 80, np.random.default_rng(0))
    plain = length_of_mean(found.l2o - found.lft)
    better = length_of_mean(with_control(found.l2o - found.lft, control.l2o - control.lft))
    width = [np.subtract(*length.interval[::-1]) for length in (plain, better)]
    assert width[1] < width[0] / 3
    assert better.interval[0] > 0.0


@pytest.mark.parametrize("length", [0.0, 0.3, 3.0])
def test_the_interval_covers_the_length_of_a_mean_in_many_dimensions(length):
    covered, scales = 0, np.geomspace(1.0, 0.01, 40)
    mean = np.zeros(40)
    mean[1] = length
    for seed in range(SEEDS):
        x = mean + scales * np.random.default_rng(seed).standard_t(5, size=(40, 40))
        low, high = length_of_mean(x).interval
        covered += low <= length <= high
    assert enough(covered), f"{covered} of {SEEDS}"


def test_the_square_of_a_length_is_estimated_without_bias():
    rng = np.random.default_rng(0)
    mean = np.asarray([0.1, 0.0, 0.2])
    found = [length_of_mean(mean + rng.normal(size=(10, 3))).square for _ in range(2000)]
    assert abs(np.mean(found) - 0.05) < 4 * np.std(found) / np.sqrt(2000)
    assert min(found) < 0.0  # where noise is larger than the mean


def test_a_root_of_a_mean_has_the_interval_of_its_mean():
    covered = 0
    for seed in range(SEEDS):
        low, high = root_of_mean(np.random.default_rng(seed).gamma(4.0, size=60)).interval
        covered += low <= 2.0 <= high
    assert enough(covered), f"{covered} of {SEEDS}"


@pytest.mark.parametrize("length", [length_of_mean, lambda x: root_of_mean(x[:, 0] ** 2)])
def test_an_interval_is_as_wide_as_its_quantiles_of_a_normal_error(length):
    """Far from 0 the length of a mean in one dimension is that mean, with the error s / √R."""
    x = np.random.default_rng(0).normal(10.0, 1.0, size=(200, 1))
    low, high = length(x).interval
    wide = 2.0 * norm.ppf(0.5 + QUANTILES / 2.0) * x.std() / np.sqrt(200)
    assert high - low == pytest.approx(wide, rel=0.2)


def test_a_control_is_scaled_on_one_half_and_applied_to_the_other():
    rng = np.random.default_rng(0)
    control = rng.normal(size=(50, 2))
    x = 3.0 * control + 1e-3 * rng.normal(size=(50, 2)) + 7.0
    assert np.std(with_control(x, control)) < 0.01
    np.testing.assert_array_equal(with_control(x, np.zeros((50, 2))), x)


def test_one_draw_that_dominates_is_named_and_not_trusted():
    x = np.ones((30, 2)) + 1e-3 * np.random.default_rng(0).normal(size=(30, 2))
    assert length_of_mean(x).resolved
    x[4] += 5.0
    length = length_of_mean(x)
    assert length.top > 0.5
    assert not length.resolved


def power(exponent: float, error: float, sizes: list[int], seed: int = 0) -> list[Length]:
    rng = np.random.default_rng(seed)
    return [
        Length(D ** (2 * exponent) * (1 + e[0]), D ** (2 * exponent) * e[1:], 0.1)
        for D in sizes
        for e in [error * rng.normal(size=1001)]
    ]


def test_a_slope_is_recovered_with_an_interval_that_covers_it():
    sizes, covered = [1, 4, 16, 64], 0
    for seed in range(SEEDS):
        fit = slope(sizes, power(-1.0, 0.1, sizes, seed))
        covered += fit.low <= -1.0 <= fit.high
    assert enough(covered), f"{covered} of {SEEDS}"
    assert slope(sizes, power(-0.5, 1e-4, sizes)).exponent == pytest.approx(-0.5, abs=1e-3)


def test_a_slope_needs_three_points_that_are_told_from_zero():
    sizes = [1, 4, 16]
    assert slope(sizes, power(-1.0, 0.1, sizes)).points == 3
    assert slope(sizes, power(-1.0, 3.0, sizes)) is None


@examples(50)
@given(
    delta=st.lists(st.floats(-2, 2), min_size=2, max_size=2),
    phi=st.lists(st.floats(-0.5, 1.0), min_size=2, max_size=2),
    noise=st.floats(0.1, 2.0),
)
def test_the_gap_vanishes_like_one_over_D_tr_as_the_data_grow(delta, phi, noise):
    case = Linear(np.asarray(delta), np.asarray(phi), noise)
    gaps = [gap(case, D) for D in (1, 100, 10_000, 20_000)]
    assert gaps[2] < 1e-3 * (1.0 + gaps[0])
    assert gaps[3] == pytest.approx(gaps[2] / 2, rel=0.01)


def test_theorem_1_with_A3_as_printed_has_a_counterexample():
    case = refutation()
    assert case.bias == 0.0  # A1 holds, on D_tr as well
    assert case.sigma == pytest.approx(1.0)  # A2
    assert case.G < 0.15  # A3
    assert case.gap == pytest.approx(1.0)
    assert case.bound < 0.3


def test_the_counterexample_needs_rare_large_values():
    assert refutation(examples=2).gap < refutation(examples=2).bound
    bounds = [refutation(examples=n).bound for n in (20, 200, 800)]
    assert bounds == sorted(bounds, reverse=True)
