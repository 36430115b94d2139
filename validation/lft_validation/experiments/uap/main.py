"""``lft reproduce table1``: from options to a finished run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lft_validation.experiments.running import reused, run_in_folder, say_written, write_results
from lft_validation.experiments.uap.config import Config, make_config
from lft_validation.experiments.uap.needs import check_usable
from lft_validation.experiments.uap.plot import draw
from lft_validation.experiments.uap.report import collect, summarise
from lft_validation.experiments.uap.run import make_jobs
from lft_validation.experiments.uap.tables import markdown, show
from lft_validation.resources import cores


def reproduce(
    preset: str,
    changes: dict[str, Any],
    out: Path,
    resume: bool = False,
    workers: int | None = None,
    reuse: Path | None = None,
) -> None:
    """Run all jobs, then write results.json, table.md and the figures.

    Raises:
        UserError: for settings, a folder, data or a backend that cannot be used.
    """
    config = make_config(preset, changes)
    source = reused(reuse)
    data = check_usable(config)
    jobs = make_jobs(config, out / "jobs", source)
    run_in_folder(
        "uap",
        preset,
        config.to_json() | {"data": data},
        jobs,
        min(workers or cores(), len(jobs)),
        out,
        resume,
        lambda console: _finish(config, out, console),
    )


def _finish(config: Config, out: Path, console: Any) -> None:
    results = collect(config, out / "jobs")
    summary = summarise(config, results)
    write_results(out, summary, markdown(config, summary))
    figures = draw(config, results, out)
    show(config, summary)
    say_written(out, figures, console)
