"""What every experiment's run has in common: the folder, the processes, the ways to end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import click

from lft_backends.executors import RETRIES, Executor, Lost
from lft_backends.libraries import Unavailable
from lft_validation.errors import CheckFailed, JobFailed, UserError
from lft_validation.files import write_bytes, write_json
from lft_validation.in_common import InCommon, recorded
from lft_validation.jobs import Job, Plan, opened, run_jobs
from lft_validation.runs import log, opened_run
from lft_validation.stopping import Stopped


def run_in_folder(
    experiment: str,
    preset: str,
    config: dict[str, Any],
    jobs: Sequence[Job],
    plan: Plan,
    out: Path,
    resume: bool,
    finish: Callable[[Any], None],
    title: str | None = None,
) -> None:
    """Run all jobs with a progress bar, then ``finish`` with the console for messages.

    Raises:
        UserError: for a folder that cannot be used or written to, or that another process works
            in, or an executor that is not there.
        CheckFailed: if worker processes are killed again and again, or a cluster is gone.
        click.exceptions.Exit: with code 130 after Ctrl-C; the folder can be gone on with.
    """
    from rich.console import Console

    console = Console(stderr=True, markup=False)
    others = len(jobs) > 1 and "methods" in config
    with _explained(out, others, console), contextlib.ExitStack() as folder:
        with opened(plan) as executor:
            folder.enter_context(opened_run(out, experiment, config, resume))
            cluster = executor if plan.choice.is_cluster else None
            workers = f", workers {cluster.workers}" if cluster else ""
            about = f"jobs {len(jobs)}, {plan.describe()}{workers}"
            console.print(f"{title or experiment}, preset {preset}: {about} → {out}")
            log(out, f"start: {about}, resume {resume}")
            _run(jobs, plan, executor, recorded(config), console)
        finish(console)
        log(out, "finished")


@contextlib.contextmanager
def _explained(out: Path, others: bool, console: Any) -> Iterator[None]:
    """Say of whatever ends a run what happened, what is kept, and how to go on.

    Args:
        out: the run's folder.
        others: whether there are jobs that another method's failure leaves alone.
        console: where a stop is reported.
    """
    go_on = f"--resume --out {out}"
    try:
        yield
    except Stopped:
        log(out, "stopped")
        console.print(f"stopped; go on with the same command and: {go_on}")
        raise click.exceptions.Exit(130) from None
    except JobFailed as error:
        log(out, f"failed: {error}")
        if not others:
            raise
        raise JobFailed(
            f"{error}. What other jobs finished is kept: a run with other settings, or without "
            f"that method (--methods), another --out and --reuse {out} takes it over"
        ) from error
    except Unavailable as error:
        raise UserError(str(error)) from error
    except Lost as error:
        log(out, f"lost: {error}")
        raise CheckFailed(
            f"{error}; finished work is kept: go on with the same command and {go_on}"
        ) from None
    except BrokenProcessPool:
        raise CheckFailed(
            f"worker processes were killed {RETRIES + 1} times, perhaps for want of memory; "
            f"finished work is kept: go on with {go_on}, and fewer --workers"
        ) from None
    except MemoryError as error:
        reason = " ".join(str(error).split())[:150] or "an array does not fit"
        raise UserError(
            f"the run needs more memory than there is ({reason}); use smaller settings or fewer "
            f"--workers. What is finished is kept in {out}"
        ) from error
    except OSError as error:
        raise UserError(_what_failed(error, out)) from error


def _what_failed(error: OSError, out: Path) -> str:
    """Say which file or connection the system refused."""
    reason, folder = error.strerror or str(error) or type(error).__name__, out.resolve()
    at = folder if error.filename is None else Path(str(error.filename)).resolve()
    if at.is_relative_to(folder) or folder.is_relative_to(at):
        return f"cannot write to --out {out} ({reason}); choose another folder, or make room"
    return f"cannot use {at} ({reason}). What is finished is kept: go on with --resume --out {out}"


def reused(reuse: Path | None) -> Path | None:
    """Return the jobs folder of the run that finished jobs are taken over from, if any.

    Raises:
        UserError: if that is no run folder.
    """
    if reuse is not None and not (reuse / "jobs").is_dir():
        raise UserError(f"--reuse {reuse} is not a run folder (it has no jobs/); check the path")
    return None if reuse is None else reuse / "jobs"


def siblings(out: Path) -> list[Path]:
    """Return the jobs folders of the runs beside this one: what is finished there is shared."""
    return sorted(folder for folder in out.parent.glob("*/jobs") if folder.parent != out)


def write_results(out: Path, summary: dict[str, Any], table: str) -> None:
    """Write results.json and table.md."""
    write_json(out / "results.json", summary)
    write_bytes(out / "table.md", table.encode())


def say_written(out: Path, figures: Sequence[Path], console: Any) -> None:
    """Say what the run folder holds now."""
    names = ", ".join(["results.json", "table.md", *(path.name for path in figures)])
    console.print(f"written to {out}: {names}")


def _run(
    jobs: Sequence[Job], plan: Plan, executor: Executor | None, common: InCommon, console: Any
) -> None:
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    total = sum(job.units for job in jobs)
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(f"0 of {len(jobs)} jobs", total=total)

        def tick(done: Sequence[float]) -> None:
            finished = sum(d >= job.units * 0.999 for d, job in zip(done, jobs, strict=True))
            progress.update(bar, completed=sum(done), description=f"{finished} of {len(jobs)} jobs")

        run_jobs(jobs, plan, tick, executor, common)
