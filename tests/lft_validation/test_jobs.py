"""Jobs on several processes: errors come through, Ctrl-C leaves checkpoints, orphans end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool

import psutil
import pytest

from lft_backends.executors import THREADS, Choice
from lft_validation.errors import JobFailed
from lft_validation.jobs import Job, Monitor, Plan, run_jobs
from lft_validation.stopping import Stopped


def processes(workers: int) -> Plan:
    return Plan(Choice("processes", workers)).fit(workers)


def _write(path, monitor):
    monitor.report(1.0)
    path.write_text("done")


def _wait_for_stop(path, monitor):
    path.write_text(str(os.getpid()))
    deadline = time.monotonic() + 60
    while not monitor.check():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    path.with_suffix(".checkpoint").write_text("left in time")
    raise Stopped


def _fail(monitor):
    raise ValueError("the third task is empty")


def _die(monitor):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2])
def test_all_jobs_run_and_report(tmp_path, workers):
    seen = []
    jobs = [Job(str(i), _write, (tmp_path / str(i),), 1.0) for i in range(3)]
    run_jobs(jobs, processes(workers), lambda done: seen.append(list(done)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0", "1", "2"]
    assert workers == 1 or seen[-1] == [1.0, 1.0, 1.0]


def test_one_job_that_fails_stops_the_others_and_its_error_is_the_one_raised(tmp_path):
    jobs = [Job("a", _wait_for_stop, (tmp_path / "a",), 1.0), Job("b", _fail, (), 1.0)]
    with pytest.raises(ValueError, match="the third task is empty"):
        run_jobs(jobs, processes(2), lambda _: None)
    assert (tmp_path / "a.checkpoint").exists()


def _diverge(message, monitor):
    raise JobFailed(message)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_that_cannot_go_on_is_told_of_when_the_others_are_finished(tmp_path, workers):
    jobs = [Job(str(i), _write, (tmp_path / str(i),), 1.0) for i in range(3)]
    jobs[1:1] = [Job(name, _diverge, (name,), 1.0) for name in ("no good", "nor this")]
    with pytest.raises(JobFailed, match="no good" if workers == 1 else "no good|nor this"):
        run_jobs(jobs, processes(workers), lambda _: None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0", "1", "2"]


def test_a_killed_worker_is_reported_and_not_waited_for():
    with pytest.raises(BrokenProcessPool):
        run_jobs([Job("a", _die, (), 1.0), Job("b", _die, (), 1.0)], processes(2), lambda _: None)


@pytest.fixture
def obeyed():
    """Undo what a shell does to jobs in the background: they are started with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("obeyed")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_waits_for_checkpoints_and_then_stops(tmp_path, workers, number):
    jobs = [Job(str(i), _wait_for_stop, (tmp_path / str(i),), 1.0) for i in range(workers)]
    main, before = threading.main_thread().ident, signal.getsignal(number)

    def interrupt() -> None:
        while len(list(tmp_path.iterdir())) < workers:
            time.sleep(0.05)
        signal.pthread_kill(main, number)

    threading.Thread(target=interrupt).start()
    with pytest.raises(Stopped):
        run_jobs(jobs, processes(workers), lambda _: None)
    assert len(list(tmp_path.glob("*.checkpoint"))) == workers
    assert signal.getsignal(number) is before


def _count_threads(path, monitor):
    import numpy as np
    import scipy.linalg
    from threadpoolctl import threadpool_info

    np.dot(np.ones((2, 2)), scipy.linalg.inv(np.eye(2)))
    path.write_text(str(max([1, *(pool["num_threads"] for pool in threadpool_info())])))


@pytest.mark.parametrize("workers", [1, 2])
def test_each_process_computes_on_one_thread(tmp_path, monkeypatch, workers):
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    run_jobs([Job("a", _count_threads, (tmp_path / "a",), 1.0)], processes(workers), lambda _: None)
    assert (tmp_path / "a").read_text() == "1"


def test_workers_end_by_themselves_when_the_parent_is_killed(tmp_path):
    script = (
        "import sys, pathlib\n"
        "sys.path[:0] = sys.argv[2:]\n"
        "from tests.lft_validation.test_jobs import _wait_for_stop\n"
        "from lft_validation.jobs import Job, run_jobs\n"
        "from tests.lft_validation.test_jobs import processes\n"
        "if __name__ == '__main__':\n"
        "    path = pathlib.Path(sys.argv[1])\n"
        "    run_jobs([Job(str(i), _wait_for_stop, (path / str(i),), 1.0) for i in range(2)],\n"
        "             processes(2), lambda _: None)\n"
    )
    (tmp_path / "parent.py").write_text(script)
    folder = tmp_path / "jobs"
    folder.mkdir()
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py"), str(folder), *sys.path])
    _until(lambda: len(list(folder.iterdir())) == 2)
    parent.kill()
    parent.wait()
    _until(lambda: len(list(folder.glob("*.checkpoint"))) == 2)
    _until(lambda: not any(_alive(int((folder / str(i)).read_text())) for i in range(2)))


def test_a_monitor_in_the_same_process_does_not_take_itself_for_an_orphan():
    stop = threading.Event()
    monitor = Monitor(0, [0.0], stop, os.getpid())
    assert not monitor.check()
    stop.set()
    assert monitor.check()


def _until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    """Say whether a process still runs; one that ended but was never waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
