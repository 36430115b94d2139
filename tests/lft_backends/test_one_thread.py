"""One BLAS thread while anybody computes, whoever leaves first, and as before afterwards."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np  # noqa: F401 - loads its BLAS
import pytest
import scipy.linalg  # noqa: F401 - and another
from threadpoolctl import ThreadpoolController, threadpool_limits

from lft_backends.executors import _Holders, one_thread

SECONDS = 60  # far more than anybody waits here


def blas() -> set[int]:
    """How many threads each BLAS of this process has, once each."""
    return {one["num_threads"] for one in ThreadpoolController().select(user_api="blas").info()}


@pytest.fixture
def two_threads():
    """A process whose BLAS has two threads, set by another thread than those that compute."""
    with threadpool_limits(2, user_api="blas"):
        if blas() != {2}:
            pytest.skip("this BLAS cannot be told to use two threads")
        yield


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("first", ["leaves first", "leaves last"])
def test_nobody_who_leaves_gives_threads_to_who_is_still_inside(first):
    inside, leave, seen = threading.Event(), threading.Event(), {}

    def early():
        with one_thread():
            inside.set()
            assert leave.wait(SECONDS)
            seen["early"] = blas()

    def late():
        assert inside.wait(SECONDS)
        with one_thread():
            if first == "leaves first":
                leave.set()
                other.result(SECONDS)
            seen["late"] = blas()
        seen["between"] = blas()
        leave.set()

    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(early)
        pool.submit(late).result(SECONDS)
        other.result(SECONDS)
    between = {2} if first == "leaves first" else {1}
    assert seen == {"early": {1}, "late": {1}, "between": between}
    assert blas() == {2}


@pytest.mark.usefixtures("two_threads")
def test_one_within_another_changes_nothing_and_an_error_leaves_too():
    with one_thread(), one_thread():
        assert blas() == {1}
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert blas() == {2}


@pytest.mark.usefixtures("two_threads")
def test_many_at_once_end_with_what_was_before():
    together = threading.Barrier(4)

    def work(_):
        together.wait(SECONDS)
        found = set()
        for _ in range(5):
            with one_thread():
                found |= blas()
        return found

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [{1}] * 4
    assert blas() == {2}


class _Libraries:
    """Stands for the BLAS libraries that are loaded."""

    def __init__(self, **threads):
        self.threads = threads

    def info(self):
        return [{"num_threads": n} for n in self.threads.values()]

    def limit(self, limits):
        before, self.threads = self.threads, dict.fromkeys(self.threads, limits)
        return _Limit(self, before)


class _Limit:
    def __init__(self, libraries, before):
        self.libraries, self.before = libraries, before

    def restore_original_limits(self):
        self.libraries.threads |= self.before


def test_a_library_that_is_loaded_meanwhile_is_limited_and_restored_as_well():
    holders, libraries = _Holders(), _Libraries(numpy=4)
    holders.enter(libraries)
    libraries.threads["scipy"] = 3
    holders.enter(libraries)
    assert libraries.threads == {"numpy": 1, "scipy": 1}
    holders.leave()
    assert libraries.threads == {"numpy": 1, "scipy": 1}
    holders.leave()
    assert libraries.threads == {"numpy": 4, "scipy": 3}
