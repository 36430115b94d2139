from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft_ref import LSTMParams, flatten, from_draws, size, unflatten
from lft_ref.params import all_columns, column_blocks, shapes
from tests.helpers import examples

m_and_n = {"m": st.integers(1, 3), "n": st.integers(1, 12)}


@examples(30)
@given(**m_and_n)
def test_size_is_the_sum_of_the_fields_and_the_formula(m, n):
    fields = shapes(m, n)
    assert fields == ((m, 4 * n), (n, 4 * n), (4 * n,), (n,), ())
    assert size(m, n) == sum(math.prod(shape) for shape in fields) == 4 * n * (m + n + 1) + n + 1


def test_phi_of_the_paper_has_531_entries():
    assert size(m=2, n=10) == 531


@pytest.mark.parametrize("batch", [(), (3,), (2, 1)])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 3)])
def test_unflatten_undoes_flatten(batch, m, n):
    flat = np.arange(math.prod(batch) * size(m, n), dtype=float).reshape(*batch, size(m, n))
    params = unflatten(flat, m, n)
    assert [a.shape for a in params] == [(*batch, *shape) for shape in shapes(m, n)]
    np.testing.assert_array_equal(flatten(params), flat)


def test_flatten_goes_through_the_fields_in_order_and_row_by_row():
    params = LSTMParams(
        W_x=np.array([[0.0, 1, 2, 3]]),
        W_h=np.array([[4.0, 5, 6, 7]]),
        b=np.array([8.0, 9, 10, 11]),
        w_o=np.array([12.0]),
        b_o=np.array(13.0),
    )
    assert (params.m, params.n) == (1, 1)
    np.testing.assert_array_equal(flatten(params), np.arange(14.0))


@examples(40)
@given(rows=st.integers(1, 20), **m_and_n)
def test_column_blocks_cut_the_columns_without_gap_or_overlap(rows, m, n):
    blocks = column_blocks(m, n, rows)
    assert sum(block.width(n) for block in blocks) == all_columns(m, n).width(n) == size(m, n)
    assert [block.output for block in blocks] == [False] * (len(blocks) - 1) + [True]
    assert [block.first for block in blocks] == list(range(0, m + n + 1, rows))
    assert [block.last for block in blocks[:-1]] == [block.first for block in blocks[1:]]
    assert all(0 < block.last - block.first <= rows for block in blocks)


def test_draws_become_weights_scaled_by_root_n_and_a_forget_bias():
    m, n = 2, 4
    flat = np.random.default_rng(0).uniform(-1, 1, size(m, n))
    params = from_draws(flat, m, n, forget_bias=1.5)
    drawn = unflatten(flat, m, n)
    for name in ("W_x", "W_h", "w_o"):
        np.testing.assert_allclose(getattr(params, name), getattr(drawn, name) / 2.0, rtol=1e-15)
    np.testing.assert_array_equal(params.b, np.repeat([0.0, 1.5, 0.0, 0.0], n))
    assert params.b_o.shape == ()
    assert params.b_o == 0.0
    np.testing.assert_array_equal(from_draws(flat, m, n).b[n : 2 * n], np.ones(n))
