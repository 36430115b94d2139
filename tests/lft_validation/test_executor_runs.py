"""The same bits on every executor, with real processes, a real Dask cluster, and Ray."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None,
    reason="distributed is not installed: pip install 'lft-ref[cluster]'",
)
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="ray is not installed: pip install 'lft-ref[cluster]'",
)

# Slices of a quarter of a second: a short run has as many as a long one would. The process says how
# it shared its work: a run that ignored its options would have the right bits too. Figures are left
# out, as they take longer than the work.
COMMAND = """
def counted(module, name):
    right = getattr(module, name)
    def call(*arguments):
        calls.append(name)
        return right(*arguments)
    setattr(module, name, call)

if __name__ == '__main__':
    import atexit, pathlib
    from lft_validation import jobs, slices
    slices.SECONDS, calls = 0.25, []
    counted(jobs, "results")
    counted(jobs, "_run_in_processes")
    counted(slices, "run_slices")
    atexit.register(lambda: pathlib.Path("calls.txt").write_text(" ".join(sorted(set(calls)))))
    from lft_validation.experiments.figure4 import main as figure4
    figure4.draw = lambda *_: []
    from lft_validation.cli import main
    main(prog_name='lft')
"""
TINY = (
    "--preset", "smoke", "--test-tasks", "6", "--hidden", "5", "--lstm-units", "3", "--steps", "4",
    "--unroll", "2", "--long-steps", "6", "--methods", "LFT,SGD", "--set", "meta_batch=4",
    "--set", "chunk=1",
)  # fmt: skip
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def start(folder: Path, out: str, *arguments: str) -> subprocess.Popen[str]:
    """Start ``lft reproduce figure4`` as a process of its own."""
    script = folder / "lft.py"
    script.write_text(COMMAND)
    return subprocess.Popen(
        [sys.executable, str(script), "reproduce", "figure4", *arguments, "--out", out],
        env=ENVIRONMENT, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finished(process: subprocess.Popen[str], code: int = 0) -> str:
    errors = process.communicate(timeout=300)[1]
    assert process.returncode == code, errors
    return errors


def shared(folder: Path) -> str:
    """How the last process that was started there handed work out; empty if it did not."""
    return (folder / "calls.txt").read_text()


def results(folder: Path, out: str) -> bytes:
    return (folder / out / "results.json").read_bytes()


class Cluster(NamedTuple):
    """A Dask scheduler with two workers, each a process of its own."""

    executor: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def until(condition, what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"waited two minutes for {what}"
        time.sleep(0.05)


def listens(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def cluster(tmp_path) -> Iterator[Cluster]:
    port, processes = free_port(), []

    def dask(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        processes.append(subprocess.Popen(command, env=ENVIRONMENT, cwd=tmp_path, **quiet))
        return processes[-1]

    scheduler = dask("scheduler", "--host", "127.0.0.1", "--port", str(port))
    until(lambda: listens(port), "the scheduler")
    address = f"tcp://127.0.0.1:{port}"
    alone = ("--nthreads", "1", "--no-nanny", "--local-directory", str(tmp_path / "scratch"))
    ports = [free_port(), free_port()]
    workers = [dask("worker", address, *alone, "--worker-port", str(p)) for p in ports]
    try:
        until(lambda: all(map(listens, ports)), "the workers")
        yield Cluster(f"dask://127.0.0.1:{port}", scheduler, workers)
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
@needs_dask
def test_the_smoke_preset_has_the_same_bits_on_1_2_4_workers_and_with_one_killed(tmp_path, cluster):
    smoke = ("--preset", "smoke")
    on_dask = start(tmp_path, "dask", *smoke, "--executor", cluster.executor)
    jobs = tmp_path / "dask" / "jobs"
    until(lambda: list(jobs.glob("*/*.npz")) or on_dask.poll() is not None, "a first slice")
    cluster.workers[0].send_signal(signal.SIGKILL)
    assert on_dask.poll() is None, finished(on_dask) or "it ended before a worker was killed"
    finished(on_dask)
    assert shared(tmp_path) == "run_slices"
    for workers in ("1", "2", "4"):
        finished(start(tmp_path, workers, *smoke, "--workers", workers))
        assert shared(tmp_path) == ("" if workers == "1" else "_run_in_processes")
        assert results(tmp_path, workers) == results(tmp_path, "dask"), f"{workers} workers"


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> bytes:
    """The results of a tiny run in one process."""
    folder = tmp_path_factory.mktemp("here")
    finished(start(folder, "here", *TINY, "--executor", "local"))
    return results(folder, "here")


def test_a_meta_batch_has_the_same_bits_when_processes_share_it(tmp_path, here):
    finished(start(tmp_path, "two", *TINY, "--executor", "processes:2", "--share", "tasks"))
    assert results(tmp_path, "two") == here
    assert shared(tmp_path) == "results"


@pytest.mark.slow
@needs_dask
def test_a_meta_batch_has_the_same_bits_on_a_cluster_that_loses_a_worker(tmp_path, here, cluster):
    tasks = start(tmp_path, "dask", *TINY, "--executor", cluster.executor, "--share", "tasks")
    until((tmp_path / "dask" / "config.json").exists, "the run to start")
    cluster.workers[0].send_signal(signal.SIGKILL)
    finished(tasks)
    assert results(tmp_path, "dask") == here
    assert shared(tmp_path) == "results"


@pytest.mark.slow
@needs_dask
@pytest.mark.parametrize("share", ["jobs", "tasks"])
def test_a_lost_scheduler_ends_in_a_sentence_and_resume_goes_on(tmp_path, here, cluster, share):
    lost = start(tmp_path, "lost", *TINY, "--executor", cluster.executor, "--share", share)
    log = tmp_path / "lost" / "log.txt"
    until(lambda: log.exists() and "start" in log.read_text(), "the run to start")
    cluster.scheduler.kill()
    errors = finished(lost, code=1)
    sentence = " ".join(errors.split())
    assert f"Error: the scheduler of {cluster.executor} is gone; start it again;" in sentence
    assert sentence.endswith("go on with the same command and --resume --out lost")
    assert "Traceback" not in errors
    finished(start(tmp_path, "lost", *TINY, "--executor", "local", "--resume"))
    assert results(tmp_path, "lost") == here


@pytest.mark.slow
@pytest.mark.ray
@needs_ray
@pytest.mark.parametrize("share", ["jobs", "tasks"])
def test_ray_gives_the_same_bits(tmp_path, here, share):
    finished(start(tmp_path, "ray", *TINY, "--executor", "ray", "--share", share))
    assert results(tmp_path, "ray") == here
    assert shared(tmp_path) == ("run_slices" if share == "jobs" else "results")


def test_a_wrong_executor_is_answered_in_one_sentence(tmp_path):
    for arguments, message in (
        (("--executor", "processes:none"), "needs N of at least 1, found 'processes:none'"),
        (("--executor", "local", "--workers", "2"), "give one of the two"),
        (("--executor", "dask://a:1", "--reuse", "."), "is for this machine's own processes"),
    ):
        errors = finished(start(tmp_path, "wrong", *arguments), code=2)
        assert message in " ".join(errors.split())
        assert errors.startswith("Error: ")
        assert not (tmp_path / "wrong").exists()
