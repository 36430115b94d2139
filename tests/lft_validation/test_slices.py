"""Jobs in slices: the same files as in one go, and errors and losses as they are."""

from __future__ import annotations

import os
import pickle
import threading
from concurrent.futures import Future

import pytest
from threadpoolctl import threadpool_info

from lft_backends.executors import Choice, Executor, Lost
from lft_validation import slices
from lft_validation.errors import JobFailed, UserError
from lft_validation.files import write_bytes
from lft_validation.in_common import recorded
from lft_validation.jobs import Job, Plan, run_jobs
from lft_validation.runs import installed
from lft_validation.slices import advance, on_worker
from lft_validation.stopping import Stopped

CLUSTER = Plan(Choice("dask", address="node1:8786"))


def here(trouble=lambda error: "", before=lambda: None) -> Executor:
    """An executor that works in this process, as a worker that sees no folder of ours would."""

    def submit(function, *arguments):
        future: Future = Future()
        try:
            before()
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001 - a future carries any
            future.set_exception(error)
        return future

    return Executor("here", 1, submit, trouble)


def _count(jobs, last, monitor):
    """Count to ``last`` from where the job's file says, leaving a second file on the way."""
    file = jobs / "counter" / "count.txt"
    count = int(file.read_text()) if file.exists() else 0
    while count < last:
        count += 1
        write_bytes(file, str(count).encode())
        write_bytes(file.with_name(f"part-{count}.txt"), b"")
        monitor.report(float(count))
        if monitor.check():
            raise Stopped
    for part in file.parent.glob("part-*.txt"):
        part.unlink()


def _refuse(jobs, monitor):
    write_bytes(jobs / "refuses" / "left.txt", b"before")
    raise UserError(f"{jobs / 'refuses' / 'left.txt'} is of no use; delete it")


def counter(folder, last=5) -> Job:
    return Job("counter", _count, (folder, last), float(last))


def test_slices_leave_what_a_job_in_one_go_leaves(tmp_path, monkeypatch):
    monkeypatch.setattr(slices, "SECONDS", -1.0)  # one step each
    calls, seen = [], []
    executor = here(before=lambda: calls.append(1))
    run_jobs([counter(tmp_path / "jobs")], CLUSTER, lambda done: seen.append(list(done)), executor)
    assert len(calls) == 6  # the last finds nothing left to do
    assert seen[-1][0] >= 4.0
    run_jobs([counter(tmp_path / "whole")], Plan(Choice("local")), lambda _: None)
    for file in ("jobs", "whole"):
        left = {f.name: f.read_text() for f in (tmp_path / file / "counter").iterdir()}
        assert left == {"count.txt": "5"}


def _diverge(_jobs, _monitor):
    raise JobFailed("no good")


def test_a_job_that_cannot_go_on_is_told_of_when_the_others_are_finished(tmp_path, monkeypatch):
    monkeypatch.setattr(slices, "SECONDS", -1.0)
    jobs = [Job("diverges", _diverge, (tmp_path / "jobs",), 1.0), counter(tmp_path / "jobs")]
    with pytest.raises(JobFailed, match="no good"):
        run_jobs(jobs, CLUSTER, lambda _: None, here())
    assert (tmp_path / "jobs" / "counter" / "count.txt").read_text() == "5"


def test_an_error_names_the_file_where_the_user_finds_it(tmp_path):
    job = Job("refuses", _refuse, (tmp_path / "jobs",), 1.0)
    with pytest.raises(UserError) as caught:
        run_jobs([job], CLUSTER, lambda _: None, here())
    file = tmp_path / "jobs" / "refuses" / "left.txt"
    assert caught.value.message == f"{file} is of no use; delete it"
    assert file.read_bytes() == b"before"


def test_a_lost_scheduler_keeps_what_is_finished(tmp_path, monkeypatch):
    monkeypatch.setattr(slices, "SECONDS", -1.0)
    calls = []
    executor = here(lambda _: "the scheduler is gone" if len(calls) > 2 else "",
                    lambda: calls.append(1))  # fmt: skip
    with pytest.raises(Lost, match="the scheduler is gone"):
        run_jobs([counter(tmp_path / "jobs")], CLUSTER, lambda _: None, executor)
    assert (tmp_path / "jobs" / "counter" / "count.txt").read_text() == "2"
    run_jobs([counter(tmp_path / "jobs")], CLUSTER, lambda _: None, here())
    assert (tmp_path / "jobs" / "counter" / "count.txt").read_text() == "5"


def test_an_error_of_the_cluster_is_what_the_executor_says_of_it(tmp_path):
    def breaks():
        raise ConnectionError("pipe")

    lost = here(lambda error: "gone" if isinstance(error, ConnectionError) else "", breaks)
    with pytest.raises(Lost, match="gone"):
        run_jobs([counter(tmp_path / "jobs")], CLUSTER, lambda _: None, lost)
    with pytest.raises(ConnectionError, match="pipe"):
        run_jobs([counter(tmp_path / "jobs")], CLUSTER, lambda _: None, here(before=breaks))


def test_a_request_to_stop_leaves_the_last_slice(tmp_path, monkeypatch):
    monkeypatch.setattr(slices, "SECONDS", -1.0)
    stop, calls = threading.Event(), []

    def before():
        calls.append(1)
        if len(calls) == 3:
            stop.set()

    with pytest.raises(Stopped):
        slices.run_slices(
            [counter(tmp_path / "jobs")], here(before=before), None, [0.0], stop, lambda: None
        )
    assert (tmp_path / "jobs" / "counter" / "count.txt").read_text() == "2"


def test_a_part_of_a_meta_batch_is_computed_with_these_versions_on_one_thread():
    def threads(more):
        return more + max(pool["num_threads"] for pool in threadpool_info())

    assert on_worker(recorded({}), threads, 10) == 11
    with pytest.raises(UserError, match="a worker of --executor has numpy"):
        on_worker(recorded({})._replace(versions=installed() | {"numpy": "1.0"}), threads, 10)


def test_a_worker_with_other_versions_is_refused(tmp_path):
    other = recorded({})._replace(versions=installed() | {"numpy": "1.0"})
    left = advance(counter(tmp_path / "jobs"), {"count.txt": b"3"}, other, 1.0)
    assert left.files == {"count.txt": b"3"}
    assert left.error is not None
    assert "a worker of --executor has numpy" in left.error.message
    assert "this machine 1.0; install the same on all" in left.error.message
    sent = pickle.loads(pickle.dumps(left))  # noqa: S301 - as a cluster sends it
    assert sent.error.message == left.error.message


def test_half_written_files_stay_where_they_are(tmp_path):
    home = tmp_path / "jobs" / "counter"
    write_bytes(home / "count.txt", b"4")
    (home / ".count.txt.1.tmp").write_bytes(b"half")
    assert slices._read(home) == {"count.txt": b"4"}
    assert os.fspath(slices._home(counter(tmp_path / "jobs"))) == os.fspath(home)
