"""The options of ``lft bench``: read and checked before anything is timed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from lft_backends.threads import cores
from lft_validation.bench.cases import PEERS, TIMED, Case, Options, contestants
from lft_validation.bench.contestant import Missing
from lft_validation.bench.device import shared
from lft_validation.bench.problems import quadratic
from lft_validation.datasets import find, locate, source
from lft_validation.errors import UserError

POSITIVE = ("steps", "tasks", "seconds", "repeats")


def parse(
    settings: dict[str, Any],
    cases: tuple[str, ...],
    d: tuple[int, ...],
    dtype: str,
    peers: str | None,
    threads: int | None,
) -> Options:
    """Return the options as the bench takes them; what was not given keeps its default.

    Raises:
        UserError: for a value that is out of range.
    """
    _check(settings, d, threads)
    given: dict[str, Any] = {name: v for name, v in settings.items() if v is not None}
    given |= {name: value for name, value in (("cases", cases), ("d", d)) if value}
    return Options(
        dtypes=("float32", "float64") if dtype == "both" else (dtype,),
        peers=_peers(peers), threads=_threads(threads),
        **given,
    )  # fmt: skip


def _timed(options: Options) -> bool:
    return not set(TIMED).isdisjoint(options.cases)


def check_figures(options: Any, figure: Path | None, out: Path | None) -> None:
    """Refuse a figure that would stay empty, and say what a folder will lack."""
    if _timed(options):
        return
    if figure is not None:
        raise UserError(
            f"--figure {figure} shows cases that are timed, and none of them was chosen; add one "
            f"with --case ({', '.join(TIMED)}), or leave --figure out"
        )
    if out is not None:
        click.echo(f"no figures in {out}: they show cases that are timed, and none of "
                   f"them was chosen ({', '.join(TIMED)})", err=True)  # fmt: skip


def check_device(options: Any) -> None:
    """Refuse to start where nobody has a GPU to compute on: every table would be empty.

    Raises:
        UserError: with what each contestant says.
    """
    if options.device != "gpu":
        return
    on_host = [case for case in options.cases if case not in TIMED]
    if on_host:
        click.echo(f"measured on the processor, also with --device gpu: {', '.join(on_host)}",
                   err=True)  # fmt: skip
    if not _timed(options):
        return
    case = Case("any", "one coordinate", "adjoint", lambda: quadratic(1, K=1))
    with shared(options.device):
        field = contestants(case, case.make(), options.dtypes[0], options)
    missing = [entry.reason for entry in field if isinstance(entry, Missing)]
    if len(missing) == len(field):
        raise UserError(
            f"--device gpu has nobody to time: {'; '.join(missing)}. See lft doctor, or use "
            "--device cpu"
        )


def _check(settings: dict[str, Any], d: tuple[int, ...], threads: int | None) -> None:
    for name, value in [(name, settings[name]) for name in POSITIVE] + [("d", x) for x in d]:
        if not 0 < value < float("inf"):
            raise UserError(f"--{name} must be positive, found {value}")
    if not 0 <= settings["compile_seconds"] < float("inf"):
        raise UserError(
            f"--compile-seconds must not be negative, found {settings['compile_seconds']}; "
            "0 leaves torch.compile out"
        )
    if threads is not None and threads < 1:
        raise UserError(f"--threads must be at least 1, found {threads}")


def _threads(wanted: int | None) -> int:
    there = cores()
    if wanted is not None and wanted > there:
        raise UserError(f"--threads {wanted} is more than this process may use; at most {there}")
    return wanted or there


def _peers(text: str | None) -> tuple[str, ...]:
    if text is None:
        return tuple(PEERS)
    names = tuple(name.strip() for name in text.split(","))
    if names == ("none",):
        return ()
    for name in names:
        if name not in PEERS:
            raise UserError(f"--peers takes {', '.join(PEERS)} or none, found {name!r}")
    return tuple(dict.fromkeys(names))


def with_images(options: Any, chosen: bool = False) -> Any:
    """The source that was chosen; else MNIST if it is here, or the digits, which always are.

    Raises:
        UserError: if what was chosen is not on this machine.
    """
    wanted = source(options.source)
    if chosen and wanted.folder:
        locate(wanted)
    if chosen or find(wanted) is not None:
        return options
    click.echo("no MNIST on this machine: attacking scikit-learn's digits instead; "
               "get it with: lft data fetch mnist", err=True)  # fmt: skip
    return replace(options, source="digits")
