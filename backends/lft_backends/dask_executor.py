"""Tasks on a Dask cluster that runs already: ``--executor dask://HOST:PORT``."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

from lft_backends.executors import Choice, Executor, check
from lft_backends.libraries import Unavailable, import_library

REMEDY = "pip install 'lft-ref[cluster]'"
OLDEST = "2024.8"
ANSWER_SECONDS, WORKER_SECONDS = 10, 30


def usable() -> Any:
    """Return the library, or say what is wrong with it.

    Raises:
        Unavailable: if Dask is missing, broken or too old.
    """
    import_library("dask", REMEDY, OLDEST)
    return import_library("distributed", REMEDY, OLDEST)


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
            return ""

        executor = Executor(where, workers, submit, trouble)
        yield executor
    finally:
        with contextlib.suppress(Exception):  # a lost scheduler cannot be told goodbye
            client.close(timeout=2)


def _quiet() -> None:
    """Leave it to us to say what failed; these libraries give every logger a level of its own."""
    for name in ("asyncio", *logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("asyncio", "distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _client(distributed: Any, address: str, where: str) -> Any:
    try:
        client = distributed.Client(
            f"tcp://{address}", timeout=ANSWER_SECONDS, set_as_default=False
        )
    except (OSError, TimeoutError) as error:
        port = address.rpartition(":")[2]
        raise Unavailable(
            f"no Dask scheduler answers at {where}; start one with: dask scheduler --port {port}"
        ) from error
    try:
        client.wait_for_workers(1, timeout=WORKER_SECONDS)
    except TimeoutError as error:
        client.close()
        raise Unavailable(
            f"the scheduler of {where} has no workers; start one on each machine with: "
            f"dask worker --nthreads 1 tcp://{address}"
        ) from error
    return client
