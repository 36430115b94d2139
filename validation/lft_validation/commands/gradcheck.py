"""``lft gradcheck``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lft_validation.commands.json_option import json_option, write_report
from lft_validation.errors import CheckFailed, UserError

if TYPE_CHECKING:
    from rich.table import Table

    from lft_validation.gradcheck import Row


@click.command()
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of tasks and Φ.")
@click.option(
    "--tolerance",
    type=float,
    default=1e-8,
    show_default=True,
    help="Largest relative difference between engines that passes.",
)
@json_option
def command(seed: int, tolerance: float, json_file: str | None) -> None:
    """Compare the meta-gradient's engines on built-in tasks.

    Statement 1 (forward), backpropagation (adjoint) and automatic differentiation of the paper's
    formulas (auto) must give the same gradient; central differences must agree as far as they can.

    Exit codes: 0 all agree, 1 some do not.
    """
    if seed < 0:
        raise UserError(f"--seed must not be negative, found {seed}")
    if not 0.0 < tolerance < 1.0:
        raise UserError(f"--tolerance must be between 0 and 1, found {tolerance:g}")
    from lft_validation.gradcheck import check_all, settings
    from lft_validation.progress import track

    rows = list(track(check_all(seed), len(settings()), "Checking"))
    if json_file != "-":
        _print(rows, tolerance)
    if json_file is not None:
        write_report(json_file, _as_json(rows, seed, tolerance))
    wrong = [row for row in rows if not row.agrees(tolerance)]
    if wrong:
        lines = "\n".join(_disagreement(row, tolerance) for row in wrong)
        raise CheckFailed(f"{len(wrong)} of {len(rows)} gradients disagree\n{lines}")
    if json_file != "-":
        click.echo(f"all {len(rows)} gradients agree")


def _print(rows: list[Row], tolerance: float) -> None:
    from rich.console import Console

    from lft_validation.gradcheck import CENTRAL_TOLERANCE

    console = Console(highlight=False)
    console.print(_table(rows, tolerance))
    console.print(
        "2nd: whether dg/dtheta was kept. fwd: Statement 1. adj: backpropagation. auto: automatic "
        "differentiation of the paper's formulas, not of this code. central: differences of the "
        "meta-loss along random directions, at the best of several step sizes; they say nothing "
        f"where dg/dtheta was left out. Allowed: {tolerance:.0e} between engines, "
        f"{CENTRAL_TOLERANCE:.0e} for central."
    )
    if any(row.near_kink for row in rows):
        console.print(
            "k: so close to a kink of ReLU or log/sign that rounding may decide on which side."
        )


def _table(rows: list[Row], tolerance: float) -> Table:
    """One row per gradient, at most 80 columns wide."""
    from rich import box
    from rich.table import Table

    table = Table(
        title="Relative differences of the meta-gradient",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in ("task", "estimator", "features", "2nd"):
        table.add_column(name, no_wrap=True)
    for name in ("fwd-adj", "fwd-auto", "adj-auto", "central"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        task, estimator, preprocess, second_order = row.setting
        engines = (row.forward_adjoint, row.forward_autodiff, row.adjoint_autodiff)
        table.add_row(
            f"{task} k" if row.near_kink else task,
            estimator.removesuffix("_order"),
            preprocess,
            "yes" if second_order else "no",
            *(f"{error:.0e}" for error in engines),
            "-" if row.central is None else f"{row.central:.0e}",
            style=None if row.agrees(tolerance) else "bold red",
        )
    return table


def _disagreement(row: Row, tolerance: float) -> str:
    """Say what differs, and name the array of Φ for which it is worst."""
    task, estimator, preprocess, second_order = row.setting
    where = f"{task}, {estimator}, {preprocess}, dg/dtheta {'kept' if second_order else 'left out'}"
    engines = {
        "forward and adjoint": row.forward_adjoint,
        "forward and autodiff": row.forward_autodiff,
        "adjoint and autodiff": row.adjoint_autodiff,
    }
    apart = [f"{pair} by {error:.1e}" for pair, error in engines.items() if error > tolerance]
    if not apart:
        return f"{where}: central differences differ by {row.central:.1e}"
    return f"{where}: {'; '.join(apart)}, most in {row.worst_array}"


def _as_json(rows: list[Row], seed: int, tolerance: float) -> dict[str, Any]:
    """Return what the table says, with all digits; an infinite difference is null."""
    import math

    from lft_validation.gradcheck import CENTRAL_TOLERANCE

    def plain(row: Row) -> dict[str, Any]:
        values = row.setting._asdict() | row._asdict() | {"agrees": row.agrees(tolerance)}
        del values["setting"]
        return {
            key: None if isinstance(value, float) and math.isinf(value) else value
            for key, value in values.items()
        }

    return {
        "seed": seed,
        "tolerance": tolerance,
        "central_tolerance": CENTRAL_TOLERANCE,
        "agree": all(row.agrees(tolerance) for row in rows),
        "rows": [plain(row) for row in rows],
    }
