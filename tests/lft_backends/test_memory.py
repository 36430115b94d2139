"""Memory is used again when nobody holds it any more, and not before."""

from __future__ import annotations

import numpy as np
import pytest

from lft_backends import memory
from lft_backends.memory import SMALL, empty

BYTES = np.dtype("u1")
LARGE = SMALL + 8


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(memory, "_free", {})


def test_an_array_is_like_one_of_numpys():
    a = empty((3, LARGE), np.dtype("f4"))
    assert (a.shape, a.dtype) == ((3, LARGE), np.dtype("f4"))
    assert a.flags.carray


def test_memory_is_not_shared_while_any_view_lives():
    views = [empty((2, LARGE), BYTES).reshape(-1)[5:].reshape((1, -1)).mT for _ in range(3)]
    for number, view in enumerate(views):
        view[:] = number
    for number, view in enumerate(views):
        assert np.all(view == number)


def test_memory_of_what_is_gone_is_used_again_for_the_same_size_only():
    a = empty((LARGE,), BYTES)
    address = a.ctypes.data
    del a
    other, again = empty((LARGE + 1,), BYTES), empty((2, LARGE // 8), np.dtype("f4"))
    assert other.ctypes.data != address
    assert again.ctypes.data == address


def test_small_arrays_are_left_to_numpy():
    a = empty((SMALL,), BYTES)
    assert a.base is None
    del a
    assert not memory._free


def test_no_more_than_a_limit_is_kept(monkeypatch):
    monkeypatch.setattr(memory, "KEPT", 2 * LARGE)
    some = [empty((LARGE,), BYTES) for _ in range(3)]
    some.clear()
    assert sum(map(len, memory._free.values())) == 1  # the third made room for itself
    large = empty((2 * LARGE + 1,), BYTES)
    del large
    assert not memory._free


def test_threads_may_give_memory_back_at_the_same_time(monkeypatch):
    class Counted(list):
        def __len__(self):
            memory._free.setdefault(len(memory._free), [])  # as another thread would meanwhile
            return super().__len__()

    monkeypatch.setattr(memory, "_free", {LARGE + n: Counted() for n in range(3)})
    array = empty((2 * LARGE,), BYTES)
    del array  # what a callback raises is a warning, and warnings are errors
    assert len(memory._free[2 * LARGE]) == 1
