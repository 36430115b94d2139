"""What no command expects ends in a sentence all the same."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner

from lft_validation.cli import main

COMMAND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # also in a shell's background
from lft_validation.cli import main
main(prog_name="lft")
"""


def lft(*arguments: str):
    return CliRunner().invoke(main, arguments)


def test_a_path_that_the_system_refuses_is_named():
    result = lft("signal", "--tuner", "x" * 300)
    assert result.exit_code == 2
    assert "xxx (File name too long); check the path and its permissions" in result.output


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, ""),  # lft … | head: click says nothing
        (KeyboardInterrupt(), 130, "stopped"),
        (OSError("no reason"), 2, "cannot use the system (no reason)"),
        (MemoryError(), 2, "memory does not suffice (no details); use less data"),
        (MemoryError("1 TiB"), 2, "memory does not suffice (1 TiB)"),
    ],
)
def test_what_ends_a_command_from_outside_is_no_traceback(monkeypatch, error, code, words):
    def ended(_):
        raise error

    monkeypatch.setattr("lft_validation.tuners.load_tuner", ended)
    result = lft("signal")
    assert result.exit_code == code
    assert words in result.stderr
    assert len(result.stderr.split()) < 15


def test_results_are_not_written_over_images(tmp_path):
    pytest.importorskip("sklearn")
    file = tmp_path / "images.npz"
    pixels = np.random.default_rng(0).integers(0, 255, (40, 8, 8)).astype(np.uint8)
    np.savez(file, x=pixels, y=np.arange(40) % 2)
    before = file.read_bytes()
    few = ("--shots", "2", "--query", "2", "--draws", "1", "--steps", "1")
    result = lft("finetune", str(file), *few, "--out", str(file))
    assert result.exit_code == 2
    assert "was not written by lft finetune; choose another file" in result.output
    assert file.read_bytes() == before
    out = str(tmp_path / "new.npz")
    for _ in range(2):  # an earlier result may be written over
        assert lft("finetune", str(file), *few, "--out", out).exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.4, 0.8, 1.6])
def test_ctrl_c_while_workers_start_ends_without_a_traceback(tmp_path, seconds):
    arguments = ["reproduce", "figure4", "--preset", "smoke", "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments, "--out", str(tmp_path / "r")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    while not (tmp_path / "r" / "config.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    errors = process.communicate(timeout=60)[1].decode()
    assert "Traceback" not in errors
    assert process.returncode in (0, 130)
