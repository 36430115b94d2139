"""What this machine is, and what it could do at best: multiply-adds and copies in a second."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lft_ref
from lft_backends.backend import get_backend
from lft_backends.threads import VARIABLES, cores

PACKAGES = ("numpy", "numba", "scipy", "jax", "jaxlib", "torch", "cupy-cuda12x", "cupy-cuda13x")
SIDE = 1024  # of the square matrices that are multiplied; eight times that on a GPU
COPIED = 2**26  # bytes, more than a cache holds; sixteen times that on a GPU
STEP_WORDS = 12  # numbers a coordinate and step reads or writes beside its state: θ, g, bars, data


class Limits(NamedTuple):
    """Measured, the best of several tries."""

    flops: float  # a second, of a matrix product
    bandwidth: float  # bytes read plus bytes written a second, of a copy


def facts(threads: int) -> dict[str, Any]:
    """Name the machine and the versions of what is compared."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return {
        "processor": _processor(),
        "system": platform.platform(),
        "cores": cores(),
        "threads": threads,
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "versions": {"python": platform.python_version(), "lft-ref": lft_ref.__version__} | found,
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def limits(dtype: str, seconds: float = 1.0, device: str = "cpu") -> Limits:
    """Multiply matrices and copy memory for about so many seconds each, where all compute.

    Raises:
        BackendUnavailable: if there is no GPU to do it on.
    """
    backend = get_backend("numpy" if device == "cpu" else "cupy", dtype)
    side, copied = (SIDE, COPIED) if device == "cpu" else (8 * SIDE, 16 * COPIED)
    a, b = (backend.asarray(np.full((side, side), x)) for x in (0.5, 0.25))
    c, source = backend.xp.empty_like(a), backend.xp.ones(copied // a.itemsize, dtype=a.dtype)
    target = backend.xp.empty_like(source)

    def multiply() -> None:
        backend.xp.matmul(a, b, out=c)
        backend.synchronize()

    def move() -> None:
        target[...] = source
        backend.synchronize()

    return Limits(2.0 * side**3 / _best(multiply, seconds), 2.0 * copied / _best(move, seconds))


def _best(run: Callable[[], object], seconds: float) -> float:
    run()
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < 5 or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def floor_seconds(found: Limits, m: int, n: int, itemsize: int) -> tuple[float, float]:
    """The least time of one coordinate and step: arithmetic at the peak, traffic at a copy's rate.

    Matrix products only, as the adjoint needs them: z = W (x, h, 1) on the way there and again on
    the way back, Φ̄, and the cotangents of (x, h). Traffic: h and c written and read on the way
    there, read on the way back, and their cotangents read and written.
    """
    rows = n + m + 1
    products = 4 * n * (3 * rows + n + m)
    words = 10 * n + STEP_WORDS
    return 2.0 * products / found.flops, words * itemsize / found.bandwidth


@contextlib.contextmanager
def at_most(threads: int) -> Iterator[None]:
    """Give this process so many cores, and every library as many threads.

    Binding the process to cores is the one limit that all libraries know; where the system has no
    such thing, JAX takes what it wants. PyTorch reads the environment when it is loaded.
    """
    import scipy.linalg  # noqa: F401 - loads the BLAS that Numba uses, to be limited as well
    from threadpoolctl import threadpool_limits

    names = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update(dict.fromkeys(names, str(threads)))
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if before is not None:
        os.sched_setaffinity(0, sorted(before)[:threads])
    try:
        with threadpool_limits(threads):
            yield
    finally:
        if before is not None:
            os.sched_setaffinity(0, before)
        for name, value in names.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
