"""Jobs on a cluster whose workers do not see our files: cut into slices of some seconds.

A slice is a pure function of a job and the files that it left before: it works in a folder of its
own until its time is over, and returns the files that it leaves then. Only this process writes the
run folder, so a worker that dies costs one slice, and one that lives on does no harm. That slices
do not change a bit is what resuming promises.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click

from lft_backends.executors import Executor, check, one_thread
from lft_validation.errors import JobFailed
from lft_validation.files import write_bytes
from lft_validation.in_common import InCommon, check_worker, recorded
from lft_validation.jobs import Job, Monitor
from lft_validation.stopping import Stopped

SECONDS = 10.0  # of a slice, once the worker has started on it


class Slice(NamedTuple):
    """What a slice of a job leaves."""

    files: dict[str, bytes]  # of the job's folder, by name
    done: float  # units of work
    finished: bool
    error: click.ClickException | None = None


class _Clock(Monitor):
    """Stops a job when its slice is over."""

    def __init__(self, seconds: float) -> None:
        self.done, self._end = 0.0, time.monotonic() + seconds

    def report(self, done: float) -> None:
        self.done = done

    def check(self) -> bool:
        return time.monotonic() > self._end


def advance(job: Job, files: dict[str, bytes], wanted: InCommon, seconds: float) -> Slice:
    """Go on with a job for some seconds, at least from one checkpoint to the next."""
    try:
        check_worker(wanted)
    except click.ClickException as other:
        return Slice(files, 0.0, False, other)
    home = _folder(job)
    with tempfile.TemporaryDirectory() as temporary, one_thread():
        clock, moved = _Clock(seconds), Path(temporary)
        for name, content in files.items():
            write_bytes(moved / job.name / name, content)
        args = [moved if arg == home else arg for arg in job.args]
        finished, error = False, None
        try:
            job.function(*args, clock)
            finished = True
        except Stopped:
            pass
        except click.ClickException as caught:
            error = type(caught)(caught.message.replace(str(moved), str(home)))
        return Slice(_read(moved / job.name), clock.done, finished, error)


def on_worker(wanted: InCommon, function: Callable[..., Any], *item: Any) -> Any:
    """Call a function on a cluster's worker: on one BLAS thread, with all as :mod:`in_common` says.

    Raises:
        UserError: if the worker has others.
    """
    check_worker(wanted)
    with one_thread():
        return function(*item)


def checked(
    results: Callable[..., Iterator[Any]],
    executor: Executor,
    common: InCommon | None,
    function: Callable[..., Any],
    items: Sequence[tuple[Any, ...]],
) -> Iterator[Any]:
    """Hand the parts of a meta-batch out to a cluster, each by :func:`on_worker`."""
    wanted = common or recorded({})
    return results(executor, partial(on_worker, wanted, function), items)


def run_slices(
    jobs: Sequence[Job],
    executor: Executor,
    common: InCommon | None,
    done: Any,
    stop: Any,
    tick: Callable[[], None],
) -> None:
    """Run all jobs in slices, and write what each leaves; workers must have all ``common``.

    Raises:
        Stopped: after Ctrl-C or SIGTERM; what finished slices left is there.
        Lost: if the scheduler is gone; the same holds.
        click.ClickException: what a job raised; of a JobFailed when all others are finished.
    """
    wanted = common or recorded({})

    def send(index: int) -> Future[Slice]:
        return executor.submit(advance, jobs[index], _read(_home(jobs[index])), wanted, SECONDS)

    pending, failed = {send(index): index for index in range(len(jobs))}, list[JobFailed]()
    try:
        while pending:
            finished, _ = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
            tick()
            check(executor, None)
            if stop.is_set():
                raise Stopped
            for future in finished:
                index = pending.pop(future)
                left = _outcome(future, executor)
                _write(_home(jobs[index]), left.files)
                done[index] = left.done
                if isinstance(left.error, JobFailed):
                    failed.append(left.error)
                elif left.error is not None:
                    raise left.error
                elif not left.finished:
                    pending[send(index)] = index
        if failed:
            raise failed[0]
    finally:
        for future in pending:
            future.cancel()


def _outcome(future: Future[Slice], executor: Executor) -> Slice:
    try:
        return future.result()
    except BaseException as error:
        check(executor, error)
        raise


def _folder(job: Job) -> Path:
    return next(arg for arg in job.args if isinstance(arg, Path))


def _home(job: Job) -> Path:
    return _folder(job) / job.name


def _read(folder: Path) -> dict[str, bytes]:
    """Return the files of a job's folder, but for those that a killed process left half-written."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return {file.name: file.read_bytes() for file in files if not file.name.endswith(".tmp")}


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """Make a job's folder hold these files: first what is new, then without what is gone."""
    before = _read(folder)
    for name, content in files.items():
        if before.get(name) != content:
            write_bytes(folder / name, content)
    for name in before.keys() - files.keys():
        (folder / name).unlink()
