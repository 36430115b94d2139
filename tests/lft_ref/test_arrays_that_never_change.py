"""Entries are set in place, or, where arrays never change, in a copy (JAX's ``a.at[…].set(…)``)."""

from __future__ import annotations

import numpy as np
import pytest

from lft_ref._array import add_to, assign


class Frozen:
    """As much of a JAX array as the two functions see."""

    def __init__(self, values):
        self.values = np.array(values)

    @property
    def at(self):
        return self

    def __getitem__(self, index):
        return Place(self.values, index)


class Place:
    def __init__(self, values, index):
        self.values, self.index = values, index

    def set(self, new):
        copy = self.values.copy()
        copy[self.index] = new
        return Frozen(copy)

    def add(self, more):
        copy = self.values.copy()
        copy[self.index] += more
        return Frozen(copy)


@pytest.mark.parametrize(("function", "want"), [(assign, [1, 9, 9]), (add_to, [1, 11, 12])])
def test_frozen_arrays_are_copied_and_others_changed_in_place(function, want):
    frozen, plain = Frozen([1, 2, 3]), np.asarray([1, 2, 3])
    result = function(frozen, slice(1, None), 9)
    assert result.values.tolist() == want
    assert frozen.values.tolist() == [1, 2, 3]
    assert function(plain, slice(1, None), 9) is plain
    assert plain.tolist() == want
