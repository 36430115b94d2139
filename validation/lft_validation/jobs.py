"""Independent jobs on several processes: progress, Ctrl-C, and no orphans.

A job is a pure function of its arguments that writes its own folder, so results do not depend on
the number of workers. Each process computes on one BLAS thread, which also fixes the order of sums.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any, NamedTuple

from lft_validation.resources import keep_freed_memory


class Stopped(Exception):
    """The job was asked to stop; it left a checkpoint."""


class Monitor:
    """What a job tells the outside: how much is done; and what it asks: shall I stop?"""

    def __init__(self, index: int, done: Any, stop: Any, parent: int) -> None:
        self._index, self._done, self._stop, self._parent = index, done, stop, parent

    def report(self, done: float) -> None:
        """Say how many units of work are done."""
        self._done[self._index] = done

    def check(self) -> bool:
        """Say whether to stop: asked to, or the parent process is gone."""
        return bool(self._stop.is_set()) or (
            self._parent != os.getpid() and os.getppid() != self._parent
        )


class Job(NamedTuple):
    """A function of its ``args`` and a monitor, and how many units of work it will report."""

    name: str
    function: Callable[..., None]
    args: tuple[Any, ...]
    units: float


_SHARED: list[Any] = []  # set once per worker process by its initializer
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
GRACE_SECONDS = 10.0  # that an orphan has to leave its checkpoint


def _initialise(done: Any, stop: Any, parent: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent decides what they mean
    _SHARED[:] = [done, stop, parent]
    keep_freed_memory()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process some time after its parent: a pool's worker would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(0.5)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


def _work(index: int, job: Job) -> None:
    done, stop, parent = _SHARED
    try:
        job.function(*job.args, Monitor(index, done, stop, parent))
    finally:
        if os.getppid() != parent:
            os._exit(1)


def run_jobs(jobs: Sequence[Job], workers: int, tick: Callable[[Sequence[float]], None]) -> None:
    """Run all jobs; ``tick`` is called a few times a second with the units done by each.

    Raises:
        Stopped: after Ctrl-C or SIGTERM, when every job has left its checkpoint.
    """
    context = multiprocessing.get_context("spawn")
    done = context.Array("d", len(jobs), lock=False)
    stop = context.Event()
    with _stop_on_signal(stop):
        if workers <= 1:
            _run_here(jobs, done, stop, tick)
            return
        # Read by the BLAS libraries when the workers load them, and not later.
        os.environ.update(dict.fromkeys(THREADS, "1"))
        with ProcessPoolExecutor(
            workers, context, initializer=_initialise, initargs=(done, stop, os.getpid())
        ) as pool:
            pending = {pool.submit(_work, index, job) for index, job in enumerate(jobs)}
            _wait(pending, stop, lambda: tick(list(done)))


@contextlib.contextmanager
def _stop_on_signal(stop: Any) -> Iterator[None]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop; a second one ends at once."""

    def ask(number: int, _frame: object) -> None:
        stop.set()
        signal.signal(number, signal.default_int_handler)

    def is_ours(number: int) -> bool:  # a shell's background jobs are told to ignore Ctrl-C
        return signal.getsignal(number) is not signal.SIG_IGN

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM) if is_ours(n)}
    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run_here(jobs: Sequence[Job], done: Any, stop: Any, tick: Callable[..., None]) -> None:
    import scipy.linalg  # noqa: F401 - loads the BLAS that Numba uses, to be limited as well
    from threadpoolctl import threadpool_limits

    class Ticking(Monitor):
        last = 0.0

        def check(self) -> bool:
            if time.monotonic() - self.last > 0.2:
                self.last = time.monotonic()
                tick(list(done))
            return super().check()

    with threadpool_limits(1):
        for index, job in enumerate(jobs):
            job.function(*job.args, Ticking(index, done, stop, os.getpid()))


def _wait(pending: set[Future[None]], stop: Any, tick: Callable[[], None]) -> None:
    """Wait for all futures; on the first failure or request ask the others to stop, then raise."""
    failure: BaseException | None = None
    while pending:
        finished, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
        tick()
        errors = [future.exception() for future in finished if not future.cancelled()]
        for error in errors:
            if error is not None and (failure is None or isinstance(failure, Stopped)):
                failure = error
        if failure is not None or stop.is_set():
            stop.set()
            failure = failure or Stopped()
            for future in pending:
                future.cancel()
    if failure is not None:
        raise failure
