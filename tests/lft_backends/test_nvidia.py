"""The driver is asked which CUDA it serves, from outside, and not for long."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from lft_backends import nvidia
from lft_backends.nvidia import cupy_remedy, driver_cuda
from tests.lft_backends.cuda_on_cpu.fake_cupy import GXX

ENVIRONMENT = dict(os.environ)  # with a PATH on which g++ finds its parts

BEFORE_610 = """
| NVIDIA-SMI 550.54.15              Driver Version: 550.54.15      CUDA Version: 12.4     |
"""
SINCE_610 = """
| NVIDIA-SMI 610.43.02              KMD Version: 610.43.02     CUDA UMD Version: 13.3     |
"""
NO_CUDA = """
| NVIDIA-SMI 610.43.02              KMD Version: 610.43.02     CUDA UMD Version: N/A      |
"""
BOTH = "pip install 'lft-ref[cuda12]' (or cuda13, to match the driver)"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with nothing of NVIDIA's; returns what puts an nvidia-smi there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(nvidia, "LIBRARIES", ("libcuda-of-nobody.so.1",))

    def plant(text: str, code: int = 0, seconds: float = 0.0) -> None:
        script = tmp_path / "nvidia-smi"
        script.write_text(
            f"#!{sys.executable}\nimport sys, time\ntime.sleep({seconds})\n"
            f"print({text!r}, flush=True)\nsys.exit({code})\n"
        )
        script.chmod(0o755)

    return plant


def test_without_a_driver_there_is_no_answer(machine):
    assert driver_cuda() is None


@pytest.mark.parametrize(
    ("text", "code", "cuda"),
    [
        (BEFORE_610, 0, (12, 4)),
        (SINCE_610, 0, (13, 3)),
        (NO_CUDA, 0, None),
        ("", 0, None),
        (BEFORE_610, 9, None),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", 9, None),
    ],
)
def test_nvidia_smi_is_read_in_both_of_its_forms(machine, text, code, cuda):
    machine(text, code)
    assert driver_cuda() == cuda


def test_a_driver_that_hangs_is_given_up(machine, monkeypatch):
    machine(BEFORE_610, seconds=60.0)
    monkeypatch.setattr(nvidia, "SECONDS", 0.5)
    start = time.monotonic()
    assert driver_cuda() is None
    assert time.monotonic() - start < 30.0


@pytest.mark.skipif(GXX is None, reason="g++ is not installed")
@pytest.mark.parametrize(
    ("body", "cuda"),
    [
        ("*version = 12040; return 0;", (12, 4)),
        ("*version = 13000; return 0;", (13, 0)),
        ("*version = 0; return 0;", None),  # a stub without a driver
        ("return 34;", None),
        ("for (;;) {}", None),
        ("*(volatile int*)0 = 1; return 0;", None),  # even a crash is the other process's
    ],
)
def test_the_drivers_own_library_is_asked_first(machine, monkeypatch, tmp_path, body, cuda):
    source, library = tmp_path / "driver.cpp", tmp_path / "libcuda-planted.so"
    source.write_text(f'extern "C" int cuDriverGetVersion(int *version) {{ {body} }}')
    command = [str(GXX), "-w", "-shared", "-fPIC", "-o", str(library), str(source)]
    subprocess.run(command, check=True, env=ENVIRONMENT)
    monkeypatch.setattr(nvidia, "LIBRARIES", (str(library),))
    monkeypatch.setattr(nvidia, "SECONDS", 0.5 if "for" in body else 30.0)
    assert driver_cuda() == cuda
    machine(SINCE_610)
    assert driver_cuda() == (cuda or (13, 3))


@pytest.mark.parametrize(
    ("cuda", "start", "end"),
    [
        ((12, 0), "pip install 'lft-ref[cuda12]'", "'lft-ref[cuda12]'"),
        ((12, 9), "pip install 'lft-ref[cuda12]'", "'lft-ref[cuda12]'"),
        ((13, 1), "pip install 'lft-ref[cuda13]'", "(cuda12 for a GPU older than Turing)"),
        ((11, 8), "update the NVIDIA driver to one for CUDA 12 or newer, then ", BOTH),
        (None, "install the driver on a machine with an NVIDIA GPU, then ", BOTH),
    ],
)
def test_the_extra_is_the_one_that_fits_the_driver(cuda, start, end):
    found = cupy_remedy(BOTH, cuda)
    assert found.startswith(start)
    assert found.endswith(end)
    assert cupy_remedy("pip install numba", cuda) == "pip install numba"
