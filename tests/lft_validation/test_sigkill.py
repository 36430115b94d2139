"""A run killed with SIGKILL at any moment resumes to the same bits as one that never stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

KILLS = 10
COMMAND = "from lft_validation.cli import main; main(prog_name='lft')"
SMOKE = ["reproduce", "figure4", "--preset", "smoke", "--workers", "2"]


def _start(out, resume: bool) -> subprocess.Popen[bytes]:
    arguments = [*SMOKE, "--out", str(out), *(["--resume"] if resume else [])]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
def test_ten_kills_at_random_moments_leave_the_results_as_they_are(tmp_path):
    begin = time.monotonic()
    whole = _start(tmp_path / "whole", resume=False)
    assert whole.communicate(timeout=300)[1] is not None
    assert whole.returncode == 0
    duration = time.monotonic() - begin

    out, rng, killed = tmp_path / "killed", np.random.default_rng(0), 0
    for _ in range(KILLS):
        process = _start(out, resume=(out / "config.json").exists())
        try:
            process.communicate(timeout=float(rng.uniform(0.1, 0.7)) * duration)
        except subprocess.TimeoutExpired:
            killed += 1
        # half of the time the parent alone, so that its workers are orphans for a moment
        kill = os.kill if rng.uniform() < 0.5 else os.killpg
        if process.poll() is None:
            kill(process.pid, signal.SIGKILL)
        process.communicate()
    last = _start(out, resume=True)
    errors = last.communicate(timeout=300)[1]
    assert last.returncode == 0, errors.decode()
    assert killed >= KILLS // 2
    for name in ("results.json", "table.md", "figure4.svg"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
