"""A run killed with SIGKILL at any moment resumes to the same bits as one that never stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

COMMAND = "from lft_validation.cli import main; main(prog_name='lft')"
RUNS = {  # kills, settings, files
    "figure4": (10, [], ("results.json", "table.md", "figure4.svg")),
    # one Φ trained on tasks with an MLP and tasks with a CNN
    "table2": (
        4,
        ["--methods", "LFT,Adam", "--set", "training=digits+digits:cnn4", "--meta-tasks", "16"],
        (
            "results.json",
            "table2.svg",
            "jobs/lft-digits-and-digits-cnn4-5shot-seed0/phi.npz",
        ),
    ),
}


def _start(experiment: str, out, resume: bool) -> subprocess.Popen[bytes]:
    arguments = ["reproduce", experiment, "--preset", "smoke", "--workers", "2", "--out", str(out)]
    arguments += [*RUNS[experiment][1], *(["--resume"] if resume else [])]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
@pytest.mark.parametrize("experiment", RUNS)
def test_kills_at_random_moments_leave_the_results_as_they_are(experiment, tmp_path):
    kills, _, files = RUNS[experiment]
    begin = time.monotonic()
    whole = _start(experiment, tmp_path / "whole" / "run", resume=False)
    assert whole.communicate(timeout=300)[1] is not None
    assert whole.returncode == 0
    duration = time.monotonic() - begin

    out, rng, killed = tmp_path / "killed" / "run", np.random.default_rng(0), 0
    for _ in range(kills):
        process = _start(experiment, out, resume=(out / "config.json").exists())
        try:
            process.communicate(timeout=float(rng.uniform(0.1, 0.7)) * duration)
        except subprocess.TimeoutExpired:
            killed += 1
        # half of the time the parent alone, so that its workers are orphans for a moment
        kill = os.kill if rng.uniform() < 0.5 else os.killpg
        if process.poll() is None:
            kill(process.pid, signal.SIGKILL)
        process.communicate()
    last = _start(experiment, out, resume=True)
    errors = last.communicate(timeout=300)[1]
    assert last.returncode == 0, errors.decode()
    assert killed >= kills // 2
    for name in files:
        assert (out / name).read_bytes() == (tmp_path / "whole" / "run" / name).read_bytes()
