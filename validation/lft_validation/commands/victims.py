"""``lft victims train``, ``lft victims list`` and ``lft victims show``."""

from __future__ import annotations

import dataclasses
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lft_validation.commands.backend_options import backend_options, chosen_backend
from lft_validation.commands.data import check_data_dir, data_dir_option
from lft_validation.commands.json_option import json_option, write_report
from lft_validation.commands.outputs import check_file
from lft_validation.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from lft_backends.backend import Backend
    from lft_validation.datasets import Dataset
    from lft_validation.victims_training import Recipe


@click.group()
def command() -> None:
    """Train or show victims: the classifiers of images that perturbations are made against."""


@command.command(short_help="Train a victim and write it to a file.")
@click.argument("source")
@click.option("--out", type=click.Path(path_type=Path), help="File [default: SOURCE.npz].")
@data_dir_option
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all draws.")
@click.option("--network", help="lenet5, small (digits) or mlp [default: the first that fits].")
@click.option("--epochs", type=int, help="Passes over the training images.")
@click.option("--learning-rate", type=float, help="Adam's, at the start.")
@click.option("--activation", type=click.Choice(["relu", "tanh"]), help="[default: relu]")
@click.option("--pooling", type=click.Choice(["max", "average"]), help="[default: max]")
@click.option("--resume", is_flag=True, help="Go on with a training that was stopped.")
@backend_options
def train(
    source: str,
    out: Path | None,
    data_dir: Path | None,
    resume: bool,
    backend: str,
    device: str | None,
    **changes: Any,
) -> None:
    """Train a victim on SOURCE (mnist, cifar10, digits, ...) and write it to a file.

    LeNet-5, or a small network for the digits, or a perceptron with one hidden layer (mlp), with
    Adam in float32. The same command gives the same bits on the same machine and
    backend. Ctrl-C leaves FILE.checkpoint, from which --resume goes on to the same bits.
    """
    from lft_validation.datasets import load
    from lft_validation.datasets import source as source_of
    from lft_validation.victims import network
    from lft_validation.victims_training import NETWORKS, RECIPES

    if source not in RECIPES:
        raise UserError(f"unknown data {source!r}; choose one of {', '.join(RECIPES)}")
    check_data_dir(data_dir, source)
    if changes["network"] not in (None, *NETWORKS):
        raise UserError(
            f"--network must be one of {', '.join(NETWORKS)}, found {changes['network']!r}"
        )
    given = {name: value for name, value in changes.items() if value is not None}
    recipe = dataclasses.replace(RECIPES[source], **given)
    chosen = chosen_backend(backend, device, "float32")
    data, test = load(source, "train", data_dir), load(source, "test", data_dir)
    out = out or Path(f"{source}.npz")
    check_file("--out", out)
    checkpoint = _checkpoint(out, resume)
    try:
        network(recipe.network, source_of(source).shape)
    except ValueError as error:
        raise UserError(f"--network: {error}") from error
    try:
        right = _write(out, recipe, data, test, chosen, checkpoint)
    except KeyboardInterrupt:
        how = " and --resume" if checkpoint.exists() else ", from its start"
        click.echo(f"stopped; go on with the same command{how}", err=True)
        raise click.exceptions.Exit(130) from None
    except OSError as error:
        remedy = "choose another"
        if checkpoint.exists():
            remedy = (
                f"the training is kept in {checkpoint}: make room for the file, and go on with the "
                "same command and --resume"
            )
        raise UserError(f"cannot write --out {out} ({error.strerror}); {remedy}") from error
    click.echo(f"{right:.2%} of {test.images.number:,} test images right; written to {out}")


def _write(
    out: Path, recipe: Recipe, data: Dataset, test: Dataset, backend: Backend, checkpoint: Path
) -> float:
    """Train, judge and write a victim; return the share of test images that it has right."""
    from lft_validation.victims import save_victim
    from lft_validation.victims_training import finish

    victim = finish(recipe, _weights(recipe, data, backend, checkpoint), data, test)
    save_victim(out, victim)
    checkpoint.unlink(missing_ok=True)
    return float(victim.about["accuracy"])


def _weights(recipe: Recipe, data: Dataset, backend: Backend, checkpoint: Path) -> np.ndarray:
    """Train to the end; Ctrl-C leaves the checkpoint."""
    from lft_validation.progress import track
    from lft_validation.victims_training import steps_per_epoch, train

    steps = recipe.epochs * steps_per_epoch(recipe, data)
    path = train(recipe, data, backend, checkpoint)
    try:
        (weights,) = deque(track(path, steps, f"Training on {recipe.source}"), maxlen=1)
    except KeyboardInterrupt:
        path.close()  # if it was not there that Ctrl-C arrived, it writes its checkpoint now
        raise
    return backend.to_host(weights)


def _checkpoint(out: Path, resume: bool) -> Path:
    """Return the file that a training leaves when it is stopped, beside its result."""
    checkpoint = out.with_name(f"{out.name}.checkpoint")
    if out.exists():
        raise UserError(f"--out {out} exists; choose another file")
    if resume and not checkpoint.exists():
        raise UserError(f"--resume: there is no {checkpoint}; leave --resume out to start anew")
    if checkpoint.exists() and not resume:
        raise UserError(
            f"{checkpoint} is of a training that was stopped; add --resume to go on with it, or "
            "delete it to start anew"
        )
    return checkpoint


@command.command(name="list")
@json_option
def list_(json_file: str | None) -> None:
    """List the victims that come with the package."""
    from lft_validation.victims import load_victim, shipped

    victims = [load_victim(name) for name in shipped()]
    if json_file is not None:
        write_report(json_file, {"victims": {victim.name: victim.about for victim in victims}})
    if json_file == "-":
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("name", "network", "images"):
        table.add_column(name, no_wrap=True)
    for name in ("right", "of images", "weights"):
        table.add_column(name, justify="right", no_wrap=True)
    for victim in victims:
        about = victim.about
        kind = f"{about['network']}, {about['activation']}, {about['pooling']}"
        shape = " x ".join(map(str, about["shape"]))
        right, number = f"{about['accuracy']:.2%}", f"{about['test_images']:,}"
        table.add_row(victim.name, kind, shape, right, number, f"{victim.weights.size:,}")
    Console(highlight=False).print(table)


@command.command(short_help="Say how a victim came about.")
@click.argument("name")
@json_option
def show(name: str, json_file: str | None) -> None:
    """Say how a victim came about: NAME is one of the package's, or a file."""
    from lft_validation.victims import load_victim

    victim = load_victim(name)
    if json_file is not None:
        write_report(json_file, victim.about)
    if json_file == "-":
        return
    width = max(len(key) for key in victim.about)
    for key, value in victim.about.items():
        click.echo(f"{key:<{width}}  {value}")
