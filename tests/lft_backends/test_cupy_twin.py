"""The CUDA twins give the reference's results: lstm.cu on the CPU, and on a GPU if there is one."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import lft_ref
from lft_ref import Cell, Identity, LogSign
from lft_ref.params import Columns, column_blocks
from tests.device_array import to_device, to_host
from tests.lft_backends.cuda_on_cpu.fake_cupy import GXX, fake_cupy
from tests.lft_backends.cuda_on_cpu.parity import (
    Twins,
    cast,
    draw,
    errors,
    forward_errors,
    load_backend,
    saturated,
)
from tests.libraries import usable

DTYPES = ["float64", "float32"]
SIZES = [(1, 1), (1, 4), (3, 2), (10, 2), (20, 2), (64, 1), (64, 4)]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(params=["forwards", "backwards", pytest.param("gpu", marks=pytest.mark.gpu)])
def twins(request, folder):
    """lstm.cu behind the shim with threads in both orders, and the real thing."""
    if request.param == "gpu":
        usable("cupy")
        cupy = importlib.import_module("cupy")
        module = importlib.import_module("lft_backends.cupy_backend")
        return Twins(module.OPS, cupy.asarray, cupy.asnumpy, module, cupy)
    if GXX is None:
        pytest.skip("g++ is not installed: it compiles lstm.cu for the CPU")
    fake = fake_cupy(folder, backwards=request.param == "backwards")
    module = load_backend(fake)
    return Twins(module.OPS, to_device, to_host, module, fake)


def assert_equal_to_rounding(found):
    assert max(found.values()) <= 1.0, f"errors in units of their bounds: {found}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "m"), SIZES)
def test_step_and_vjp_equal_the_reference(twins, n, m, dtype):
    assert_equal_to_rounding(errors(twins, draw(dtype, n, m, (2, 131 if n < 64 else 67))))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "m"), SIZES)
def test_forward_update_equals_the_reference(twins, n, m, dtype):
    case = draw(dtype, n, m, (2, 2) if n < 64 else (1,))
    if n < 64:
        assert_equal_to_rounding(forward_errors(twins, case))
    for columns in (Columns(0, 1, False), Columns(m + n, m + n + 1, True)):
        assert_equal_to_rounding(forward_errors(twins, case, columns))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 10])
def test_gates_that_large_gradients_saturate_have_no_slope_left(twins, n, dtype):
    """1 − u² meets g: what is left of it where it shall be 0 is as large as what is right."""
    assert_equal_to_rounding(errors(twins, saturated(draw(dtype, n, 1, (300,)))))
    assert_equal_to_rounding(forward_errors(twins, saturated(draw(dtype, n, 1, (4,)))))


@pytest.mark.parametrize("shape", [(1,), (127,), (129,), (3, 1, 5), (20_003,), (2, 17_000)])
def test_any_number_of_coordinates_and_tasks(twins, shape):
    """Also more than 128 blocks: static shared memory starts at zero and hides mistakes there."""
    assert_equal_to_rounding(errors(twins, draw("float64", 3, 2, shape)))


def test_blocks_that_take_several_tiles(twins, monkeypatch):
    monkeypatch.setattr(twins.module, "vjp_grid", lambda d, block, n: (-(-d // block // 3), 3))
    assert_equal_to_rounding(errors(twins, draw("float32", 3, 2, (2, 128 * 7 + 5))))


def test_more_tasks_than_a_grid_is_high(twins, monkeypatch):
    monkeypatch.setattr(twins.module, "GRID_Y", 2)
    case = draw("float64", 3, 2, (5, 140))
    assert_equal_to_rounding(errors(twins, case))
    assert_equal_to_rounding(forward_errors(twins, draw("float64", 3, 2, (5, 2))))


def test_column_blocks_are_the_columns_of_the_whole(twins):
    case = draw("float64", 3, 2, (4,))
    for columns in column_blocks(2, 3, 4):
        assert_equal_to_rounding(forward_errors(twins, case, columns))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_input_gives_the_same_bits(twins, dtype):
    there = cast(draw(dtype, 3, 2, (2, 1000)), twins.put)
    once, again = (twins.ops.vjp(*there) for _ in range(2))
    for a, b in zip((*once[0], once[1]), (*again[0], again[1]), strict=True):
        np.testing.assert_array_equal(twins.get(a), twins.get(b))


def test_nan_stays_where_it_is_and_infinity_has_a_sign(twins):
    case = draw("float32", 3, 2, (2, 8))
    case.g[1, 2], case.g[0, 0], case.g[1, 7] = np.nan, np.inf, -np.inf
    delta, _ = twins.ops.step(*cast(case, twins.put)[:4])
    with np.errstate(invalid="ignore"):  # NaN and infinity in a matrix product
        found, wanted = twins.get(delta), lft_ref.step(*case[:4])[0]
    np.testing.assert_array_equal(np.isnan(found), np.arange(16).reshape(2, 8) == 10)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_an_unroll_with_the_twins_equals_the_references(twins):
    """State goes from step to step as the kernels left it, (..., n, d), without a copy."""
    from tests.helpers import assert_same_result
    from tests.random_cases import random_case

    for seed in range(3):
        case = random_case(seed, "squared_mean_tanh", batch=(2,), n=3, m=2, K=3, with_state=True)
        there = cast(case, twins.put)
        there = there._replace(tuner=case.tuner._replace(ops=twins.ops))
        for engine in (lft_ref.adjoint, lft_ref.forward_mode):
            got = cast(engine(*there), lambda a: np.asarray(twins.get(a)))
            assert_same_result(got, engine(*case))


# What goes to the reference, and how kernels are prepared -----------------------------------------


class Doubled(LogSign):
    """Derived from LogSign, and another map all the same."""

    def features(self, g):
        return 2.0 * super().features(g)


@pytest.fixture
def on_cpu(folder):
    if GXX is None:
        pytest.skip("g++ is not installed: it compiles lstm.cu for the CPU")
    fake = fake_cupy(folder)
    return Twins(load_backend(fake).OPS, np.asarray, np.asarray, load_backend(fake), fake)


def launched(twins, call):
    """Names of the kernels that ``call`` starts."""
    twins.cupy.log.clear()
    call()
    return list(twins.cupy.log)


def test_a_preprocessing_of_ones_own_is_used_as_it_is(on_cpu):
    case = draw("float64", 3, 2, (5,))
    case = case._replace(cell=Cell(Doubled()))
    ops = on_cpu.module.OPS
    assert "lft_step" in launched(on_cpu, lambda: ops.step(*case[:4]))
    got, want = ops.step(*case[:4])[0], lft_ref.step(*case[:4])[0]
    np.testing.assert_allclose(to_host(got), want, rtol=1e-13)


def _first(state):
    return lft_ref.LSTMState(*(a[0] for a in state))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda c: c._replace(g=c.g[:0]), id="empty"),
        pytest.param(lambda c: c._replace(state=_first(c.state)), id="one state for many g"),
        pytest.param(lambda c: c._replace(g=c.g.astype("f4")), id="mixed dtypes"),
    ],
)
def test_what_kernels_do_not_serve_goes_to_the_reference(on_cpu, change):
    ops = on_cpu.module.OPS
    case = change(draw("float64", 3, 1, (2, 5)))
    if case.g.size == 0:
        case = case._replace(state=lft_ref.LSTMState(*(a[:0] for a in case.state)))
    found = []
    assert launched(on_cpu, lambda: found.append(ops.step(*case[:4]))) == []
    for a, b in zip(found[0][1], lft_ref.step(*case[:4])[1], strict=True):
        np.testing.assert_array_equal(a, b)


def _misfits(c):
    """Arguments of which one does not fit, for cells of n = 3 and m = 2 on g (2, 5)."""
    ones, own = np.ones, {"W_x": (2, 8), "W_h": (3, 8), "b": (4,), "w_o": (4,), "b_o": (7,)}
    for name, shape in own.items():
        yield "step", name, c._replace(params=c.params._replace(**{name: ones(shape)}))[:4]
    yield "step", "state", c._replace(state=lft_ref.LSTMState(*ones((2, 2, 5, 4))))[:4]
    yield "vjp", "state_bar", c._replace(state_bar=lft_ref.LSTMState(*ones((2, 2, 5, 4))))
    yield "vjp", "delta_bar", c._replace(delta_bar=ones((2, 4)))
    whole, P = Columns(0, 6, True), lft_ref.size(2, 3)
    for name, H, columns in (
        ("H", (3, P), whole),
        ("columns", (6, P), Columns(0, 5, True)),
        ("rows of Φ", (6, P + 12), Columns(0, 7, True)),
    ):
        G = ones((2, 5, H[-1]))
        yield "forward_update", name, (*c[:4], G, G, ones((2, 5, *H)), columns)


def test_what_does_not_fit_is_refused_as_by_the_reference_before_a_kernel_starts(
    on_cpu, monkeypatch
):
    """Kernels look at no bounds: they would read and write other arrays' memory."""

    def launch(*_):
        raise AssertionError("a kernel was started")

    monkeypatch.setattr(on_cpu.module._Call, "launch", launch)
    for function, name, arguments in _misfits(draw("float64", 3, 2, (2, 5))):
        said = []
        for ops in (lft_ref.REFERENCE, on_cpu.module.OPS):
            with pytest.raises(ValueError) as error:  # noqa: PT011 - NumPy's own words
                getattr(ops, function)(*arguments)
            said.append(str(error.value))
        assert said[0] == said[1], name


def test_cells_too_large_for_the_kernels_go_to_the_reference(on_cpu):
    ops, case = on_cpu.module.OPS, draw("float64", 65, 1, (2,))
    assert launched(on_cpu, lambda: ops.step(*case[:4])) == []
    assert launched(on_cpu, lambda: ops.vjp(*case)) == []
    G = np.ones((2, 65 * 4))
    arguments = (G, G, np.ones((2, 130, 260)), Columns(0, 1, False))
    assert launched(on_cpu, lambda: ops.forward_update(*case[:4], *arguments)) == []


def test_kernels_are_made_once_per_size_and_phi_is_brought_every_time(on_cpu):
    ops, case = on_cpu.module.OPS, draw("float64", 3, 2, (5,))
    first = to_host(ops.step(*case[:4])[0])
    other = case._replace(params=case.params._replace(b_o=case.params.b_o + 1.0))
    second = to_host(ops.step(*other[:4])[0])
    np.testing.assert_allclose(second - first, 0.3, rtol=1e-12)
    assert on_cpu.module._kernels.cache_info().currsize == 1
    ops.step(*case._replace(cell=Cell(Doubled()))[:4])
    assert on_cpu.module._kernels.cache_info().currsize == 2


def test_another_stream_waits_for_the_one_before_it(on_cpu):
    from tests.lft_backends.cuda_on_cpu.fake_cupy import Stream

    ops, case = on_cpu.module.OPS, draw("float64", 3, 2, (5,))
    ops.step(*case[:4])
    on_cpu.cupy.stream = second = Stream(7)
    ops.step(*case[:4])
    ops.step(*case[:4])
    assert second.waited_for == [("event", 0)]


@pytest.mark.parametrize("itemsize", [4, 8])
@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_layouts_fit_into_shared_memory(on_cpu, m, itemsize):
    for n in range(1, 65):
        block, group = on_cpu.module.layout(n, m, itemsize)
        rows = (m + n) + 4 * group + (group + 1)
        assert rows * (block + 1) * itemsize <= 48 * 1024
        assert n <= block
        assert 1 <= group <= n


@pytest.mark.parametrize("n", [1, 10, 64])
def test_every_tile_has_one_block(on_cpu, n):
    for d in (1, 128, 129, 131_072, 131_073, 10_000_000):
        blocks, tiles = on_cpu.module.vjp_grid(d, 128, n)
        assert blocks * tiles * 128 >= d
        assert (blocks - 1) * tiles * 128 < d


def test_identity_reads_g_alone(on_cpu):
    case = draw("float64", 3, 1, (5,))
    assert type(case.cell.preprocess) is Identity
    assert on_cpu.module._kind(case.cell) == (on_cpu.module.IDENTITY, 0.0)
