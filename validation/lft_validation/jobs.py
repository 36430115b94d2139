"""Independent jobs, here, on several processes or on a cluster: progress, Ctrl-C, no orphans.

A job is a pure function of its arguments and of the files that it left before, so results do not
depend on where it runs, on the number of workers, or on how often it was stopped and gone on with.
Each worker computes on one BLAS thread, which also fixes the order of sums.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any, NamedTuple

from lft_backends.executors import (
    RETRIES,
    Choice,
    Executor,
    kill_workers,
    one_thread,
    open_executor,
    process_pool,
    results,
)
from lft_backends.threads import cores
from lft_validation.errors import JobFailed
from lft_validation.resources import keep_freed_memory
from lft_validation.stopping import Flag, Stopped, stop_on_signal

if TYPE_CHECKING:
    from lft_validation.in_common import InCommon

Map = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Iterator[Any]]


class Plan(NamedTuple):
    """Where work is done, and what is sent there."""

    executor: Choice | None = None  # None for as many processes as there are cores
    share: str = "jobs"  # whole jobs, or the tasks of one job after the other

    def fit(self, jobs: int) -> Plan:
        """Settle the number of processes: no more than there are jobs to share."""
        choice = self.executor or Choice("processes", cores())
        if choice.kind == "processes" and self.share == "jobs":
            choice = choice._replace(workers=min(choice.workers, jobs))
        if choice.kind == "processes" and choice.workers == 1:
            choice = Choice("local")
        return self._replace(executor=choice)

    @property
    def choice(self) -> Choice:
        """The executor of a plan that :meth:`fit` has settled."""
        return self.executor or Choice("local")

    @property
    def processes(self) -> int:
        """How many processes compute on this machine; what a cluster has is its own affair."""
        return self.choice.workers if self.choice.kind == "processes" else 1

    def describe(self) -> str:
        """Return words for the log, such as ``processes 2``."""
        kind, workers, address = self.choice
        where = f"{kind}://{address}" if address else kind if workers == 1 else f"{kind} {workers}"
        return where if self.share == "jobs" else f"{where}, tasks of one job at a time"


ALL_CORES = Plan()


def map_here(function: Callable[..., Any], items: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
    """Yield ``function(*item)`` for every item, one after the other."""
    return (function(*item) for item in items)


class Monitor:
    """What a job tells the outside: how much is done; and what it asks: shall I stop?"""

    map: Map = staticmethod(map_here)  # what a job asks others to do for it

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
    """A function of its ``args`` and a monitor, and how many units of work it will report.

    The first path among ``args`` is the folder of all jobs; a job keeps to its own in there, which
    has its name.
    """

    name: str
    function: Callable[..., None]
    args: tuple[Any, ...]
    units: float


_SHARED: list[Any] = []  # set once per worker process by its initializer


def _share(done: Any, stop: Any, parent: int) -> None:
    _SHARED[:] = [done, stop, parent]
    keep_freed_memory()


def _work(index: int, job: Job) -> None:
    done, stop, parent = _SHARED
    try:
        job.function(*job.args, Monitor(index, done, stop, parent))
    finally:
        if os.getppid() != parent:
            os._exit(1)


@contextlib.contextmanager
def opened(plan: Plan) -> Iterator[Executor | None]:
    """Connect to what work is sent to; None where no job leaves this machine's own processes.

    Raises:
        Unavailable: if a library is missing, broken or too old, or a cluster does not answer.
    """
    choice = plan.choice
    if choice.kind == "local" or (choice.kind == "processes" and plan.share == "jobs"):
        yield None
        return
    with open_executor(choice) as executor:
        yield executor


def run_jobs(
    jobs: Sequence[Job],
    plan: Plan,
    tick: Callable[[Sequence[float]], None],
    executor: Executor | None = None,
    common: InCommon | None = None,
) -> None:
    """Run all jobs; ``tick`` is called a few times a second with the units done by each.

    Args:
        jobs: what is to be done.
        plan: where.
        tick: shows progress.
        executor: what :func:`opened` gave for the plan.
        common: what a cluster's workers must have too; None for the versions alone.

    Raises:
        Stopped: after Ctrl-C or SIGTERM, when every job has left its checkpoint.
        JobFailed: of the first job that could not go on, when all others are finished.
        BrokenProcessPool: if worker processes are killed again and again.
        Lost: if a cluster cannot go on; checkpoints are left.
    """
    context = multiprocessing.get_context("spawn")
    done, stop = context.Array("d", len(jobs), lock=False), Flag(context)
    with stop_on_signal(stop):
        if executor is not None and plan.share == "tasks":
            share: Map = functools.partial(results, executor)
            if plan.choice.is_cluster:
                from lft_validation.slices import checked

                share = functools.partial(checked, results, executor, common)
            _run_here(jobs, done, stop, tick, share)
        elif executor is not None:
            from lft_validation.slices import run_slices

            run_slices(jobs, executor, common, done, stop, lambda: tick(list(done)))
        elif plan.choice.kind == "processes":
            _run_in_processes(jobs, plan.choice.workers, done, stop, lambda: tick(list(done)))
        else:
            _run_here(jobs, done, stop, tick, map_here)


def _run_in_processes(
    jobs: Sequence[Job], workers: int, done: Any, stop: Any, tick: Callable[[], None]
) -> None:
    """Run jobs in processes; after one was killed, fresh ones go on with what is not done."""
    left = dict(enumerate(jobs))
    for attempt in range(RETRIES + 1):
        with process_pool(workers, _share, (done, stop, os.getpid())) as pool:
            futures = {pool.submit(_work, index, job): index for index, job in left.items()}
            try:
                _wait(set(futures), stop, tick)
                return
            except BrokenProcessPool:
                kill_workers(pool)  # no two processes shall work in one folder
                if attempt == RETRIES:
                    raise
        if stop.is_set():
            raise Stopped
        left = {i: jobs[i] for future, i in futures.items() if not _is_right(future)}


def _is_right(future: Future[None]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _run_here(
    jobs: Sequence[Job], done: Any, stop: Any, tick: Callable[..., None], mapped: Map
) -> None:
    class Ticking(Monitor):
        map = staticmethod(mapped)
        last = 0.0

        def check(self) -> bool:
            if time.monotonic() - self.last > 0.2:
                self.last = time.monotonic()
                tick(list(done))
            return super().check()

    with one_thread():
        failed: JobFailed | None = None
        for index, job in enumerate(jobs):
            try:
                job.function(*job.args, Ticking(index, done, stop, os.getpid()))
            except JobFailed as error:
                failed = failed or error
        if failed is not None:
            raise failed


def _wait(pending: set[Future[None]], stop: Any, tick: Callable[[], None]) -> None:
    """Wait for all futures; on the first failure or request ask the others to stop, then raise.

    A job that failed alone stops no other.
    """
    failure: BaseException | None = None
    alone: JobFailed | None = None
    while pending:
        finished, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
        tick()
        errors = [future.exception() for future in finished if not future.cancelled()]
        for error in errors:
            if isinstance(error, JobFailed):
                alone = alone or error
            elif error is not None and (failure is None or isinstance(failure, Stopped)):
                failure = error
        if isinstance(failure, BrokenProcessPool):
            break
        if failure is not None or stop.is_set():
            stop.set()
            failure = failure or Stopped()
            for future in pending:
                future.cancel()
    if (told := failure or alone) is not None:
        raise told
