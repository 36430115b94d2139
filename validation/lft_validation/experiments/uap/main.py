"""``lft reproduce table1`` and the figures of the same runs: from options to a run folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from lft_validation.experiments.running import (
    reused,
    run_in_folder,
    say_written,
    siblings,
    write_results,
)
from lft_validation.experiments.uap import beyond_report
from lft_validation.experiments.uap.beyond import collect_beyond, make_beyond_jobs, present
from lft_validation.experiments.uap.config import Config, make_config
from lft_validation.experiments.uap.needs import (
    check_fits,
    check_usable,
    check_usable_beyond,
)
from lft_validation.experiments.uap.pictures import picture
from lft_validation.experiments.uap.plot import check_drawable, draw
from lft_validation.experiments.uap.report import collect, summarise
from lft_validation.experiments.uap.run import make_jobs
from lft_validation.experiments.uap.tables import markdown, show
from lft_validation.jobs import ALL_CORES, Plan

# What each figure compares, by the paper's captions; another choice with --methods.
COMPARED = {
    "figure2": ("LFT", "L2O", "MAML"),
    "figureA1": ("LFT", "L2O", "MAML"),
    "figureA2": ("LFT", "L2O", "MAML"),
    "figureA3": ("LFT", "PGD"),
    "figureA4": ("LFT", "L2O", "MAML", "PGD"),
}


def reproduce(
    preset: str,
    changes: dict[str, Any],
    out: Path,
    resume: bool = False,
    plan: Plan = ALL_CORES,
    reuse: Path | None = None,
    what: str = "table1",
) -> None:
    """Run all jobs, then write results.json, table.md and the figures.

    Trainings that a run beside this one has finished, whatever it was for, are taken over: so that
    one who asks for Table 1 and then for a figure trains nothing again.

    Args:
        preset: smoke, quick or paper.
        changes: of its settings.
        out: the run folder.
        resume: go on with the run that is there.
        plan: where the work is done.
        reuse: take jobs over from this run alone, wherever it is.
        what: ``table1``, which has all figures too, or one of :data:`COMPARED`.

    Raises:
        UserError: for settings, a folder, data or a backend that cannot be used.
    """
    if what in COMPARED:
        changes = {"methods": COMPARED[what]} | changes
    config = make_config(preset, changes)
    check_drawable(config, what)
    source = reused(reuse)
    config, data = check_usable(config)
    jobs = make_jobs(config, out / "jobs", siblings(out) if source is None else [source])
    plan = plan.fit(len(jobs))
    check_fits(config, plan.processes, config.sources)
    run_in_folder(
        "uap",
        preset,
        config.to_json() | {"data": data},
        jobs,
        plan,
        out,
        resume,
        lambda console: _finish(config, out, console, what),
        what,
    )


def reproduce_beyond(
    preset: str,
    changes: dict[str, Any],
    out: Path,
    resume: bool = False,
    plan: Plan = ALL_CORES,
    reuse: Path | None = None,
) -> None:
    """Follow the perturbations of Table 1 further, to other victims and to sources never seen.

    Arguments and errors are those of :func:`reproduce`.
    """
    config = make_config(preset, changes)
    source = reused(reuse)
    config, data = check_usable_beyond(config)
    jobs = make_jobs(config, out / "jobs", siblings(out) if source is None else [source])
    jobs = make_beyond_jobs(jobs, config)
    plan = plan.fit(len(jobs))
    check_fits(config, plan.processes, present(config))
    run_in_folder(
        "uap",
        preset,
        config.to_json() | {"data": data, "what": BEYOND, "followed_on": present(config)},
        jobs,
        plan,
        out,
        resume,
        lambda console: _finish_beyond(config, out, console),
        BEYOND,
    )


def _finish_beyond(config: Config, out: Path, console: Any) -> None:
    found = collect_beyond(config, out / "jobs")
    listed = beyond_report.rows(config, found)
    write_results(out, {"rows": listed}, beyond_report.markdown(config, listed))
    figures = beyond_report.draw(config, found, out)
    beyond_report.show(listed)
    say_written(out, figures, console)


BEYOND = "table1-beyond"
BY_NAME: dict[str, Any] = {what: partial(reproduce, what=what) for what in COMPARED}
BY_NAME[BEYOND] = reproduce_beyond


def _finish(config: Config, out: Path, console: Any, what: str) -> None:
    results = collect(config, out / "jobs")
    summary = summarise(config, results)
    write_results(out, summary, markdown(config, summary))
    wanted = tuple(COMPARED) if what == "table1" else (what,)
    figures = draw(config, results, out, wanted)
    if "figureA4" in wanted:
        shown = COMPARED["figureA4"] if what == "table1" else config.methods
        figures += picture(config, out / "jobs", out / "figureA4", shown)
    show(config, summary)
    say_written(out, figures, console)
