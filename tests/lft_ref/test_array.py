"""Arrays that change in place, and those that never do."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from lft_ref._array import add_to, assign


class Unchanging:
    """An array as JAX has it: ``a.at[index].set(values)`` gives another one."""

    def __init__(self, values):
        self.values = np.asarray(values)
        self.values.flags.writeable = False

    @property
    def at(self):
        return self

    def __getitem__(self, index):
        def changed(function):
            copy = self.values.copy()
            function(copy)
            return Unchanging(copy)

        return SimpleNamespace(
            set=lambda v: changed(lambda a: a.__setitem__(index, v)),
            add=lambda v: changed(lambda a: a.__setitem__(index, a[index] + v)),
        )


@pytest.mark.parametrize(
    ("function", "want"), [(assign, [1.0, 7.0, 8.0, 4.0]), (add_to, [1.0, 9.0, 11.0, 4.0])]
)
def test_part_of_an_array_is_changed_in_place_or_in_another_array(function, want):
    start, part = np.asarray([1.0, 2.0, 3.0, 4.0]), (slice(1, 3),)
    in_place = start.copy()
    assert function(in_place, part, np.asarray([7.0, 8.0])) is in_place
    np.testing.assert_array_equal(in_place, want)
    unchanging = Unchanging(start)
    np.testing.assert_array_equal(function(unchanging, part, np.asarray([7.0, 8.0])).values, want)
    np.testing.assert_array_equal(unchanging.values, start)
