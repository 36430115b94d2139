"""What NVIDIA's driver says of itself, without CuPy: which of its wheels fits this machine."""

from __future__ import annotations

import re
import subprocess
import sys

SECONDS = 5.0  # that a driver is waited for: a broken one may never answer
LIBRARIES = ("libcuda.so.1", "nvcuda.dll")
# Asked in a process of its own, which can be given up. No GPU is needed or woken by this call.
CALL = """
import ctypes
for name in {names!r}:
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        continue
    version = ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(version)) == 0:
        print(f"CUDA Version: {{version.value // 1000}}.{{version.value % 1000 // 10}}")
"""
OLDEST, NEWER = (12, 0), (13, 0)  # CUDA of the two wheels


def driver_cuda() -> tuple[int, int] | None:
    """Return the newest CUDA that the driver serves, such as (12, 4); None if no driver answers.

    The driver's library is asked, then nvidia-smi, each for at most :data:`SECONDS`.
    """
    ask = [sys.executable, "-I", "-S", "-c", CALL.format(names=LIBRARIES)]
    for command in (ask, ["nvidia-smi"]):
        # nvidia-smi writes "CUDA Version: 12.4", and since driver 610 "CUDA UMD Version: 13.3".
        found = re.search(r"CUDA (?:UMD )?Version\s*:\s*(\d+)\.(\d+)", _output(command))
        if found and found[1] != "0":
            return int(found[1]), int(found[2])
    return None


def cupy_remedy(command: str, cuda: tuple[int, int] | None) -> str:
    """Name the extra that fits the driver in a command that names both.

    Args:
        command: ends with ``(or cuda13, to match the driver)`` after ``cuda12``; any other is
            returned as it is.
        cuda: what :func:`driver_cuda` found.

    Example:
        >>> both = "pip install 'lft-ref[cuda12]' (or cuda13, to match the driver)"
        >>> cupy_remedy(both, (12, 4))
        "pip install 'lft-ref[cuda12]'"
        >>> cupy_remedy(both, (13, 0))
        "pip install 'lft-ref[cuda13]' (cuda12 for a GPU older than Turing)"
    """
    one, both, _ = command.partition(" (or cuda13")
    if not both:
        return command
    if cuda is None:
        return f"install the driver on a machine with an NVIDIA GPU, then {command}"
    if cuda < OLDEST:
        return f"update the NVIDIA driver to one for CUDA 12 or newer, then {command}"
    if cuda < NEWER:
        return one
    return one.replace("cuda12", "cuda13") + " (cuda12 for a GPU older than Turing)"


def _output(command: list[str]) -> str:
    """Return what a command prints; nothing if it is not there, fails or takes too long."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""
