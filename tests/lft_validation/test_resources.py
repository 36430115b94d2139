"""What is asked of the machine: memory that was freed stays at hand."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest
from click.testing import CliRunner

from lft_validation import cli, resources

GLIBC = pytest.mark.skipif(
    not (sys.platform == "linux" and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")),
    reason="only glibc can be asked to keep freed memory",
)
COUNT = """
import resource, sys
import numpy as np
from lft_validation.resources import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def worked():
    for _ in range(20):
        arrays = [np.ones(2**20) for _ in range(3)]  # three times 8 MiB, 2,048 pages each
        del arrays

kept = keep_freed_memory() if sys.argv[1] == "keep" else None
worked()
before = faults()
worked()
print(kept, faults() - before)
"""


def count(mode):
    command = [sys.executable, "-c", COUNT, mode]
    kept, faults = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.split()
    return kept, int(faults)


@GLIBC
def test_freed_memory_is_used_again_without_asking_the_system():
    assert count("plain")[1] > 10_000
    kept, faults = count("keep")
    assert kept == "True"
    assert faults < 2_000


def test_where_there_is_no_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert resources.keep_freed_memory() is False


def test_every_command_keeps_freed_memory(monkeypatch):
    asked = []
    monkeypatch.setattr(cli, "keep_freed_memory", lambda: asked.append(True))
    assert CliRunner().invoke(cli.main, ["data", "list"]).exit_code == 0
    assert asked == [True]
