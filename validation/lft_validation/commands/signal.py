"""``lft signal``: how many tasks it takes to see where a meta-gradient points."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import click

from lft_validation.commands.backend_options import backend_options, chosen_backend
from lft_validation.commands.json_option import json_option, write_report
from lft_validation.commands.tuner_note import note_purpose
from lft_validation.errors import UserError

if TYPE_CHECKING:
    from lft_validation.gradient_signal import Window


@click.command()
@click.option("--tuner", default="sine", show_default=True, help="Name, or a file: phi.npz.")
@click.option("--tasks", type=int, default=100, show_default=True, help="Sine tasks.")
@click.option("--seed", type=int, default=100, show_default=True, help="Seed of the tasks.")
@click.option("--no-second-order", is_flag=True, help="Drop ∂g/∂θ.")
@backend_options
@json_option
def command(
    tuner: str,
    tasks: int,
    seed: int,
    no_second_order: bool,
    backend: str,
    device: str | None,
    json_file: str | None,
) -> None:
    """Compare the meta-gradients of many sine tasks, for LFT (D_val) and L2O (D_tr).

    For each unroll of 20 steps: the loss after it, the median length of a task's gradient, the
    share that the longest eighth of the tasks has of all squared lengths, how far the tasks agree
    on the direction (1: all the same, 0: not at all), and how many tasks a batch needs
    until its mean has as much signal as noise.
    """
    import numpy as np

    from lft_backends.executors import one_thread
    from lft_validation.experiments.usable import GIB, fits, free_words
    from lft_validation.gradient_signal import measure, memory_bytes
    from lft_validation.progress import track
    from lft_validation.tuners import load_tuner

    for name, value, least in (("--tasks", tasks, 3), ("--seed", seed, 0)):
        if value < least:
            raise UserError(f"{name} must be at least {least}, found {value}")
    params, cell = load_tuner(tuner)
    note_purpose(tuner, "figure4")
    chosen = chosen_backend(backend, device)
    needed = memory_bytes(tasks, params.n)
    if not fits(needed, 1, chosen):
        raise UserError(
            f"{tasks} tasks need about {needed / GIB:.1f} GiB, and {free_words(chosen)}; use "
            "fewer --tasks"
        )
    unrolls = measure(params, cell, chosen, tasks, seed, not no_second_order)
    quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")  # judged by its results
    with one_thread(), quiet:  # products are small: threads would wait for each other
        windows = [w for pair in track(unrolls, 10, "unrolls") for w in pair]
    _check_finite(windows, tuner)
    if json_file != "-":
        _show(windows, tasks)
    if json_file is not None:
        from lft_validation.runs import installed

        about = {"tuner": tuner, "tasks": tasks, "seed": seed, "second_order": not no_second_order}
        about |= {"backend": backend, "device": device, "versions": installed()}
        write_report(json_file, about | {"windows": [_plain(w) for w in windows]})


def _check_finite(windows: list[Window], tuner: str) -> None:
    for w in windows:
        if not isfinite(w.loss + w.norm + w.longest + w.agreement + w.error):
            raise UserError(
                f"the meta-gradients of tuner {tuner} on {w.judged_on} up to step {w.last_step} "
                "are all 0, or some are not finite, so they have no directions to compare; use "
                "another --tuner"
            )


def _plain(window: Window) -> dict[str, Any]:
    needed = window.tasks_needed
    return window._asdict() | {"tasks_needed": needed if needed < float("inf") else None}


def _show(windows: list[Window], tasks: int) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    title = f"Meta-gradients of {tasks} tasks; LFT is judged on D_val, L2O-train on D_tr"
    table = Table(title=title, box=box.SIMPLE_HEAD)
    for name in ("steps", "data", "MSE", "length", "longest ⅛", "agreement ± se", "tasks needed"):
        table.add_column(name, justify="left" if name == "data" else "right")
    for w in windows:
        seen = w.agreement > 2.0 * w.error
        table.add_row(
            f"… {w.last_step}",
            w.judged_on,
            f"{w.loss:.3f}",
            f"{w.norm:.0f}",
            f"{100 * w.longest:.0f} %",
            f"{w.agreement:.3f} ± {w.error:.3f}",
            f"{w.tasks_needed:.0f}" if seen else "none seen",
        )
    Console().print(table)
