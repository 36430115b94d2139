"""Where work is done: in this process, in several processes, on a Dask cluster or on Ray.

An executor runs pure functions of plain settings, keyed draws and host arrays, and what they return
is used in the order in which it was asked for. So results have the same bits on every executor, for
any number of workers, and whichever worker did what: each computes on one BLAS thread, which fixes
the order of sums there. A task whose worker died is done again elsewhere.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

RETRIES = 3  # times that a task is done again after its worker died
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
GRACE_SECONDS = 10.0  # that an orphan has to leave its checkpoint
FORMS = "local, processes:N, dask://HOST:PORT, ray or ray://HOST:PORT"


class Lost(RuntimeError):
    """Work cannot go on: the scheduler is gone, or tasks kill every worker; one sentence."""


class Choice(NamedTuple):
    """What ``--executor`` says."""

    kind: str  # local, processes, dask or ray
    workers: int = 1  # of processes
    address: str = ""  # of a cluster

    @property
    def is_cluster(self) -> bool:
        """Whether workers may be on other machines, which do not see this one's files."""
        return self.kind in ("dask", "ray")


class Executor(NamedTuple):
    """Runs functions elsewhere; both must be picklable, and so must what they return."""

    describe: str  # for messages
    workers: int
    submit: Callable[..., Future[Any]]
    trouble: Callable[[BaseException | None], str]  # of a failed task, or now; empty if none


def parse(text: str) -> Choice:
    """Read the value of ``--executor``.

    Raises:
        ValueError: if it is none of the known forms.

    Example:
        >>> parse("processes:4").workers, parse("dask://node1:8786").address
        (4, 'node1:8786')
    """
    kind, slashes, address = text.partition("://")
    if kind in ("dask", "ray") and slashes:
        host, colon, port = address.rpartition(":")
        if colon and host and port.isdecimal() and 0 < int(port) < 65536:
            return Choice(kind, address=address)
        raise ValueError(
            f"--executor {kind}:// needs a host and a port, such as {kind}://node1:"
            f"{8786 if kind == 'dask' else 10001}, found {text!r}"
        )
    if text in ("local", "ray"):
        return Choice(text)
    name, _, count = text.partition(":")
    if name == "processes":
        if count.isdecimal() and int(count) > 0:
            return Choice("processes", int(count))
        raise ValueError(f"--executor processes:N needs N of at least 1, found {text!r}")
    raise ValueError(f"--executor must be {FORMS}, found {text!r}")


@contextlib.contextmanager
def open_executor(choice: Choice) -> Iterator[Executor]:
    """Start the processes, or connect to the cluster; end or leave them afterwards.

    Raises:
        Unavailable: if a library is missing, broken or too old, or the cluster does not answer.
    """
    if choice.kind == "dask":
        from lft_backends.dask_executor import connect as opened
    elif choice.kind == "ray":
        from lft_backends.ray_executor import connect as opened
    else:
        opened = _processes
    with opened(choice) as executor:
        yield executor


def results(
    executor: Executor, function: Callable[..., Any], items: Sequence[tuple[Any, ...]]
) -> Iterator[Any]:
    """Yield ``function(*item)`` for every item, in the order of the items.

    Raises:
        Lost: if the scheduler is gone, or a task's worker died more than :data:`RETRIES` times.
    """
    futures = [executor.submit(function, *item) for item in items]
    try:
        for i in range(len(items)):
            left = RETRIES
            while (error := _killed(executor, futures[i])) is not None:
                if not left:
                    check(executor, error)
                left -= 1
                futures[i] = executor.submit(function, *items[i])  # the others have failed by then
                for j in range(i + 1, len(items)):
                    if _is_lost(futures[j]):
                        futures[j] = executor.submit(function, *items[j])
            yield futures[i].result()
    finally:
        for future in futures:
            future.cancel()


def _killed(executor: Executor, future: Future[Any]) -> BrokenProcessPool | None:
    """Wait for a task; return the error if a worker died, perhaps that of another task."""
    while not wait([future], timeout=0.5).done:
        check(executor, None)
    try:
        future.result()
    except BrokenProcessPool as error:
        return error
    except BaseException as error:  # CancelledError is none of Exception's
        check(executor, error)
        raise
    return None


def _is_lost(future: Future[Any]) -> bool:
    ended = future.done() and not future.cancelled()
    return ended and isinstance(future.exception(), BrokenProcessPool)


def check(executor: Executor, error: BaseException | None) -> None:
    """Raise :class:`Lost` if the executor cannot go on, or if that is what an error means."""
    trouble = executor.trouble(error)
    if trouble:
        raise Lost(trouble) from error


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one BLAS thread, which fixes the order of sums.

    The number of BLAS threads is the process's: while anybody is inside, in whichever thread, it
    stays at one, and the last to leave restores what was before the first came.
    """
    import scipy.linalg  # noqa: F401 - loads the BLAS that Numba uses, to be limited as well
    from threadpoolctl import ThreadpoolController

    controller = ThreadpoolController()
    # OpenMP keeps the number for each thread, so each thread limits and restores its own.
    with controller.select(user_api="openmp").limit(limits=1):
        _HOLDERS.enter(controller.select(user_api="blas"))
        try:
            yield
        finally:
            _HOLDERS.leave()


class _Holders:
    """Counts who computes on one BLAS thread in this process."""

    def __init__(self) -> None:
        self._lock, self._count, self._limits = threading.Lock(), 0, list[Any]()

    def enter(self, libraries: Any) -> None:
        """Limit the libraries, or what of them was loaded since somebody else did."""
        with self._lock:
            several = (one["num_threads"] not in (1, None) for one in libraries.info())
            if not self._count or any(several):
                _let_this_thread_set()
                self._limits.append(libraries.limit(limits=1))
            self._count += 1

    def leave(self) -> None:
        """Restore what was before, if nobody is left inside: the first limit's comes last."""
        with self._lock:
            self._count -= 1
            if self._count:
                return
            _let_this_thread_set()
            while self._limits:
                self._limits.pop().restore_original_limits()
            _let_this_thread_set()  # and any other, from now on


def _let_this_thread_set() -> None:
    """Take OpenBLAS from the thread that set it last: threadpoolctl ignores all others, if new."""
    from threadpoolctl import OpenBLASController

    if hasattr(OpenBLASController, "clear_controlling_thread"):
        OpenBLASController.clear_controlling_thread(force=True)


_HOLDERS = _Holders()


def process_pool(
    workers: int, prepare: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> ProcessPoolExecutor:
    """Return fresh processes of one BLAS thread each, which leave Ctrl-C to their parent.

    Args:
        workers: how many.
        prepare: called in each process before its first task.
        arguments: of ``prepare``.
    """
    # Read by the BLAS libraries when the workers load them, and not later.
    os.environ.update(dict.fromkeys(THREADS, "1"))
    context = multiprocessing.get_context("spawn")
    initial = (os.getpid(), prepare, arguments)
    return _Pool(workers, context, initializer=_initialise, initargs=initial)


class _Pool(ProcessPoolExecutor):
    """Starts its processes with Ctrl-C blocked: one that is still importing must not see it."""

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit a call; the first one starts the processes, which inherit what is blocked."""
        with _blocked_interrupts():
            return super().submit(*args, **kwargs)


@contextlib.contextmanager
def _blocked_interrupts() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until the end of the block."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def kill_workers(pool: ProcessPoolExecutor) -> None:
    """Kill what is left of a broken pool: it may wait for a lock that the killed worker held."""
    for process in list((pool._processes or {}).values()):
        process.kill()


def _initialise(
    parent: int, prepare: Callable[..., None] | None, arguments: tuple[Any, ...]
) -> None:
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)  # the parent decides what they mean
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTS)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if prepare is not None:
        prepare(*arguments)


def _end_with(parent: int) -> None:
    """End this process some time after its parent: a pool's worker would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(0.5)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


@contextlib.contextmanager
def _processes(choice: Choice) -> Iterator[Executor]:
    pool = process_pool(choice.workers)

    def submit(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        nonlocal pool
        try:
            return pool.submit(function, *arguments)
        except BrokenProcessPool:  # a worker was killed, and the others ended with it
            kill_workers(pool)
            pool.shutdown()
            pool = process_pool(choice.workers)
            return pool.submit(function, *arguments)

    def trouble(error: BaseException | None) -> str:
        if not isinstance(error, BrokenProcessPool):
            return ""
        return f"a worker process was killed {RETRIES + 1} times, perhaps for want of memory"

    try:
        yield Executor(f"{choice.workers} processes", choice.workers, submit, trouble)
    finally:
        pool.shutdown(cancel_futures=True)
