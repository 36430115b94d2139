"""``lft vectors make`` and ``lft vectors check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lft_validation.commands.backend_options import backend_options, chosen_backend
from lft_validation.errors import CheckFailed, UserError

if TYPE_CHECKING:
    from rich.table import Table

    from lft_validation.vectors import Report

KINK = " (its steps come close to a kink of ReLU or log/sign, where rounding decides the branch)"


@click.group()
def command() -> None:
    """Make test vectors, or check some: cases with all inputs and results, one per .npz file."""


@command.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for case-000.npz and so on; made if it is not there.",
)
@click.option("--count", type=int, default=40, show_default=True, help="Number of cases.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all draws.")
def make(out: Path, count: int, seed: int) -> None:
    """Write random test vectors. The same seed gives the same files."""
    from lft_validation.progress import track
    from lft_validation.vectors import make as make_files

    written = list(track(make_files(out, count, seed), count, "Writing"))
    click.echo(f"{len(written)} {'file' if len(written) == 1 else 'files'} written to {out}")


@command.command(short_help="Recompute test vectors three ways, and compare.")
@click.argument(
    "files", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="FILE..."
)
@backend_options
def check(files: tuple[Path, ...], backend: str, device: str | None) -> None:
    """Recompute test vectors by adjoint, forward mode and autodiff, and compare.

    The first two compute on the backend asked for.

    Exit codes: 0 all agree to 1e-9, 1 one disagrees, 2 one cannot be read.
    """
    from lft_validation.progress import track
    from lft_validation.vectors import check as check_files

    chosen = chosen_backend(backend, device)
    reports = list(track(check_files(files, chosen), len(files), "Checking"))
    checked = [report for report in reports if not report.unreadable]
    if checked:
        from rich.console import Console

        Console().print(_table(checked))
    wrong = [line for line in map(_disagreement, checked) if line]
    unreadable = [report.unreadable for report in reports if report.unreadable]
    summary = f"{len(checked) - len(wrong)} of {len(files)} agree"
    if unreadable:
        raise UserError(
            "\n".join([f"{summary}, {len(unreadable)} unreadable", *unreadable, *wrong])
        )
    if wrong:
        raise CheckFailed("\n".join([summary, *wrong]))
    click.echo(summary)


def _table(reports: list[Report]) -> Table:
    """One row per file, with the largest relative difference from each engine."""
    from rich import box
    from rich.table import Table

    from lft_validation.vectors import ENGINES

    table = Table(
        title="Largest relative differences", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1)
    )
    table.add_column("file", overflow="fold")
    table.add_column("objective", no_wrap=True)
    table.add_column("estimator", no_wrap=True)
    for engine in ENGINES:
        table.add_column(engine.removesuffix("_mode"), justify="right", no_wrap=True)
    for report in reports:
        style = None if report.first_wrong() is None else "bold red"
        errors = (f"{report.largest(engine):.0e}" for engine in ENGINES)
        table.add_row(report.file.name, report.objective, report.estimator, *errors, style=style)
    return table


def _disagreement(report: Report) -> str:
    """Name the first array that differs and say from what; empty if none does."""
    from lft_validation.vectors import ENGINES, TOLERANCE

    wrong = report.first_wrong()
    if wrong is None:
        return ""
    name, apart = wrong
    engines = "all engines" if len(apart) == len(ENGINES) else " and ".join(apart)
    return (
        f"{report.file}: {name} differs from {engines} by {max(apart.values()):.1e} of its scale, "
        f"more than {TOLERANCE:.0e}{KINK if report.near_kink else ''}"
    )
