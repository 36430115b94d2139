"""Paired differences, their intervals, and verdicts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap, norm

from lft_backends.draws import Stage, stream
from lft_validation.stats import (
    FEWEST,
    Difference,
    mean_interval,
    paired_difference,
    seeds_interval,
    verdict_less,
    verdict_more,
)


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(40):
        b = rng.exponential(size=120)
        a = b + rng.exponential(size=120) - 1.0 - 0.3
        d = paired_difference([a[:60], a[60:]], [b[:60], b[60:]])
        covered += d.low <= -0.3 <= d.high
        assert d.low < d.mean < d.high
    assert 33 <= covered <= 40  # 95 % of 40 is 38; binomial 99.9 % range


@pytest.mark.parametrize("sources", [1, 2])
@pytest.mark.parametrize("tasks", [50, 200])
def test_the_interval_of_normal_pairs_is_as_wide_as_the_normal_one(tasks, sources):
    rng = np.random.default_rng(tasks)
    gaps = rng.normal(3.0, 2.0, (sources, tasks)) + 100.0 * np.arange(sources)[:, None]
    d = paired_difference([gaps.ravel()], [np.zeros(gaps.size)], sources)
    half = norm.ppf(0.975) * np.sqrt(np.mean(gaps.var(axis=1, ddof=1)) / gaps.size)
    assert d.mean - d.low == pytest.approx(half, rel=0.15)
    assert d.high - d.mean == pytest.approx(half, rel=0.15)


def test_the_interval_is_scipys_bootstrap_of_the_mean():
    values = np.random.default_rng(3).exponential(size=60)
    known = bootstrap(
        (values,), np.mean, n_resamples=4999, batch=500, rng=stream(0, Stage.BOOTSTRAP)
    ).confidence_interval
    assert mean_interval(values) == pytest.approx((known.low, known.high), rel=1e-12)


def test_differences_are_paired_and_reported_by_seed():
    b = [np.arange(50.0), np.arange(50.0) * 3]
    d = paired_difference([b[0] - 1.0, b[1] - 2.0], b)
    assert d.by_seed == [-1.0, -2.0]
    assert d.mean == pytest.approx(-1.5)


def test_equal_methods_have_a_difference_of_zero_width():
    a = [np.ones(5)]
    assert paired_difference(a, a) == Difference(0.0, 0.0, 0.0, [0.0], pairs=5)


def test_a_pair_that_is_not_known_is_left_out():
    rng = np.random.default_rng(2)
    a, b = [rng.normal(size=30)], [rng.normal(size=30)]
    without = paired_difference([a[0][1:]], [b[0][1:]])
    a[0][0] = np.nan
    assert paired_difference(a, b) == without


def test_without_two_pairs_of_every_source_there_is_no_interval():
    gaps, zeros = np.asarray([1.0, 2.0, 3.0, np.nan]), np.zeros(4)
    d = paired_difference([gaps], [zeros], sources=2)
    assert (d.mean, d.by_seed) == (2.0, [2.0])
    assert np.isnan([d.low, d.high]).all()
    assert (verdict_less(d), verdict_more(d)) == ("undecided", "undecided")
    nothing = paired_difference([zeros * np.nan, gaps], [zeros, zeros])
    assert np.isnan(nothing.by_seed[0])
    assert verdict_more(nothing) == "undecided"  # one seed says nothing


def test_the_same_data_give_the_same_interval():
    rng = np.random.default_rng(1)
    a, b = [rng.normal(size=30)], [rng.normal(size=30)]
    assert paired_difference(a, b) == paired_difference(a, b)


@pytest.mark.parametrize(
    ("low", "high", "by_seed", "verdict"),
    [
        (-2.0, -1.0, [-1.0, -2.0], "holds"),
        (-2.0, -1.0, [0.1, -3.0], "undecided"),
        (-1.0, 0.2, [-0.1, -0.5], "undecided"),
        (0.1, 0.3, [0.1, 0.3], "fails"),
        (0.1, 0.3, [-0.1, 0.5], "undecided"),
    ],
)
def test_a_verdict_needs_the_interval_and_every_seed(low, high, by_seed, verdict):
    assert verdict_less(Difference((low + high) / 2, low, high, by_seed, FEWEST)) == verdict


@pytest.mark.parametrize(("pairs", "less", "more"), [
    (FEWEST - 1, "undecided", "undecided"), (FEWEST, "holds", "fails"),
])  # fmt: skip
@pytest.mark.parametrize("sources", [1, 2])
def test_a_verdict_needs_enough_tasks_of_every_source(sources, pairs, less, more):
    gaps = np.linspace(-2.0, -1.0, 30)
    gaps[pairs:] = np.nan
    a = np.concatenate([np.linspace(-2.0, -1.0, 30)] * (sources - 1) + [gaps])
    d = paired_difference([a], [np.zeros(a.size)], sources)
    assert (d.high < 0.0, d.pairs) == (True, pairs)
    assert (verdict_less(d), verdict_more(d)) == (less, more)


def test_a_difference_is_moved_with_its_interval_and_its_seeds():
    moved = Difference(0.2, 0.1, 0.3, [0.1, 0.3], 7).above(1.0)
    assert moved == (pytest.approx(1.2), 1.1, 1.3, [1.1, 1.3], 7)


def test_more_is_judged_as_less_the_other_way_round():
    above, below = (
        Difference(0.2, 0.1, 0.3, [0.1, 0.3], FEWEST),
        Difference(-0.2, -0.3, -0.1, [-0.2], FEWEST),
    )
    assert (verdict_more(above), verdict_more(below)) == ("holds", "fails")
    assert (verdict_less(above), verdict_less(below)) == ("fails", "holds")
    assert verdict_more(above._replace(by_seed=[0.5, -0.1])) == "undecided"


def test_the_interval_over_seeds_is_students_and_needs_two():
    assert seeds_interval([0.5]) is None
    low, high = seeds_interval([0.4, 0.6])
    assert low == pytest.approx(0.5 - 12.706 * 0.1, rel=1e-4)
    assert high == pytest.approx(0.5 + 12.706 * 0.1, rel=1e-4)
