"""The Numba twin gives the reference's results, to within rounding."""

from __future__ import annotations

import numpy as np
import pytest

import lft_ref
from lft_ref import REFERENCE, Cell, Identity, LogSign, LSTMParams, LSTMState
from lft_ref.params import all_columns, column_blocks

pytest.importorskip("numba", reason="the extra 'fast' is not installed")

from lft_backends import numba_backend
from lft_backends.kernels import forward_cpu, lstm_cpu, products_cpu

# Bounds in units of eps: states and cotangents by the largest entry; sums over d coordinates by the
# largest, times √d: so much do d roundings at random add up to.
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


@pytest.mark.no_cover
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("preprocess", [LogSign(), Identity()], ids=["log_sign", "identity"])
@pytest.mark.parametrize(
    ("batch", "d", "n"), [((), 7, 10), ((3,), 5, 4), ((2, 1), 513, 3), ((), 256, 1), ((), 2049, 10)]
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
    # 1/(p g) spans many scales, so each entry is judged by its own: x̄ = ḡ / |dx/dg| has one scale
    slope = np.sum(np.abs(preprocess.derivative(g.astype("f8"))), axis=-1)
    _close(g_bar / slope, exact_g / slope, eps)
    for found, expected in zip(grad, exact_grad, strict=True):
        assert found.shape == expected.shape
        _close(found, expected, SUM_EPS * np.sqrt(d) * np.finfo(dtype).eps)


def _fewer(array, axis=0):
    return np.delete(array, -1, axis)


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
    g[2], g[3], g[4] = np.nan, np.inf, -np.inf
    delta, _ = numba_backend.step(params, Cell(), g, state)
    with np.errstate(invalid="ignore"):  # NaN and infinity in a matrix product
        wanted, _ = lft_ref.step(params, Cell(), g, state)
    np.testing.assert_array_equal(np.isnan(wanted), np.arange(8) == 2)
    np.testing.assert_allclose(delta, wanted, rtol=1e3 * np.finfo(dtype).eps)


def test_the_same_input_twice_gives_the_same_bits_and_read_only_input_is_fine():
    params, g, state, delta_bar, state_bar = _inputs("float32", LogSign(), (2,), 700, 10)
    for a in (*params, g, *state, delta_bar, *state_bar):
        a.flags.writeable = False
    once = numba_backend.vjp(params, Cell(), g, state, delta_bar, state_bar)
    again = numba_backend.vjp(params, Cell(), g, state, delta_bar, state_bar)
    for a, b in zip(once[0], again[0], strict=True):
        np.testing.assert_array_equal(a, b)


def _interpreted(kernels=lstm_cpu, edit=lambda source: source):
    """The kernels' source as plain Python: a second copy of the module, with njit doing nothing."""
    import types
    from pathlib import Path

    import numba

    source = edit(Path(kernels.__file__).read_text(encoding="utf-8"))
    module = types.ModuleType(f"{kernels.__name__}_interpreted")
    compiled = numba.njit
    numba.njit = lambda **_: lambda function: function
    try:
        exec(compile(source, kernels.__file__, "exec"), module.__dict__)  # noqa: S102
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
    cell_kernels, products = _interpreted(), _interpreted(products_cpu)
    for name in ("whole_weights", "add_products", "add_correlations"):
        monkeypatch.setattr(cell_kernels, name, getattr(products, name))
    monkeypatch.setattr(numba_backend, "lstm_cpu", cell_kernels)
    interpreted = numba_backend.step(params, cell, g, state)
    interpreted_vjp = numba_backend.vjp(params, cell, g, state, delta_bar, state_bar)
    bound = {"rtol": 1e3 * np.finfo(dtype).eps, "atol": 1e3 * np.finfo(dtype).eps}
    np.testing.assert_allclose(interpreted[0], compiled[0], **bound)
    np.testing.assert_allclose(interpreted[1].c, compiled[1].c, **bound)
    np.testing.assert_allclose(interpreted_vjp[1], compiled_vjp[1], **bound)
    for a, b in zip(interpreted_vjp[0], compiled_vjp[0], strict=True):
        np.testing.assert_allclose(a, b, **bound)


def _forward_inputs(dtype, preprocess, batch, d, n, columns, seed=0):
    params, g, state, *_ = _inputs(dtype, preprocess, batch, d, n, seed)
    rng, P = np.random.default_rng(seed + 1), columns.width(n)
    G, G_dot = (rng.normal(size=(*batch, d, P)).astype(dtype) for _ in "GD")
    H = rng.normal(size=(*batch, d, 2 * n, P)).astype(dtype)
    return params, g, state, G, G_dot, H


def _exact_forward(preprocess, inputs, columns):
    params, g, state, G, G_dot, H = inputs
    wide = LSTMParams(*(np.asarray(a, "f8") for a in params))
    state = LSTMState(*(a.astype("f8") for a in state))
    arrays = (a.astype("f8") for a in (G, G_dot, H))
    return REFERENCE.forward_update(wide, Cell(preprocess), g.astype("f8"), state, *arrays, columns)


@pytest.mark.no_cover
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "preprocess", [LogSign(), Identity(), Doubled()], ids=["log_sign", "identity", "own"]
)
@pytest.mark.parametrize(("batch", "d", "n"), [((), 7, 10), ((3,), 5, 4), ((2, 1), 3, 1)])
def test_forward_update_equals_the_reference(dtype, preprocess, batch, d, n):
    blocks = [all_columns(preprocess.m, n), *column_blocks(preprocess.m, n, 2)]
    for columns in blocks:
        inputs = _forward_inputs(dtype, preprocess, batch, d, n, columns)
        exact = _exact_forward(preprocess, inputs, columns)
        found = numba_backend.forward_update(*inputs[:1], Cell(preprocess), *inputs[1:], columns)
        for mine, expected in zip(found, exact, strict=True):
            assert mine.dtype == dtype
            assert mine.shape == expected.shape
            _close(mine, expected, STATE_EPS * np.finfo(dtype).eps)


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("u * i * (1 - i)", "u * i"),
        ("slopes[1] = c *", "slopes[1] = u *"),
        ("slopes[5] = f", "slopes[5] = i"),
        ("W_h[w, 2 * n + v]", "W_h[v, 2 * n + w]"),
        ("+ q[v, 4] * z_g[3 * n + v]", ""),
        ("row[k] += factor * G_dot[j, k]", "row[k] -= factor * G_dot[j, k]"),
        ("inputs[first:last]", "inputs[: last - first]"),
        ("H[v, column + 3 * n] += q[v, 4] * x", "H[v, column + 3 * n] += q[v, 3] * x"),
        ("change[P - n - 1 + v] += q[v, 6]", "change[P - n - 1 + v] += h[j, v]"),
        ("G[j, k] - scale * change[k]", "G[j, k] - change[k]"),
    ],
)
def test_a_mistake_planted_in_the_forward_kernel_is_caught(monkeypatch, right, wrong):
    n, caught = 3, False

    def plant(source):
        assert source.count(right) == 1
        return source.replace(right, wrong)

    for planted, edit in ((False, lambda source: source), (True, plant)):
        monkeypatch.setattr(numba_backend, "forward_cpu", _interpreted(forward_cpu, edit))
        caught = False
        for columns in column_blocks(2, n, 4):
            inputs = _forward_inputs("float64", LogSign(), (), 6, n, columns)
            found = numba_backend.forward_update(*inputs[:1], Cell(), *inputs[1:], columns)
            for mine, expected in zip(
                found, _exact_forward(LogSign(), inputs, columns), strict=True
            ):
                far = np.max(np.abs(mine - expected)) / np.max(np.abs(expected))
                caught |= far > STATE_EPS * np.finfo("f8").eps
        assert caught == planted


def test_forward_update_leaves_what_does_not_fit_to_the_reference():
    columns = all_columns(1, 3)
    params, g, state, G, G_dot, H = _forward_inputs("float64", Identity(), (2,), 4, 3, columns)
    arguments = params, Cell(Identity()), g, state, G, G_dot[:1], H, columns
    for found, expected in zip(
        numba_backend.forward_update(*arguments),
        REFERENCE.forward_update(*arguments),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.no_cover
@pytest.mark.parametrize(("batch", "d"), [((), 5000), ((3,), 700)])
def test_no_bit_depends_on_the_number_of_threads(monkeypatch, batch, d):
    monkeypatch.setattr(numba_backend, "FEW", 0)
    inputs = _inputs("float32", LogSign(), batch, d, 10)
    results = []
    for count in (1, 2, 3):
        monkeypatch.setattr(numba_backend, "threads", lambda count=count: count)
        params, g, state, delta_bar, state_bar = inputs
        delta, new = numba_backend.step(params, Cell(), g, state)
        grads, *old = numba_backend.vjp(params, Cell(), g, state, delta_bar, state_bar)
        results.append([delta, *new, *grads, old[0], *old[1]])
    for other in results[1:]:
        for found, expected in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(found, expected)
