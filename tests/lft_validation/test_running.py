"""What went wrong with files is said of the right file."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace

import pytest

from lft_validation.experiments.running import _what_failed, say_written


@pytest.mark.parametrize("name", [None, "runs/r", "runs/r/jobs/a.npz", "runs", "/"])
def test_a_run_folder_that_cannot_be_written_is_named(name):
    error = OSError(errno.ENOSPC, "No space left on device", name)
    said = "cannot write to --out runs/r (No space left on device); choose another folder, or "
    assert _what_failed(error, Path("runs/r")) == said + "make room"


@pytest.mark.parametrize(("figures", "tail"), [((), ""), ((Path("r/a.png"),), ", a.png")])
def test_what_was_written_is_listed_without_an_empty_tail(figures, tail):
    said = []
    say_written(Path("r"), figures, SimpleNamespace(print=said.append))
    assert said == [f"written to r: results.json, table.md{tail}"]


def test_another_file_is_not_taken_for_the_run_folder():
    error = OSError(errno.EIO, "Input/output error", "/data/mnist.gz")
    said = _what_failed(error, Path("runs/r"))
    assert said.startswith("cannot use /data/mnist.gz (Input/output error). What is finished is")
    assert "cannot write to --out runs/r (timed out)" in _what_failed(
        OSError("timed out"), Path("runs/r")
    )
