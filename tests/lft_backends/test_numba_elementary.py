"""The kernels' tanh and logarithm are accurate everywhere, and keep NaN and infinity."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba", reason="the extra 'fast' is not installed")

from lft_backends.kernels import elementary, lstm_cpu

EVERYWHERE = np.concatenate([np.linspace(-30, 30, 20001), np.logspace(-300, 300, 2001)])


@pytest.mark.parametrize(
    ("dtype", "absolute", "relative"), [(np.float32, 3e-7, 4e-7), (np.float64, 4e-16, 1e-15)]
)
def test_tanh_is_accurate_everywhere(dtype, absolute, relative):
    with np.errstate(over="ignore", under="ignore"):
        x = np.concatenate([EVERYWHERE, -EVERYWHERE, [0.0]]).astype(dtype)
    y = x.copy()
    lstm_cpu.tanh(y, np.empty_like(y))
    exact = np.tanh(x.astype("f8"))
    assert np.max(np.abs(y - exact)) <= absolute
    normal = np.abs(x) > 1e-30
    assert np.max(np.abs(y - exact)[normal] / np.abs(exact)[normal]) <= relative


def test_log32_is_accurate_and_keeps_nan_and_infinity():
    x = np.concatenate([np.logspace(-37, 38, 20001), np.linspace(0.5, 2, 20001)]).astype("f4")
    y = x.copy()
    elementary.log32(y, np.empty_like(y))
    exact = np.log(x.astype("f8"))
    assert np.max(np.abs(y - exact) / np.maximum(np.abs(exact), 0.1)) <= 2e-7
    y = np.asarray([np.nan, np.inf, 1.0], "f4")
    elementary.log32(y, np.empty_like(y))
    np.testing.assert_array_equal(y, np.asarray([np.nan, np.inf, 0.0], "f4"))
