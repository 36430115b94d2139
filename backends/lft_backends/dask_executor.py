"""Tasks on a Dask cluster that runs already: ``--executor dask://HOST:PORT``."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, wait
from typing import Any

from lft_backends.executors import Choice, Executor, check
from lft_backends.libraries import Unavailable, import_library

REMEDY = "pip install 'lft-ref[cluster]'"
OLDEST = "2024.8"
ANSWER_SECONDS, WORKER_SECONDS = 10, 30
GRACE_SECONDS = 3  # that Dask may take to see that it got no answer
LOOK_SECONDS, LOST_SECONDS = 2, 60  # without workers: new ones may be on their way for a while


def usable() -> Any:
    """Return the library, or say what is wrong with it.

    Raises:
        Unavailable: if Dask is missing, broken or too old.
    """
    import_library("dask", REMEDY, OLDEST)
    return import_library("distributed", REMEDY, OLDEST, ("Client", "KilledWorker"))


@contextlib.contextmanager
def connect(choice: Choice) -> Iterator[Executor]:
    """Connect to the scheduler; the cluster runs on afterwards.

    Dask does a task again whose worker died, until it has died on as many workers as its setting
    ``distributed.scheduler.allowed-failures`` says.

    Raises:
        Unavailable: if Dask is missing, broken or too old, or no scheduler or worker answers.
    """
    distributed = usable()
    where = f"dask://{choice.address}"
    _quiet()
    client = _client(distributed, choice.address, where)
    watch = _Watch(client)
    try:
        pool = client.get_executor(pure=False)
        workers = sum(client.nthreads().values())

        def submit(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
            check(executor, None)
            future: Future[Any] = pool.submit(function, *arguments)
            return future

        def trouble(error: BaseException | None) -> str:
            if isinstance(error, distributed.KilledWorker):
                return f"one task killed several workers of {where}, perhaps for want of memory"
            gone = (CancelledError, distributed.comm.CommClosedError)
            if client.status != "running" or isinstance(error, gone):
                return f"the scheduler of {where} is gone; start it again"
            if watch.deserted:
                return (
                    f"the scheduler of {where} has had no workers for {LOST_SECONDS} s; "
                    f"{_start_workers(choice.address)}"
                )
            return ""

        executor = Executor(where, workers, submit, trouble)
        yield executor
    finally:
        watch.end()
        with contextlib.suppress(Exception):  # a lost scheduler cannot be told goodbye
            client.close(timeout=2)


def _quiet() -> None:
    """Leave it to us to say what failed; these libraries give every logger a level of its own."""
    for name in ("asyncio", *logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("asyncio", "distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _client(distributed: Any, address: str, where: str) -> Any:
    client = _connected(distributed, address, where)
    try:
        client.wait_for_workers(1, timeout=WORKER_SECONDS)
    except TimeoutError as error:
        client.close()
        raise Unavailable(
            f"the scheduler of {where} has no workers; {_start_workers(address)}"
        ) from error
    return client


def _connected(distributed: Any, address: str, where: str) -> Any:
    """Return a client, within a deadline of our own: Dask's ends no wait for what says nothing."""
    answer: Future[Any] = Future()

    def ask() -> None:
        try:
            answer.set_result(
                distributed.Client(f"tcp://{address}", timeout=ANSWER_SECONDS, set_as_default=False)
            )
        except BaseException as error:  # noqa: BLE001 - raised where the answer is waited for
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    if not wait([answer], ANSWER_SECONDS + GRACE_SECONDS).done:
        raise Unavailable(
            f"what listens at {where} does not answer as a Dask scheduler does; give the host and "
            "port of a scheduler (usually 8786; 8787 is its dashboard), or start one with: "
            "dask scheduler"
        )
    try:
        return answer.result()
    except (OSError, TimeoutError) as error:
        port = address.rpartition(":")[2]
        raise Unavailable(
            f"no Dask scheduler answers at {where}; start one with: dask scheduler --port {port}"
        ) from error


def _start_workers(address: str) -> str:
    return f"start one on each machine with: dask worker --nthreads 1 tcp://{address}"


class _Watch:
    """Asks a scheduler now and then for its workers, in a thread: it may take long to answer."""

    def __init__(self, client: Any) -> None:
        self._client, self._over = client, threading.Event()
        self._without: float | None = None  # since when the cluster has had no workers
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            with contextlib.suppress(Exception):  # whether the scheduler is there, others ask
                if self._client.nthreads():
                    self._without = None
                elif self._without is None:
                    self._without = time.monotonic()

    @property
    def deserted(self) -> bool:
        """Whether there have been no workers for so long that none will come by themselves."""
        since = self._without
        return since is not None and time.monotonic() - since > LOST_SECONDS

    def end(self) -> None:
        """Ask no more."""
        self._over.set()
