"""A run killed with SIGKILL at any moment resumes to the same bits as one that never stopped."""

from __future__ import annotations

import os
import shutil
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


def _finishes(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        errors = process.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired:
        return False
    assert process.returncode == 0, errors.decode()
    return True


@pytest.mark.slow
@pytest.mark.parametrize("experiment", RUNS)
def test_kills_at_random_moments_leave_the_results_as_they_are(experiment, tmp_path):
    kills, _, files = RUNS[experiment]
    unharmed, out = tmp_path / "unharmed" / "run", tmp_path / "killed" / "run"
    begin = time.monotonic()
    assert _finishes(_start(experiment, unharmed, resume=False), 300)
    duration = time.monotonic() - begin

    def go_on() -> subprocess.Popen[bytes]:
        return _start(experiment, out, resume=(out / "config.json").exists())

    def assert_same() -> None:
        for name in files:
            assert (out / name).read_bytes() == (unharmed / name).read_bytes()

    rng, killed = np.random.default_rng(0), 0
    for _ in range(4 * kills):
        process = go_on()
        if _finishes(process, float(rng.uniform(0.1, 0.7)) * duration):
            assert_same()
            shutil.rmtree(out)  # so many kills are wanted: begin again
            continue
        # half of the time the parent alone, so that its workers are orphans for a moment
        kill = os.kill if rng.uniform() < 0.5 else os.killpg
        kill(process.pid, signal.SIGKILL)
        process.communicate()
        killed += 1
        if killed == kills:
            break
    assert killed == kills
    assert _finishes(go_on(), 300)
    assert_same()
