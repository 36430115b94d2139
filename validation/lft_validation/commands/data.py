"""``lft data list``, ``lft data verify`` and ``lft data fetch``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lft_validation.commands.json_option import json_option, write_report
from lft_validation.errors import CheckFailed, UserError

if TYPE_CHECKING:
    from lft_validation.datasets_survey import Report


def _a_folder(_context: click.Context, option: click.Parameter, value: Path | None) -> Path | None:
    """Check a folder that is to be searched, whether or not it will be; a click callback."""
    if value is not None and not value.is_dir():
        raise UserError(
            f"{option.opts[0]} is {str(value)!r}, which is no folder; give one that exists"
        )
    return value


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    callback=_a_folder,
    metavar="DIR",
    help="Where to look for images first [then: LFT_DATA, then the user's cache].",
)


def check_data_dir(data_dir: Path | None, source: str | None, instead: str = "") -> None:
    """Refuse a folder in which nothing would be looked for.

    Args:
        data_dir: what ``--data-dir`` says.
        source: whose images are read; None for no source's.
        instead: what was asked for where that is no source.

    Raises:
        UserError: if one is given, and there is no source or it needs no files.
    """
    from lft_validation.datasets import source as source_of

    if data_dir is None or (source is not None and source_of(source).folder):
        return
    found = instead if source is None else f"{source}, which comes with scikit-learn"
    raise UserError(
        f"--data-dir is where images of a source are looked for, found --data-dir {data_dir} and "
        f"{found}; leave it out"
    )


@click.group()
def command() -> None:
    """List, verify or download image data.

    They are mnist, cifar10, fashion-mnist, svhn, omniglot, miniimagenet and digits. Files are
    looked for under --data-dir, then under the environment variable LFT_DATA, then in the user's
    cache, in the folders mnist, cifar-10-batches-bin, fashion-mnist, svhn, omniglot and
    miniimagenet (images/ with train.csv, val.csv and test.csv; not to be downloaded here). The
    digits come with scikit-learn.
    """


@command.command(name="list", short_help="Say which data are there, and where.")
@data_dir_option
@json_option
def list_(data_dir: Path | None, json_file: str | None) -> None:
    """Say which data are there, where, how many images, and whether they are official."""
    _show(_reports((), data_dir, thorough=False), json_file)


@command.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@data_dir_option
@json_option
def verify(names: tuple[str, ...], data_dir: Path | None, json_file: str | None) -> None:
    """Read every image of the data that are there.

    Exit codes: 0 all can be read, official or not; 1 something is damaged; 2 what was named is not
    there.
    """
    reports = _reports(names, data_dir, thorough=True)
    _show(reports, json_file)
    absent = sorted({report.name for report in reports if names and not report.place})
    if absent:
        raise UserError(f"not found: {', '.join(absent)}; download with lft data fetch")
    damaged = [report.problem for report in reports if report.problem]
    if damaged:
        raise CheckFailed("\n".join(damaged))


@command.command(short_help="Download data and compare their checksums.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where to write [default: the user's cache].",
)
def fetch(names: tuple[str, ...], data_dir: Path | None) -> None:
    """Download data and compare their checksums: mnist and cifar10 unless others are named.

    Run it again to continue a download that was interrupted.
    """
    from lft_validation.datasets import cache_folder, source
    from lft_validation.datasets_fetch import fetch as fetch_source

    for wanted in [source(name) for name in names or ("mnist", "cifar10")]:
        click.echo(fetch_source(wanted, data_dir or cache_folder()))


def _reports(names: tuple[str, ...], data_dir: Path | None, thorough: bool) -> list[Report]:
    from lft_validation.datasets import SOURCES, source
    from lft_validation.datasets_survey import survey
    from lft_validation.progress import track

    chosen = names or tuple(SOURCES)
    total = sum(len(source(name).splits) for name in chosen)
    return list(track(survey(chosen, data_dir, thorough), total, "Reading"))


def _show(reports: list[Report], json_file: str | None) -> None:
    if json_file != "-":
        _print(reports)
    if json_file is not None:
        entries: list[dict[str, Any]] = [
            {**report._asdict(), "state": report.state} for report in reports
        ]
        write_report(json_file, {"data": entries})


def _print(reports: list[Report]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("data", "split"):
        table.add_column(name, no_wrap=True)
    table.add_column("images", justify="right", no_wrap=True)
    table.add_column("files", no_wrap=True)
    table.add_column("folder", overflow="fold")
    for report in reports:
        where = f"{report.folder} ({report.place})" if report.place else ""
        images = "-" if report.images is None else f"{report.images:,}"
        style = "bold red" if report.problem else None if report.place else "dim"
        table.add_row(report.name, report.split, images, report.state, where, style=style)
    console = Console(highlight=False, markup=False)
    console.print(table)
    for report in reports:
        if report.problem:
            console.print(f"{report.name}: {report.problem}", soft_wrap=False)
