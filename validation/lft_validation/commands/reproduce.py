"""``lft reproduce``: run an experiment of the paper."""

from __future__ import annotations

import importlib
import json
from collections.abc import Set
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from lft_validation.commands.backend_options import DEVICE_HELP
from lft_validation.commands.data import data_dir_option
from lft_validation.errors import NotFound, UserError

WITHOUT_DATA = (
    "run on the bundled digits, with --preset smoke or --set training=digits --set testing=digits"
)

MOST_SEEDS = 1000
# By name, the folder of lft_validation.experiments that it is in.
EXPERIMENTS = {"figure4": "figure4", "table1": "uap", "theorem1": "theorem1"}
EXPERIMENTS |= dict.fromkeys(("table2", "figure3", "tableA1", "tableA2"), "fewshot")
EXPERIMENTS |= dict.fromkeys(
    ("figure2", "figureA1", "figureA2", "figureA3", "figureA4", "table1-beyond"), "uap"
)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("experiment", metavar="EXPERIMENT")
@click.option(
    "--preset",
    default="quick",
    show_default=True,
    help="smoke (at most a minute), quick, or paper (its counts: hours).",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Run folder [default: a new one in runs/]."
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out, to the same bits.")
@click.option(
    "--reuse",
    type=click.Path(path_type=Path),
    help="Take jobs over that another run folder has finished with the same settings.",
)
@click.option("--seeds", type=int, help="How many seeds, N: 0 … N−1 [default: the preset's].")
@click.option("--first-seed", type=int, default=0, show_default=True, help="The first of them.")
@click.option("--backend", help="numpy, numba, cupy, torch or jax; see lft doctor.")
@click.option("--device", help=f"Which device of the backend: {DEVICE_HELP}")
@click.option("--dtype", help="float32 or float64.")
@data_dir_option
@click.option("--workers", type=int, help="Processes [default: as many as cores; 1 on a GPU].")
@click.option(
    "--executor",
    metavar="WHERE",
    help="local, processes:N, dask://HOST:PORT, ray or ray://HOST:PORT.",
)
@click.option(
    "--share",
    type=click.Choice(["jobs", "tasks"]),
    default="jobs",
    show_default=True,
    help="What goes to the workers: whole jobs, or the tasks of one job at a time.",
)
@click.option("--methods", help="Comma-separated, for example LFT,L2O.")
@click.option("--order", type=click.Choice(["first", "zeroth", "both"]),
              help="With gradients, with their estimates (6), or both.")  # fmt: skip
@click.option(
    "--shots",
    type=int,
    help="Examples in D_tr and D_val, of each class where there are classes. In the few-shot "
    "tables in D_tr alone: D_val has --set query=N, in testing --set test_query=N.",
)
@click.option("--hidden", help="Widths of a perceptron's hidden layers, such as 40,40.")
@click.option("--lstm-units", type=int, help="n, hidden units of the fine-tuner.")
@click.option("--unroll", type=int, help="K, steps between two meta-updates.")
@click.option("--steps", type=int, help="Fine-tuning steps per task in meta-training.")
@click.option("--meta-tasks", type=int, help="Meta-training tasks.")
@click.option("--test-tasks", type=int, help="Unseen tasks to test on.")
@click.option("--long-steps", type=int, help="Steps followed beyond the trained horizon.")
@click.option("--weighting", help="w_k of eq. (4): every, linear, last or mean.")
@click.option("--directions", type=int, help="q, directions of eq. (6).")
@click.option("--mu", type=float, help="μ, smoothing of eq. (6).")
@click.option("--learning-rate", type=float, help="Learning rate of Adam on Φ.")
@click.option(
    "--victim",
    multiple=True,
    metavar="SOURCE=FILE",
    help="A victim of lft victims train, in the place of the package's (again for more).",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any setting of a run's config.json, as JSON: --set maml.passes=3, --set "
    "'seeds=[4,5]' (again for more).",
)
def command(experiment: str, preset: str, out: Path | None, resume: bool, **options: Any) -> None:
    """Run EXPERIMENT: tables, figures and trained Φ in a folder.

    \b
    figure4          regression of sine waves
    table1           attacks on images, with all of their figures:
    figure2, figureA1, figureA2, figureA3, figureA4
    table1-beyond    the same attacks for more steps, on other victims and data
    table2, figure3  classifiers from few images
    tableA1          the same with 1, 3, 5 and 10 images of a class
    tableA2          the same on Omniglot and miniImageNet
    theorem1         both sides of Theorem 1

    The options from --methods on change a setting of the preset; one that EXPERIMENT does not have
    is refused.

    Exit codes: 0 done, whatever the claims' verdicts; 1 a training diverged or workers were lost; 2
    wrong usage or bad input; 130 stopped, go on with --resume.
    """  # noqa: D301 - \b keeps click from joining lines
    if experiment not in EXPERIMENTS:
        raise UserError(
            f"unknown experiment {experiment!r}; choose one of {', '.join(EXPERIMENTS)}"
        )
    if resume and out is None:
        raise UserError("--resume needs --out, the folder of the run to go on with")
    from lft_validation.datasets import searched_first
    from lft_validation.experiments.settings import from_preset
    from lft_validation.runs import new_folder

    reuse = options.pop("reuse")
    plan = _plan(options.pop("workers"), options.pop("executor"), options.pop("share"), reuse)
    room = f"lft_validation.experiments.{EXPERIMENTS[experiment]}"
    presets = importlib.import_module(f"{room}.config").PRESETS
    presets = presets.get(experiment, presets)  # rooms with several tables have some for each
    settings = next(iter(presets.values()))
    seeds = from_preset(presets, preset, {}).seeds
    main = importlib.import_module(f"{room}.main")
    run = getattr(main, "BY_NAME", {}).get(experiment) or main.reproduce
    data_dir = options.pop("data_dir")
    if data_dir is not None and not hasattr(settings, "testing"):
        raise UserError(f"--data-dir does not apply to {experiment}; leave it out")
    _check_given(options, settings, experiment)
    changes = _changes(options, settings, seeds)
    try:
        named = new_folder(f"{experiment}-{preset}") if out is None else nullcontext(out)
        with named as folder, searched_first(data_dir):
            run(preset, changes, folder, resume, _for_device(plan, changes), reuse)
    except NotFound as error:
        raise UserError(f"{error.message}; or {WITHOUT_DATA}") from error


def _check_given(options: dict[str, Any], settings: Any, experiment: str) -> None:
    """Refuse options that an experiment has no settings for, by the names that they were given."""
    for name, value in options.items():
        setting = {"order": "settings", "victim": "victims"}.get(name, name)
        general = name in ("seeds", "first_seed", "assignments")
        if not general and value not in (None, ()) and not hasattr(settings, setting):
            option = name.replace("_", "-")
            raise UserError(f"--{option} does not apply to {experiment}; leave it out")


def _plan(workers: int | None, executor: str | None, share: str, reuse: Path | None) -> Any:
    """Read where the work shall be done."""
    from lft_backends.executors import Choice, parse
    from lft_validation.jobs import Plan

    if workers is not None and workers < 1:
        raise UserError(f"--workers must be at least 1, found {workers}")
    if executor is None:
        return Plan(None if workers is None else Choice("processes", workers), share)
    if workers is not None:
        raise UserError("--workers N is short for --executor processes:N; give one of the two")
    try:
        choice = parse(executor)
    except ValueError as error:
        raise UserError(str(error)) from error
    if reuse is not None and choice.is_cluster and share == "jobs":
        raise UserError(
            f"--reuse is for this machine's own processes, not for {executor}: its workers do not "
            "see that folder; leave --executor out, or add --share tasks"
        )
    return Plan(choice, share)


def _for_device(plan: Any, changes: dict[str, Any]) -> Any:
    """Put the work into one process where all would be on one GPU, unless the user said where."""
    backend, device = changes.get("backend"), changes.get("device")
    if plan.executor is not None or not isinstance(backend, str):
        return plan
    if not isinstance(device, str | None):  # a run's settings are checked later
        return plan
    from lft_backends.executors import Choice
    from lft_validation.experiments.usable import shares_one_device

    return plan._replace(executor=Choice("local")) if shares_one_device(backend, device) else plan


def _changes(
    options: dict[str, Any], settings: Any, preset_seeds: tuple[int, ...]
) -> dict[str, Any]:
    """Translate command-line options into changes of the configuration."""
    seeds, first = options.pop("seeds"), options.pop("first_seed")
    order, methods, hidden = (options.pop(name) for name in ("order", "methods", "hidden"))
    shots, victims = options.pop("shots"), options.pop("victim")
    assignments = options.pop("assignments")
    changes = {name: value for name, value in options.items() if value is not None}
    if seeds is not None or first:
        if seeds is not None and seeds > MOST_SEEDS:
            raise UserError(
                f"--seeds is how many seeds, at most {MOST_SEEDS}, found {seeds}; "
                "--first-seed chooses which"
            )
        if first < 0 or (seeds is not None and seeds < 1):
            name, least, found = ("first-seed", 0, first) if first < 0 else ("seeds", 1, seeds)
            raise UserError(f"--{name} must be at least {least}, found {found}")
        changes["seeds"] = tuple(range(first, first + (seeds or len(preset_seeds))))
    if order is not None:
        both = ("first order", "zeroth order")
        changes["settings"] = {"first": both[:1], "zeroth": both[1:], "both": both}[order]
    if methods is not None:
        changes["methods"] = tuple(name.strip() for name in methods.split(","))
    if victims:
        changes["victims"] = victims
    if hidden is not None:
        changes["hidden"] = _widths(hidden)
    if shots is not None:
        both = ("shots", "val_shots")  # D_val's size, where it is a setting
        changes |= {name: shots for name in both if hasattr(settings, name)}
    return changes | _assigned(assignments, changes.keys() - {"val_shots"})


def _assigned(assignments: tuple[str, ...], taken: Set[str]) -> dict[str, Any]:
    """Read every --set; none may say again what an option of its own says."""
    found = dict(_setting(text) for text in assignments)
    twice = sorted(found.keys() & taken)
    if twice:
        raise UserError(f"{twice[0]} is given by an option and by --set; give one of the two")
    return found


def _setting(text: str) -> tuple[str, Any]:
    """Parse NAME=VALUE; a value that is no JSON is a word."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UserError(f"--set must be NAME=VALUE, such as adam_rate=0.01, found {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
    except RecursionError as error:
        raise UserError(f"--set {name}: the value is nested too deeply; check it") from error


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"--hidden must be numbers such as 40,40, found {text!r}") from error
