"""The adjoint with recomputation: the same bits, and memory like the square root of K."""

from __future__ import annotations

import tracemalloc
from functools import partial
from itertools import pairwise
from math import ceil
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft_ref import (
    CrossEntropy,
    Data,
    FineTuner,
    NetworkLoss,
    Task,
    adam,
    adjoint,
    adjoint_memory_bytes,
    cnn,
    fitting_segment,
    flatten,
    from_draws,
    initial_meta_state,
    size,
    train_on,
    weights_every_step,
)
from tests.helpers import assert_close, examples
from tests.libraries import Library
from tests.random_cases import OBJECTIVES, random_case, settings_of_cases


def assert_same_bits(got, want):
    for name in ("meta_loss", "val_loss", "theta"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name), err_msg=name)
    for a, b in zip((*got.grad, *got.state), (*want.grad, *want.state), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_segments_change_no_bit(objective):
    @examples(10)
    @given(
        settings=settings_of_cases(),
        segment=st.none() | st.integers(1, 6),
        at_once=st.none() | st.integers(1, 6),
    )
    def check(settings, segment, at_once):
        case = random_case(objective=objective, **settings)
        found = adjoint(*case, segment=segment, at_once=at_once)
        assert_same_bits(found, adjoint(*case))

    check()


@pytest.mark.parametrize("segment", [1, 2, 3, 4])
def test_segments_change_no_bit_in_single_precision_and_with_unweighted_steps(segment):
    case = random_case(0, "convolution", K=7, batch=(2,), with_state=True, weights="last_step")
    case = type(case)(*(_single(a) for a in case[:3]), *case[3:])
    assert case.task.theta_0.dtype == np.float32
    case = case._replace(state_0=_single(case.state_0))
    assert_same_bits(adjoint(*case, segment=segment), adjoint(*case))


@pytest.mark.parametrize("segment", [None, 2])
@pytest.mark.parametrize("weights", [(0.0, 1.5, 0.0, 0.5, 0.0), (0.0,) * 5, (1.0,) * 5])
def test_losses_without_weight_are_left_out_where_nobody_asks(weights, segment, monkeypatch):
    case = random_case(1, "convolution", K=5, batch=(2,), with_state=True)._replace(weights=weights)
    want, valued, kind = adjoint(*case), [], type(case.task.objective.loss)
    right, batch = kind.value, case.task.theta_0.shape[:-1]

    def counting(loss, y, target):
        if target is case.task.val.y and y.shape[1:-2] == batch:
            valued.append(y.shape[0])
        return right(loss, y, target)

    monkeypatch.setattr(kind, "value", counting)
    found = adjoint(*case, segment=segment, every_loss=False)
    weighted = np.asarray(weights) != 0.0
    assert sum(valued) == weighted.sum()
    assert np.isnan(found.val_loss[~weighted]).all()
    np.testing.assert_array_equal(found.val_loss[weighted], want.val_loss[weighted])
    assert_same_bits(found._replace(val_loss=0), want._replace(val_loss=0))


def _single(tree):
    if isinstance(tree, np.ndarray):
        return tree.astype(np.float32) if tree.dtype == np.float64 else tree
    if isinstance(tree, tuple):
        leaves = [_single(leaf) for leaf in tree]
        return type(tree)(*leaves) if hasattr(tree, "_fields") else tuple(leaves)
    return tree


def test_segments_on_every_array_library(xp: Library):
    case = random_case(3, "squared_mean_tanh", "gaussian", K=5, batch=(2,), with_state=True)
    want = adjoint(*case, segment=2)
    params, tuner, task, weights, state_0, _ = case
    task = task._replace(**{name: xp.put(getattr(task, name)) for name in task._fields[1:]})
    got = xp.get(adjoint(xp.put(params), tuner, task, weights, xp.put(state_0), segment=2))
    assert_close(flatten(got.grad), flatten(want.grad), 1e-12)


def test_meta_training_in_segments_is_the_same():
    params, tuner, task, *_ = random_case(1, "quadratic", batch=(2,))
    found = [
        train_on(
            initial_meta_state(params, adam(0.01)),
            tuner,
            [task],
            weights_every_step(5),
            steps=10,
            optimizer=adam(0.01),
            engine=partial(adjoint, segment=segment),
        )[0].params
        for segment in (None, 2)
    ]
    np.testing.assert_array_equal(flatten(found[0]), flatten(found[1]))
    assert not np.array_equal(flatten(found[0]), flatten(params))


def test_judging_a_step_at_a_time_takes_less_memory():
    rng = np.random.default_rng(0)
    network = cnn((1, 8, 8), 2, 8, 3)
    data = Data(rng.normal(size=(40, 1, 8, 8)), rng.integers(3, size=40))
    loss = NetworkLoss(network, CrossEntropy())
    task = Task(loss, Data(data.x[:2], data.y[:2]), data, rng.normal(size=network.size))
    params = from_draws(rng.uniform(-1, 1, size(2, 2)), 2, 2)
    peaks = [_peak(adjoint, params, FineTuner(), task, (1.0,) * 8, at_once=n) for n in (1, None)]
    assert peaks[1] > 4.0 * peaks[0]


def test_a_segment_must_be_a_step_long():
    with pytest.raises(ValueError, match="at_once must be a whole number of at least 1, or None"):
        adjoint(*random_case(0), at_once=0)
    with pytest.raises(ValueError, match="segment must be a whole number of at least 1, or None"):
        adjoint(*random_case(0), segment=0)


class Nothing(NamedTuple):
    """A loss that takes no memory to speak of: what is left is the adjoint's own."""

    def value(self, theta, data):
        return np.sum(theta, axis=-1)

    def grad(self, theta, data):
        return theta * 1.0

    def hvp(self, theta, data, v):
        return v * 1.0


def peak(K, segment, d=600, n=8):
    rng = np.random.default_rng(0)
    params = from_draws(rng.uniform(-1, 1, size(2, n)), 2, n)
    none = Data(np.zeros((1, 1)), np.zeros(1))
    task = Task(Nothing(), none, none, rng.normal(size=d))
    return _peak(adjoint, params, FineTuner(), task, (1.0,) * K, segment=segment)


def _peak(function, *arguments, **options):
    function(*arguments, **options)  # what is made once is not counted
    tracemalloc.start()
    try:
        function(*arguments, **options)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("K", "segment"), [(6, None), (6, 2), (64, None), (64, 8), (64, 30)])
def test_the_estimate_is_the_measured_peak_within_a_tenth(K, segment):
    assert peak(K, segment) == pytest.approx(adjoint_memory_bytes(600, 8, K, segment=segment), 0.1)


def test_memory_grows_with_the_root_of_K_with_segments_and_with_K_without():
    floor = peak(1, None)  # one step's vjp
    with_segments = [peak(K, ceil(K**0.5)) - floor for K in (16, 64, 256)]
    without = [peak(K, None) - floor for K in (16, 64)]
    for few, many in pairwise(with_segments):
        assert many / few == pytest.approx(2.0, abs=0.35)
    assert without[1] / without[0] == pytest.approx(4.0, abs=0.5)


def test_the_longest_segment_that_fits_is_chosen():
    d, n, K = 1000, 10, 100
    whole = adjoint_memory_bytes(d, n, K)
    assert fitting_segment(whole, d, n, K) is None
    for budget in (whole - 1, whole // 2):
        s = fitting_segment(budget, d, n, K)
        assert adjoint_memory_bytes(d, n, K, segment=s) <= budget
        assert adjoint_memory_bytes(d, n, K, segment=s + 1) > budget or s == K - 1
    assert fitting_segment(0, d, n, K) == 10  # nothing fits: what takes least
    least = min(range(1, K), key=lambda s: adjoint_memory_bytes(d, n, K, segment=s))
    assert least == pytest.approx(10, abs=1)
