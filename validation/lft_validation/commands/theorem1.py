"""``lft theorem1``: both sides of (11) for one family and one Φ, now, without a run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lft_validation.commands.json_option import json_option, write_report
from lft_validation.errors import CheckFailed, UserError

if TYPE_CHECKING:
    from lft_validation.experiments.theorem1.config import Config


@click.command()
@click.option("--family", default="sine", show_default=True, help="sine or digits.")
@click.option(
    "--phi",
    default="random",
    show_default=True,
    help="random, half-trained, trained (both train first), a shipped one (sine), or a file.",
)
@click.option("--train-sizes", default="1,8,64", show_default=True, help="|D_tr|, a list.")
@click.option("--val-sizes", default="1,64", show_default=True, help="|D_val|, a list.")
@click.option("--tasks", type=int, default=2, show_default=True, help="N of (4) and (10).")
@click.option(
    "--draws", type=int, default=40, show_default=True, help="Draws of (D_tr, D_val) at each point."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of tasks and draws.")
@click.option("--backend", default="numpy", show_default=True, help="numpy or numba.")
@json_option
def command(
    family: str,
    phi: str,
    train_sizes: str,
    val_sizes: str,
    tasks: int,
    draws: int,
    seed: int,
    backend: str,
    json_file: str | None,
) -> None:
    """Measure both sides of Theorem 1: how far are LFT's and L2O's gradients apart?

    The estimator is checked first, on a case whose answer is known. "lft reproduce theorem1" does
    the same for several fine-tuners and draws the figure.

    Exit codes: 0 done, 1 the estimator or the bound (11) is wrong here.
    """
    from lft_validation.experiments.theorem1.config import make_config

    config = make_config(
        "quick",
        {
            "families": (family,),
            "train_sizes": _sizes("--train-sizes", train_sizes),
            "val_sizes": _sizes("--val-sizes", val_sizes),
            "tasks": tasks,
            "draws": draws,
            "seeds": (seed,),
            "backend": backend,
        },
    )
    summary = _measure(config, family, phi, seed)
    if json_file != "-":
        from lft_validation.experiments.theorem1.tables import show, show_details

        show(config, summary)
        show_details(summary)
    if json_file is not None:
        from lft_validation.runs import installed

        about = {"config": config.to_json(), "versions": installed()}
        write_report(json_file, about | summary)
    _judge(summary)


def _sizes(name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"{name} must be numbers such as 1,8,64, found {text!r}") from error


def _measure(config: Config, family: str, phi: str, seed: int) -> dict[str, Any]:
    from lft_validation.experiments.theorem1.needs import check_usable
    from lft_validation.experiments.theorem1.report import summarise
    from lft_validation.experiments.theorem1.session import measure_all

    check_usable(config, 1)
    points = measure_all(config, family, phi, seed)
    return summarise(config, {(family, seed, phi): points})


def _judge(summary: dict[str, Any]) -> None:
    estimator = summary["estimator"]
    if not estimator["covered"]:
        raise CheckFailed(
            f"the estimator says {estimator['low']:.3g} to {estimator['high']:.3g} where "
            f"{estimator['truth']:.3g} is true; the installation is not to be trusted"
        )
    if any(row["above_bound"] for series in summary["series"] for row in series["grid"]):
        raise CheckFailed("the gap is above the bound (11): A1 to A3 cannot all hold here")
