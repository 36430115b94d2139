"""``lft gradcheck``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lft_validation.commands.backend_options import DEVICE_HELP, chosen_backend
from lft_validation.commands.json_option import json_option, write_report
from lft_validation.commands.outputs import check_different, figure_file
from lft_validation.errors import CheckFailed, UserError

if TYPE_CHECKING:
    from lft_backends.backend import Backend
    from lft_validation.gradcheck.derivatives import Derivatives
    from lft_validation.gradcheck.rows import Row

LOAD = "FILE:NAME"
NETWORKS = "networks"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("task", required=False)
@click.option("--estimator", type=click.Choice(["first_order", "zeroth_order"]), help="Only this.")
@click.option("--preprocess", type=click.Choice(["identity", "log_sign"]), help="Only this.")
@click.option("--gradient", metavar=LOAD, help="Your gradient: f(theta, data).")
@click.option("--hvp", metavar=LOAD, help="Your Hessian-vector product: f(theta, data, v).")
@click.option("--jacobians", metavar=LOAD, help="Your six blocks, as lft_ref.jacobians.")
@click.option("--vjp", metavar=LOAD, help="Your vjp of the cell, as lft_ref.vjp.")
@click.option("--backend", help="Check its twins and arrays: numpy, numba, cupy, torch or jax.")
@click.option("--device", help=f"Which device of the backend: {DEVICE_HELP}")
@click.option("--candidate", metavar=LOAD, help="Your whole ∇_Φ: f(test vector).")
@click.option("--plant", metavar="NAME", help="Plant a mistake; list shows all, table measures.")
@click.option("--detail", is_flag=True, help="Every term at every step, for every problem.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    callback=figure_file,
    help="Draw the first wrong problem, or the first one.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of tasks and Φ.")
@click.option("--tolerance", type=float, help="Largest relative error that passes [1e-8].")
@json_option
def command(task: str | None, plant: str | None, candidate: str | None, **options: Any) -> None:
    """Check a meta-gradient term by term and step by step.

    TASK is a built-in task (quadratic, sine-relu, sine-tanh, classes-tanh, lenet-relu, lenet-tanh,
    attack-relu, attack-tanh, fewshot-cnn, fewshot-mlp), or your own as path/to/file.py:name or
    package.module:name; without it all built-in tasks are checked. The first wrong term is named:
    later ones inherit its error.

    TASK networks checks the derivatives of layers, of LeNet-5 and of the attack (12) on it, by the
    weights and by the input, at full size; without TASK this is done too.

    Exit codes: 0 all is right, 1 something is wrong, 2 wrong usage or bad input.
    """
    check_different(plot=options["plot"], json=options["json_file"])
    if options["seed"] < 0:
        raise UserError(f"--seed must not be negative, found {options['seed']}")
    tolerance = options["tolerance"]
    if tolerance is not None and not 0.0 < tolerance < 1.0:
        raise UserError(f"--tolerance must be between 0 and 1, found {tolerance:g}")
    if sum(what is not None for what in (task, plant, candidate)) > 1:
        raise UserError("give one of TASK, --plant and --candidate, not several")
    _refuse_unused(plant, candidate, options)
    if plant in ("list", "table"):
        _catalogue(plant, options["seed"])
    elif candidate is not None:
        _candidate(candidate, options)
    else:
        rows, networks = _chosen(task, plant, options)
        _report(rows, networks, options, detail=plant is not None or options["detail"])


NARROWING = ("estimator", "preprocess", "gradient", "hvp", "jacobians", "vjp", "backend", "device")
UNUSED = {  # by what is asked for
    "--plant list and table": (*NARROWING, "detail", "plot", "tolerance", "json_file"),
    "--plant": (*NARROWING, "tolerance"),
    "--candidate": (*NARROWING, "detail", "plot"),
}


def _refuse_unused(plant: str | None, candidate: str | None, options: dict[str, Any]) -> None:
    """Say which option would change nothing, rather than ignore it."""
    listed = "--plant list and table" if plant in ("list", "table") else "--plant"
    asked = listed if plant is not None else "--candidate" if candidate is not None else None
    for name in UNUSED.get(asked or "", ()):
        if options[name] not in (None, False):
            option = name.replace("_file", "")
            raise UserError(f"--{option} does nothing beside {asked}; leave it out")


def _chosen(
    task: str | None, plant: str | None, options: dict[str, Any]
) -> tuple[list[Row], list[Derivatives]]:
    """Check what was asked for: meta-gradients, networks, or both."""
    if plant:
        return _planted(plant, options["seed"]), []
    narrowed = any(options[name] for name in NARROWING)
    if task == NETWORKS and options["plot"] is not None:
        raise UserError(f"--plot draws a meta-gradient, and TASK {NETWORKS} has none; leave it out")
    if task == NETWORKS and narrowed:
        raise UserError(
            f"TASK {NETWORKS} takes no --estimator, --preprocess, --backend, --device or "
            "function of yours"
        )
    rows = [] if task == NETWORKS else _rows(task, options)
    if task == NETWORKS or (task is None and not narrowed):
        return rows, _networks(options)
    return rows, []


def _networks(options: dict[str, Any]) -> list[Derivatives]:
    from lft_validation.gradcheck.derivatives import check_derivatives, count
    from lft_validation.progress import track

    found = check_derivatives(options["seed"], options["tolerance"])
    return list(track(found, count(), "Checking networks"))


def _right(count: int) -> str:
    return "the gradient is right" if count == 1 else f"all {count} gradients are right"


def _rows(task: str | None, options: dict[str, Any]) -> list[Row]:
    from lft_validation.gradcheck.rows import check_settings, chosen_settings, load_own
    from lft_validation.progress import track

    own = load_own(*(options[name] for name in ("gradient", "hvp", "jacobians", "vjp")))
    chosen = chosen_settings(task, options["estimator"], options["preprocess"])
    backend = _backend(options["backend"], options["device"])
    rows = check_settings(chosen, options["seed"], options["tolerance"], own, backend)
    return list(track(rows, len(chosen), "Checking"))


def _backend(name: str | None, device: str | None) -> Backend | None:
    if name is None and device is not None:
        raise UserError(f"--device {device} needs --backend: whose device is it?")
    return None if name is None else chosen_backend(name, device)


def _planted(name: str, seed: int) -> list[Row]:
    from lft_validation.gradcheck.rows import plant_row

    return [plant_row(name, seed)]


def _report(
    rows: list[Row], networks: list[Derivatives], options: dict[str, Any], detail: bool
) -> None:
    """Print, write and plot; then fail if something is wrong."""
    from lft_validation.gradcheck.as_json import as_json

    wrong = [row for row in rows if not row.report.passed]
    if options["json_file"] != "-":
        _print(rows, wrong, detail)
        _print_networks(networks)
    if options["json_file"] is not None:
        write_report(options["json_file"], as_json(rows, options["seed"], networks))
    if options["plot"] is not None:
        _plot(rows, wrong, options["plot"])
    sentences = [f"{row.report.label}: {row.report.conclusion()}" for row in wrong]
    sentences += [f"{row.name}: {row.conclusion}" for row in networks if not row.passed]
    if sentences:
        raise CheckFailed(_failure(len(rows) + len(networks), sentences))
    if options["json_file"] != "-":
        click.echo("\n".join(_all_right(rows, networks)))


def _all_right(rows: Sequence[Row], networks: Sequence[Derivatives]) -> list[str]:
    lines = [_right(len(rows))] if rows else []
    return lines + ([f"all {len(networks)} networks and losses are right"] if networks else [])


def _plot(rows: Sequence[Row], wrong: Sequence[Row], path: Path) -> None:
    from lft_validation.gradcheck.plot import plot

    plot((wrong or rows)[0].report, path)


def _print_networks(networks: Sequence[Derivatives]) -> None:
    from rich.console import Console

    from lft_validation.gradcheck.tables import DERIVATIVES_NOTES, derivatives_table

    if networks:
        console = Console(highlight=False, markup=False)
        console.print(derivatives_table(networks))
        console.print(DERIVATIVES_NOTES)
    for row in networks:
        for kink in row.kinks[:1]:
            click.echo(f"Near a kink: {row.name}: {kink}.")


def _print(rows: Sequence[Row], wrong: Sequence[Row], detail: bool) -> None:
    """Print the summary; and in detail what was asked for, or the first problem that is wrong."""
    from rich.console import Console

    from lft_validation.gradcheck.tables import LEGEND, methods_text, summary, summary_notes
    from lft_validation.gradcheck.tables import detail as tables

    if not rows:
        return
    console = Console(highlight=False, markup=False)
    console.print(summary(rows))
    console.print(summary_notes(rows, max(row.report.tolerance for row in rows)))
    for row in rows if detail else wrong[:1]:
        console.print(f"\n{row.report.label}", style="bold")
        for table in tables(row.report):
            console.print(table)
        console.print(LEGEND)
        console.print(methods_text(row.report.methods))
    for row in rows:
        for kink in row.report.kinks[:1]:
            more = len(row.report.kinks) - 1
            also = f", and {more} more" if more else ""
            console.print(f"Near a kink: {row.report.label}: {kink.sentence()}{also}.")


def _failure(total: int, sentences: Sequence[str]) -> str:
    """One paragraph for each of the first few problems that are wrong, at most 80 columns wide."""
    import textwrap

    shown = list(sentences[:3])
    if len(sentences) > len(shown):
        shown.append("… and others; --detail shows all.")
    lines = [f"{len(sentences)} of {total} wrong.", *shown]
    return "\n".join(textwrap.fill(line, 80, break_on_hyphens=False) for line in lines)


def _catalogue(what: str, seed: int) -> None:
    """Print the mistakes that can be planted, or what each of them looks like to each method."""
    from lft_validation.gradcheck.catalogue import list_lines, table
    from lft_validation.gradcheck.plants import PLANTS
    from lft_validation.progress import track

    if what == "list":
        click.echo("\n".join(list_lines()))
    else:
        from lft_validation.gradcheck.catalogue import measure

        lines = track(measure(seed), len(PLANTS), "Planting")
        click.echo(table(list(lines)), nl=False)


def _candidate(spec: str, options: dict[str, Any]) -> None:
    from lft_validation.gradcheck.candidate import check_candidate, conclusion, count, lines
    from lft_validation.gradcheck.load import load
    from lft_validation.progress import track

    function = load(spec)
    checked = check_candidate(function, spec, options["seed"], options["tolerance"])
    results = list(track(checked, count(), "Checking"))
    if options["json_file"] != "-":
        click.echo("\n".join(lines(results)))
    if options["json_file"] is not None:
        from lft_validation.gradcheck.as_json import plain

        plain_results = [plain(result._asdict()) for result in results]
        write_report(options["json_file"], {"seed": options["seed"], "cases": plain_results})
    text = conclusion(results, options["seed"])
    if text:
        raise CheckFailed(text)
    if options["json_file"] != "-":
        click.echo(_right(len(results)))
