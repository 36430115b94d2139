"""What contestants on one GPU share: its memory, and what a profiler shows of it."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator

PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"
RANGE = "lft unroll"  # docs/gpu.md asks a profiler for it by this name


@contextlib.contextmanager
def shared(device: str) -> Iterator[None]:
    """Keep JAX, if it first uses the GPU in here, from taking three quarters of its memory at once.

    What the user has set holds.
    """
    if device == "cpu" or PREALLOCATE in os.environ:
        yield
        return
    os.environ[PREALLOCATE] = "false"
    try:
        yield
    finally:
        os.environ.pop(PREALLOCATE, None)


def release() -> None:
    """Give back what CuPy and PyTorch keep for their next arrays; JAX has no call for that."""
    gc.collect()
    cupy, torch = (sys.modules.get(name) for name in ("cupy", "torch"))
    if cupy is not None:
        with contextlib.suppress(RuntimeError):  # a CuPy without a GPU has nothing to give back
            cupy.get_default_memory_pool().free_all_blocks()
    if torch is not None:
        torch.cuda.empty_cache()


def marked(backend: str) -> contextlib.AbstractContextManager[object]:
    """Return the range of one unroll for a profiler: what CuPy sends, but not the wait for it."""
    if backend != "cupy":
        return contextlib.nullcontext()
    from cupyx.profiler import time_range

    try:
        mark: contextlib.AbstractContextManager[object] = time_range(RANGE)
    except RuntimeError:  # a CuPy that was built without NVTX
        return contextlib.nullcontext()
    return mark
