"""``lft reproduce figure4``: from options to a finished run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lft_validation.experiments.figure4.config import Config, make_config
from lft_validation.experiments.figure4.needs import check_usable
from lft_validation.experiments.figure4.plot import draw
from lft_validation.experiments.figure4.report import collect, markdown, summarise
from lft_validation.experiments.figure4.run import make_jobs
from lft_validation.experiments.running import reused, run_in_folder, say_written, write_results
from lft_validation.jobs import ALL_CORES, Plan
from lft_validation.report import number
from lft_validation.stats import RULE


def reproduce(
    preset: str,
    changes: dict[str, Any],
    out: Path,
    resume: bool = False,
    plan: Plan = ALL_CORES,
    reuse: Path | None = None,
) -> None:
    """Run all jobs, then write results.json, table.md and the figures.

    Raises:
        UserError: for settings, a folder or a backend that cannot be used.
    """
    config = make_config(preset, changes)
    source = reused(reuse)
    jobs = make_jobs(config, out / "jobs", source)
    plan = plan.fit(len(jobs))
    check_usable(config, plan.processes)
    run_in_folder(
        "figure4",
        preset,
        config.to_json(),
        jobs,
        plan,
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


def show(config: Config, summary: dict[str, Any]) -> None:
    """Print the table and the claims, readable in 80 columns."""
    from rich.console import Console

    out = Console()
    out.print(_methods(config, summary))
    if summary["claims"]:
        out.print(_claims(summary))
        out.print(RULE, style="dim")


def _methods(config: Config, summary: dict[str, Any]) -> Any:
    from rich import box
    from rich.table import Table

    last, long = str(config.steps), str(config.long_steps)
    table = Table(title=f"Figure 4: test MSE after {last} steps", box=box.SIMPLE_HEAD)
    for name in ("setting", "method"):
        table.add_column(name)
    for name in ("mean", "sd", "median", *([f"median at {long}"] if long != last else [])):
        table.add_column(name, justify="right")
    for row in summary["rows"]:
        at = row["at"][last]
        far = [row["beyond"][long]["median"]] if long != last else []
        numbers = (at["mean"], at["sd"], at["median"], *far)
        table.add_row(row["setting"], row["method"], *(number(x) for x in numbers))
    return table


def _claims(summary: dict[str, Any]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title="Claims (paired over tasks, 95 % bootstrap)", box=box.SIMPLE_HEAD)
    for name in ("claim", "setting", "difference", "interval", "verdict"):
        table.add_column(name)
    for claim in summary["claims"]:
        d = claim["difference"]
        interval = f"{number(d['low'])} … {number(d['high'])}"
        mean = number(d["mean"])
        table.add_row(claim["claim"], claim["setting"], mean, interval, claim["verdict"])
    return table
