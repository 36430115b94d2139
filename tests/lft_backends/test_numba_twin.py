"""The Numba twin gives the reference's results, to within rounding."""

from __future__ import annotations

import numpy as np
import pytest

import lft_ref
from lft_ref import Cell, Identity, LogSign, LSTMParams, LSTMState

pytest.importorskip("numba", reason="the extra 'fast' is not installed")

from lft_backends import numba_backend
from lft_backends.kernels import elementary, lstm_cpu

# Bounds in units of eps: states and cotangents by the largest entry, sums over d coordinates by the
# sum of absolute values, which is what rounding is proportional to.
STATE_EPS = 64.0
SUM_EPS = 64.0


def _inputs(dtype, preprocess, batch, d, n, seed=0):
    rng = np.random.default_rng(seed)
    shapes = lft_ref.params.shapes(preprocess.m, n)
    params = LSTMParams(*(np.asarray(rng.normal(0, 0.4, s), dtype) for s in shapes))
    g = rng.normal(size=(*batch, d)) * np.exp(rng.uniform(-14, 2, (*batch, d)))
    g[np.abs(np.abs(g) * np.exp(10.0) - 1) < 1e-3] = 1.0  # both dtypes on one side of e^-p
    h, c, h_bar, c_bar = (rng.normal(size=(*batch, d, n)).astype(dtype) for _ in range(4))
    delta_bar = rng.normal(size=(*batch, d)).astype(dtype)
    return params, g.astype(dtype), LSTMState(h, c), delta_bar, LSTMState(h_bar, c_bar)


def _close(found, expected, eps):
    scale = np.max(np.abs(expected))
    assert np.max(np.abs(found - expected)) <= eps * scale


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("preprocess", [LogSign(), Identity()], ids=["log_sign", "identity"])
@pytest.mark.parametrize(
    ("batch", "d", "n"), [((), 7, 10), ((3,), 5, 4), ((2, 1), 513, 3), ((), 1300, 10)]
)
def test_step_and_vjp_equal_the_reference(dtype, preprocess, batch, d, n):
    params, g, state, delta_bar, state_bar = _inputs(dtype, preprocess, batch, d, n)
    wide = [np.asarray(a, np.float64) for a in params]
    exact = (
        LSTMParams(*wide),
        Cell(preprocess),
        g.astype("f8"),
        LSTMState(*(a.astype("f8") for a in state)),
    )
    eps = STATE_EPS * np.finfo(dtype).eps

    delta, new = numba_backend.step(params, Cell(preprocess), g, state)
    exact_delta, exact_new = lft_ref.step(*exact)
    assert delta.dtype == new.h.dtype == dtype
    assert delta.shape == exact_delta.shape
    for found, expected in [(delta, exact_delta), (new.h, exact_new.h), (new.c, exact_new.c)]:
        _close(found, expected, eps)

    bars = delta_bar.astype("f8"), LSTMState(*(a.astype("f8") for a in state_bar))
    grad, g_bar, old = numba_backend.vjp(params, Cell(preprocess), g, state, delta_bar, state_bar)
    exact_grad, exact_g, exact_old = lft_ref.vjp(*exact, *bars)
    for found, expected in [(old.h, exact_old.h), (old.c, exact_old.c)]:
        _close(found, expected, eps)
    np.testing.assert_allclose(  # 1/(p g) spans many scales: relative to each entry's own terms
        g_bar, exact_g, rtol=0, atol=eps * np.max(np.abs(exact_g)) + 1e-30
    )
    for found, expected in zip(grad, exact_grad, strict=True):
        assert found.shape == expected.shape
        _close(found, expected, SUM_EPS * np.sqrt(d) * np.finfo(dtype).eps)


class Doubled(Identity):
    """Derived from a class that has a kernel, and means something else."""

    def features(self, g):
        return 2.0 * g[..., None]

    def derivative(self, g):
        return np.full_like(g, 2.0)[..., None]


class Other:
    m = 1
    features, derivative = Doubled.features, Doubled.derivative


@pytest.mark.parametrize("preprocess", [Doubled(), Other()])
def test_a_preprocessing_without_kernel_falls_back_to_the_reference(preprocess):
    params, g, state, delta_bar, state_bar = _inputs("float64", Identity(), (), 6, 3)
    cell = Cell(preprocess)
    for found, expected in zip(
        numba_backend.step(params, cell, g, state)[1],
        lft_ref.step(params, cell, g, state)[1],
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)
    found = numba_backend.vjp(params, cell, g, state, delta_bar, state_bar)
    np.testing.assert_array_equal(
        found[1], lft_ref.vjp(params, cell, g, state, delta_bar, state_bar)[1]
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_nan_and_infinity_keep_their_meaning(dtype):
    params, g, state, *_ = _inputs(dtype, LogSign(), (), 8, 4)
    g[2] = np.nan
    delta, _ = numba_backend.step(params, Cell(), g, state)
    assert np.isnan(delta[2])
    assert np.isfinite(np.delete(delta, 2)).all()


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


def test_the_same_input_twice_gives_the_same_bits_and_read_only_input_is_fine():
    params, g, state, delta_bar, state_bar = _inputs("float32", LogSign(), (2,), 700, 10)
    for a in (*params, g, *state, delta_bar, *state_bar):
        a.flags.writeable = False
    once = numba_backend.vjp(params, Cell(), g, state, delta_bar, state_bar)
    again = numba_backend.vjp(params, Cell(), g, state, delta_bar, state_bar)
    for a, b in zip(once[0], again[0], strict=True):
        np.testing.assert_array_equal(a, b)


def _interpreted():
    """The kernels' source as plain Python: a second copy of the module, with njit doing nothing."""
    import importlib.util

    import numba

    spec = importlib.util.spec_from_file_location("lstm_cpu_interpreted", lstm_cpu.__file__)
    module = importlib.util.module_from_spec(spec)
    compiled = numba.njit
    numba.njit = lambda **_: lambda function: function
    try:
        spec.loader.exec_module(module)
    finally:
        numba.njit = compiled
    return module


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("preprocess", [LogSign(), Identity()], ids=["log_sign", "identity"])
def test_kernels_mean_the_same_compiled_and_interpreted(monkeypatch, dtype, preprocess):
    params, g, state, delta_bar, state_bar = _inputs(dtype, preprocess, (), 9, 3)
    g[4] = np.nan
    cell = Cell(preprocess)
    compiled = numba_backend.step(params, cell, g, state)
    compiled_vjp = numba_backend.vjp(params, cell, g, state, delta_bar, state_bar)
    monkeypatch.setattr(numba_backend, "lstm_cpu", _interpreted())
    interpreted = numba_backend.step(params, cell, g, state)
    interpreted_vjp = numba_backend.vjp(params, cell, g, state, delta_bar, state_bar)
    bound = {"rtol": 1e3 * np.finfo(dtype).eps, "atol": 1e3 * np.finfo(dtype).eps}
    np.testing.assert_allclose(interpreted[0], compiled[0], **bound)
    np.testing.assert_allclose(interpreted[1].c, compiled[1].c, **bound)
    np.testing.assert_allclose(interpreted_vjp[1], compiled_vjp[1], **bound)
    for a, b in zip(interpreted_vjp[0], compiled_vjp[0], strict=True):
        np.testing.assert_allclose(a, b, **bound)
