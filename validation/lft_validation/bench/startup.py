"""How long a user waits: for an import, for help, and for the fused backend's first use."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

NUMBA_ONCE = """
import numpy as np
from lft_backends.backend import get_backend
from lft_validation.bench.problems import quadratic
from lft_validation.bench.ours import unroll
unroll("", quadratic(8, K=2), get_backend("numba", "{dtype}"), "adjoint").run()
"""
PROGRAMS = {
    "python": "pass",
    "import lft_ref": "import lft_ref",
    "lft --help": "from lft_validation.cli import main; main(['--help'])",
}


class Start(NamedTuple):
    """Seconds of one program, start to end: the fastest of some, so that files are in memory."""

    name: str  # and why it did not run, if it did not
    wall: float | None
    cpu: float | None


def startup(dtype: str, repeats: int = 5) -> list[Start]:
    """Measure each program in a process of its own, and the kernels' compilation in a new cache."""
    found = [_fastest(name, code, {}, repeats) for name, code in PROGRAMS.items()]
    with tempfile.TemporaryDirectory() as folder:
        cache = {"NUMBA_CACHE_DIR": folder}
        code = NUMBA_ONCE.format(dtype=dtype)
        found.append(_fastest(f"fused backend, first use ({dtype})", code, cache, 1))
        found.append(_fastest(f"fused backend, afterwards ({dtype})", code, cache, repeats))
    return found


def _fastest(name: str, code: str, extra: dict[str, str], repeats: int) -> Start:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | extra
    tries = []
    for _ in range(repeats):
        wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        wall, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return Start(f"{name}: {last.rpartition('Unavailable: ')[2]}", None, None)
        cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        tries.append((wall, cpu))
    return Start(name, *min(tries))
