"""``lft reproduce theorem1``: from options to a finished run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lft_validation.errors import UserError
from lft_validation.experiments.running import run_in_folder, say_written, write_results
from lft_validation.experiments.theorem1.config import Config, make_config
from lft_validation.experiments.theorem1.needs import check_usable
from lft_validation.experiments.theorem1.plot import draw
from lft_validation.experiments.theorem1.report import collect, summarise
from lft_validation.experiments.theorem1.run import make_jobs
from lft_validation.experiments.theorem1.tables import markdown, show
from lft_validation.jobs import ALL_CORES, Plan


def reproduce(
    preset: str,
    changes: dict[str, Any],
    out: Path,
    resume: bool = False,
    plan: Plan = ALL_CORES,
    reuse: Path | None = None,
) -> None:
    """Run all jobs, then write results.json, table.md and the figure.

    Raises:
        UserError: for settings, a folder or a backend that cannot be used.
    """
    if reuse is not None:
        raise UserError("--reuse does not apply to theorem1; go on with its run with --resume")
    if plan.share == "tasks":
        raise UserError("theorem1 shares whole jobs only; leave --share tasks out")
    config = make_config(preset, changes)
    jobs = make_jobs(config, out / "jobs")
    plan = plan.fit(len(jobs))
    check_usable(config, plan.processes)
    run_in_folder(
        "theorem1",
        preset,
        config.to_json(),
        jobs,
        plan,
        out,
        resume,
        lambda console: _finish(config, out, console),
    )


def _finish(config: Config, out: Path, console: Any) -> None:
    summary = summarise(config, collect(config, out / "jobs"))
    write_results(out, summary, markdown(config, summary))
    figures = draw(config, summary, out)
    show(config, summary)
    say_written(out, figures, console)
