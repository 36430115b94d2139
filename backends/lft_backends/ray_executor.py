"""Tasks on Ray: a cluster that runs already, or one of this machine's own that is started."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from lft_backends.executors import RETRIES, Choice, Executor
from lft_backends.libraries import Unavailable, import_library, one_line

REMEDY = "pip install 'lft-ref[cluster]'"
OLDEST = "2.35"


def usable() -> Any:
    """Return the library, or say what is wrong with it.

    Raises:
        Unavailable: if Ray is missing, broken or too old.
    """
    return import_library("ray", REMEDY, OLDEST, ("init", "remote"))


def client_usable() -> None:
    """Look for what Ray needs to reach a cluster elsewhere, by ``ray://``.

    Raises:
        Unavailable: if it is missing or broken: ``ray`` alone does not bring it.
    """
    try:
        import_library("grpc", REMEDY)
    except Unavailable as error:
        reason, _, remedy = str(error).rpartition("; ")
        raise Unavailable(f"ray:// needs Ray's client, and {reason}; {remedy}") from error


@contextlib.contextmanager
def connect(choice: Choice) -> Iterator[Executor]:
    """Connect to Ray: ``ray`` is the cluster of RAY_ADDRESS, or else is started on this machine.

    Raises:
        Unavailable: if Ray or its client is missing, broken or too old, or Ray does not answer.
    """
    # Ray would warn that it may hide GPUs from tasks that ask for none: ours ask for none.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray = usable()
    if choice.address:
        client_usable()
    address = f"ray://{choice.address}" if choice.address else None
    where = address or "ray"
    fresh = address is None and "RAY_ADDRESS" not in os.environ
    own = {"log_to_driver": False, "include_dashboard": False} if fresh else {}
    try:
        ray.init(address, logging_level=logging.ERROR, **own)
    except Exception as error:  # Ray raises kinds of its own
        reason = one_line(error)
        port = choice.address.rpartition(":")[2]
        start = f"ray start --head --ray-client-server-port {port}" if port else "ray start --head"
        raise Unavailable(f"{where} does not answer ({reason}); start it with: {start}") from error
    try:
        remote = ray.remote(max_retries=RETRIES)(_call)

        def submit(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
            future: Future[Any] = remote.remote(function, *arguments).future()
            return future

        def trouble(error: BaseException | None) -> str:
            died = (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError)
            if isinstance(error, died):
                return f"one task killed several workers of {where}, perhaps for want of memory"
            gone = (ConnectionError, ray.exceptions.RaySystemError)
            if isinstance(error, gone) or not ray.is_initialized():
                return f"{where} is gone; start it again"
            return ""

        yield Executor(where, int(ray.cluster_resources().get("CPU", 1)), submit, trouble)
    finally:
        with contextlib.suppress(Exception):  # what is lost cannot be told goodbye
            ray.shutdown()


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)
