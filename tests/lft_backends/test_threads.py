"""Work is shared out once, completely, and its errors come back."""

from __future__ import annotations

import threading

import pytest

from lft_backends.threads import VARIABLES, share_out, threads


@pytest.mark.parametrize(("pieces", "count"), [(1, 1), (7, 3), (2, 5), (10, 2)])
def test_every_piece_is_worked_on_once(pieces, count):
    seen, names = [0] * pieces, set()

    def work(first, last):
        names.add(threading.current_thread().name)
        for piece in range(first, last):
            seen[piece] += 1

    share_out(pieces, work, count)
    assert seen == [1] * pieces
    assert threading.current_thread().name in names


def test_an_error_in_another_thread_is_raised_here():
    def work(first, _last):
        if first > 0:
            raise ArithmeticError("piece 1")

    with pytest.raises(ArithmeticError, match="piece 1"):
        share_out(2, work, 2)


def test_the_environment_limits_threads(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    cores = threads()
    assert cores >= 1
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    assert threads() == 1
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    assert threads() == 3
    monkeypatch.setenv("NUMBA_NUM_THREADS", "many")
    assert threads() == 1
