"""Results in the order asked for; killed workers are replaced, and what they left is done again."""

from __future__ import annotations

import os
import signal
from collections import Counter
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from pathlib import Path

import pytest

from lft_backends.executors import RETRIES, Choice, Executor, Lost, open_executor, results


def _square(x: int) -> int:
    return x * x


def _die_once(x: int, flag: Path) -> int:
    if x == 1 and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def _die(x: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _late(x: int) -> None:
    raise TimeoutError("the task's own")


def test_results_come_in_the_order_asked_for_and_a_killed_worker_is_replaced(tmp_path):
    with open_executor(Choice("processes", 2)) as executor:
        items = [(x, tmp_path / "flag") for x in range(4)]
        assert list(results(executor, _die_once, items)) == [0, 1, 4, 9]
        assert (tmp_path / "flag").exists()
        assert list(results(executor, _square, [(5,), (6,)])) == [25, 36]


def test_a_task_that_kills_every_worker_is_given_up():
    with (
        open_executor(Choice("processes", 1)) as executor,
        pytest.raises(Lost, match="killed 4 times, perhaps for want of memory"),
    ):
        list(results(executor, _die, [(0,)]))


def test_after_a_death_all_that_is_unfinished_starts_at_once_and_is_cancelled_at_the_end():
    submitted = []

    def submit(_, x):
        future = Future()
        submitted.append((x, future))
        if x == 0 or (x, len(submitted)) == (1, 5):
            future.set_result(x)
        elif len(submitted) <= 4:
            future.set_exception(BrokenProcessPool())
        return future

    found = results(Executor("one", 1, submit, lambda _: ""), _square, [(x,) for x in range(4)])
    assert [next(found), next(found)] == [0, 1]
    assert [x for x, _ in submitted] == [0, 1, 2, 3, 1, 2, 3]
    found.close()
    assert all(future.cancelled() for _, future in submitted[5:])


@pytest.mark.parametrize("deaths", [RETRIES, RETRIES + 1])
def test_each_task_has_retries_of_its_own(deaths):
    times = Counter()

    def submit(function, x):
        future = Future()
        times[x] += 1
        if times[x] > deaths * (x + 1):  # as many deaths with each task at the front
            future.set_result(function(x))
        else:
            future.set_exception(BrokenProcessPool())
        return future

    executor = Executor("one", 1, submit, lambda error: "killed" * (error is not None))
    with pytest.raises(Lost, match="killed") if deaths > RETRIES else nullcontext():
        assert list(results(executor, _square, [(x,) for x in range(3)])) == [0, 1, 4]


def test_a_tasks_own_error_comes_through():
    with (
        open_executor(Choice("processes", 1)) as executor,
        pytest.raises(TimeoutError, match="the task's own"),
    ):
        list(results(executor, _late, [(0,)]))
