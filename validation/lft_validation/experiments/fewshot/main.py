"""``lft reproduce table2``, ``figure3``, ``tableA1``, ``tableA2``: from options to a run folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from lft_validation.experiments.fewshot.config import TABLES, Config, make_config
from lft_validation.experiments.fewshot.needs import check_usable, fitting_segment, with_stand_in
from lft_validation.experiments.fewshot.plot import draw
from lft_validation.experiments.fewshot.report import collect, summarise
from lft_validation.experiments.fewshot.run import make_jobs
from lft_validation.experiments.fewshot.tables import markdown, show
from lft_validation.experiments.running import (
    reused,
    run_in_folder,
    say_written,
    siblings,
    write_results,
)
from lft_validation.jobs import ALL_CORES, Plan


def reproduce(
    table: str,
    preset: str,
    changes: dict[str, Any],
    out: Path,
    resume: bool = False,
    plan: Plan = ALL_CORES,
    reuse: Path | None = None,
) -> None:
    """Run all jobs of one table, then write results.json, table.md and the figures.

    Raises:
        UserError: for settings, a folder, data or a backend that cannot be used.
    """
    asked = {"training", "testing"} & set(changes)
    config, stand_in = with_stand_in(make_config(table, preset, changes), bool(asked))
    source = reused(reuse)
    known = len(config.seeds) * len(config.shots) * len(config.methods) * len(config.training)
    plan = plan.fit(known)
    data = check_usable(config)
    segment = fitting_segment(config, plan.processes)
    others = siblings(out) if source is None else [source]
    jobs = make_jobs(config, out / "jobs", others, segment)
    run_in_folder(
        "fewshot",
        preset,
        config.to_json() | {"data": data},
        jobs,
        plan.fit(len(jobs)),
        out,
        resume,
        lambda console: _finish(config, stand_in, data, out, console),
        table,
    )


BY_NAME = {table: partial(reproduce, table) for table in TABLES}


def _finish(
    config: Config, stand_in: dict[str, str], data: dict[str, Any], out: Path, console: Any
) -> None:
    results = collect(config, out / "jobs")
    summary = summarise(config, results, stand_in, data)
    write_results(out, summary, markdown(config, summary))
    figures = draw(config, results, out)
    show(config, summary)
    say_written(out, figures, console)
