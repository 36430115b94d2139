"""What went wrong with files is said of the right file."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from lft_validation.experiments.running import _what_failed


@pytest.mark.parametrize("name", [None, "runs/r", "runs/r/jobs/a.npz", "runs", "/"])
def test_a_run_folder_that_cannot_be_written_is_named(name):
    error = OSError(errno.ENOSPC, "No space left on device", name)
    said = "cannot write to --out runs/r (No space left on device); choose another folder, or "
    assert _what_failed(error, Path("runs/r")) == said + "make room"


def test_another_file_is_not_taken_for_the_run_folder():
    error = OSError(errno.EIO, "Input/output error", "/data/mnist.gz")
    said = _what_failed(error, Path("runs/r"))
    assert said.startswith("cannot use /data/mnist.gz (Input/output error). What is finished is")
    assert "cannot write to --out runs/r (timed out)" in _what_failed(
        OSError("timed out"), Path("runs/r")
    )
