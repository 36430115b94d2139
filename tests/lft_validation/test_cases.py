"""Random cases: complete, varied, repeatable, and away from kinks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from lft_ref import adjoint, forward_mode, unroll
from lft_validation import cases
from lft_validation.cases import ACTIVATIONS, OBJECTIVES, REDUCTIONS, Margins, choices, margins
from lft_validation.cases import random_case as draw
from lft_validation.comparison import gradient_differences, relative_difference

CASES = [draw(7, index) for index in range(48)]


@pytest.mark.parametrize("first", [0, 1, 13, 24, 50, 71])
def test_any_40_consecutive_indices_cover_all_combinations(first: int) -> None:
    found = [choices(index) for index in range(first, first + 40)]
    flags = (False, True)
    assert {c[:4] for c in found} == set(itertools.product(OBJECTIVES, flags, flags, flags))
    for kind in OBJECTIVES[1:]:
        networks = [c for c in found if c.objective == kind]
        shapes = {(c.activation, c.reduction) for c in networks}
        assert shapes == set(itertools.product(ACTIVATIONS, REDUCTIONS))
        for flag in ("zeroth_order", "log_sign", "second_order"):
            met = {(c.activation, getattr(c, flag)) for c in networks}
            assert met == set(itertools.product(ACTIVATIONS, flags))
    assert {c.weighting for c in found} == set(range(5))


def test_96_consecutive_indices_cover_the_whole_product() -> None:
    networks = {c[:6] for c in map(choices, range(96)) if c.objective != "quadratic"}
    assert len(networks) == 2 * 2**5


def test_sizes_are_small_and_varied() -> None:
    d, n, K = (
        [c.d for c in CASES],
        [c.params.n for c in CASES],
        [c.K for c in CASES],
    )
    assert min(d) >= 1
    assert max(d) <= 60
    assert {*range(1, 7), 10} == set(n)
    assert set(K) == set(range(1, 9))
    for case in CASES:
        assert case.task.theta_0.shape == (case.d,)
        assert case.params.m == case.tuner.cell.preprocess.m
        assert (case.task.directions is None) == (case.estimator == "first_order")


def test_weights_are_the_three_of_eq_4_and_others() -> None:
    longer = [c for c in CASES if c.K > 1]
    assert any(c.weights == (1.0,) * c.K for c in longer)
    assert any(c.weights == (*(0.0,) * (c.K - 1), 1.0) for c in longer)
    assert any(c.weights == tuple(range(1, c.K + 1)) for c in longer)


def test_both_branches_of_log_sign_are_used() -> None:
    branches = set()
    for case in CASES:
        if case.preprocess == "log_sign":
            g = np.stack(unroll(case.params, case.tuner, case.task, case.K, case.state_0).g)
            branches |= set((np.abs(g[g != 0.0]) >= math.exp(-10.0)).tolist())
    assert branches == {True, False}


def test_a_case_depends_on_seed_and_index_alone() -> None:
    again, other = draw(7, 5), draw(8, 5)
    np.testing.assert_array_equal(again.params.W_x, CASES[5].params.W_x)
    np.testing.assert_array_equal(again.task.theta_0, CASES[5].task.theta_0)
    assert other.params.W_x.shape != again.params.W_x.shape or np.any(
        other.params.W_x != again.params.W_x
    )


def test_engines_agree_far_below_the_tolerance_of_test_vectors() -> None:
    for case in CASES:
        arguments = (case.params, case.tuner, case.task, case.weights, case.state_0)
        apart = gradient_differences(forward_mode(*arguments).grad, adjoint(*arguments).grad)
        assert max(apart.values()) < 1e-11


def test_no_case_comes_near_a_kink() -> None:
    assert not any(margins(case).near_kink for case in CASES)
    assert any(margins(case).relu < math.inf for case in CASES)
    assert any(margins(case).log_sign < math.inf for case in CASES)


def test_a_case_near_a_kink_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def first_is_near(case: cases.Case) -> Margins:
        seen.append(case)
        return Margins(0.0 if len(seen) == 1 else 1.0, 1.0)

    monkeypatch.setattr(cases, "margins", first_is_near)
    assert draw(7, 5) is seen[1]
    np.testing.assert_array_equal(seen[0].params.W_x, CASES[5].params.W_x)


def test_margins_see_a_relu_at_zero() -> None:
    case = next(c for c in CASES if c.activation == "relu" and c.estimator == "zeroth_order")
    at_zero = case._replace(task=case.task._replace(theta_0=np.zeros(case.d)))
    assert margins(at_zero).relu == 0.0
    assert margins(at_zero).near_kink


def test_margins_see_a_gradient_at_the_switch_of_log_sign() -> None:
    case = next(
        c
        for c in CASES
        if (c.objective, c.estimator, c.preprocess) == ("quadratic", "first_order", "log_sign")
    )
    unit = case.task.train._replace(x=np.eye(1), y=np.zeros(1))
    task = case.task._replace(train=unit, val=unit, theta_0=np.asarray([math.exp(-10.0)]))
    small = case._replace(
        task=task, state_0=type(case.state_0)(*(a[:1] for a in case.state_0)), weights=(1.0,)
    )
    assert margins(small).log_sign < 1e-12
    assert margins(small).near_kink


def test_negative_seeds_and_indices_are_refused() -> None:
    with pytest.raises(ValueError, match="must be >= 0"):
        draw(-1, 0)
    with pytest.raises(ValueError, match="must be >= 0"):
        draw(0, -3)


def test_relative_difference_is_relative_to_the_arrays_own_scale() -> None:
    tiny = np.asarray([1e-30, 2e-30])
    assert relative_difference(2.0 * tiny, tiny) == pytest.approx(1.0)
    assert relative_difference(tiny, tiny) == 0.0
    assert relative_difference(np.zeros(2), np.zeros(2)) == 0.0
    assert relative_difference(np.zeros((0, 2)), np.zeros((0, 2))) == 0.0


@pytest.mark.parametrize(
    ("found", "expected"),
    [([1.0], [0.0]), ([np.nan], [1.0]), ([np.inf], [1.0]), ([1.0], [1.0, 2.0])],
)
def test_nonsense_differs_infinitely(found: list[float], expected: list[float]) -> None:
    assert relative_difference(np.asarray(found), np.asarray(expected)) == math.inf
