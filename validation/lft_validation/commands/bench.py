"""``lft bench``: this project, JAX and PyTorch on the same unroll, side by side."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from lft_validation.commands.data import check_data_dir, data_dir_option
from lft_validation.commands.json_option import json_option, write_report
from lft_validation.commands.outputs import check_different, figure_file, writable_folder
from lft_validation.errors import CheckFailed, UserError

CASES = ("quadratic", "sine", "cnn", "attack", "training", "forward", "growth", "memory", "startup")
SOURCES = ("mnist", "cifar10", "digits")  # whose victims are in the package


@click.command()
@click.option("--case", "cases", multiple=True, type=click.Choice(CASES),
              help="Only this one; may be given again.")  # fmt: skip
@click.option("--dtype", type=click.Choice(["float32", "float64", "both"]), default="both",
              show_default=True, help="Precision; growth and start-up use the first.")  # fmt: skip
@click.option("--d", multiple=True, type=int, help="Size of the quadratic; may be given again. "
              "784, 20000 and 200000 by default; on a GPU also 100000 and 10000000, not 784."
              )  # fmt: skip
@click.option("--steps", type=int, default=20, show_default=True, help="K.")
@click.option("--tasks", type=int, default=8, show_default=True, help="Sine tasks at once.")
@click.option("--source", type=click.Choice(SOURCES),
              help="Images that are attacked [default: mnist where there is one, else digits]."
              )  # fmt: skip
@data_dir_option
@click.option("--threads", type=int, help="Cores for everybody; all by default.")
@click.option("--peers", help="jax,torch (default), one of them, or none.")
@click.option("--device", type=click.Choice(["cpu", "gpu"]), default="cpu", show_default=True,
              help="What all contestants compute on.")  # fmt: skip
@click.option("--seconds", type=float, default=20.0, show_default=True,
              help="Seconds of timing per table, at least three rounds.")  # fmt: skip
@click.option("--repeats", type=int, default=50, show_default=True,
              help="Most rounds per table.")  # fmt: skip
@click.option("--compile-seconds", type=float, default=120.0, show_default=True,
              help="Limit for torch.compile; 0 leaves it out.")  # fmt: skip
@json_option
@click.option("--figure", type=click.Path(dir_okay=False, path_type=Path), callback=figure_file,
              help=".png, .svg or .pdf, of the cases that are timed.")  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), callback=writable_folder,
              help="Folder for bench.json, bench.png and bench.svg.")  # fmt: skip
def command(
    cases: tuple[str, ...], dtype: str, d: tuple[int, ...], peers: str | None,
    threads: int | None, json_file: str | None, figure: Path | None, out: Path | None,
    data_dir: Path | None, **settings: Any,
) -> None:  # fmt: skip
    """Time the same unroll by lft_ref, JAX and PyTorch, interleaved in one process.

    Value and meta-gradient of K unrolled steps, second-order term kept. A contestant is compared
    with the float64 reference first; only what is right is timed. Exit codes: 0 done, 1 a
    contestant was wrong or nothing could be timed, 2 wrong usage.

    Everything takes in the order of half an hour on two idle cores. For a first look:
    --case quadratic --d 20000 --dtype float32 --peers jax.
    """
    check_different(figure=figure, json=json_file)
    from lft_validation.bench.bars import bars
    from lft_validation.bench.report import as_json
    from lft_validation.bench.run import run
    from lft_validation.commands.bench_options import (
        check_device,
        check_figures,
        parse,
        with_images,
    )
    from lft_validation.datasets import searched_first

    options = parse(settings, cases, d, dtype, peers, threads)
    check_figures(options, figure, out)
    files = [json_file] if json_file not in (None, "-") else []
    files += [str(out / "bench.json")] if out else []

    def keep(bench: Any) -> None:
        for file in files:
            write_report(file, as_json(bench, bars(bench)))

    images = not {"attack", "training"}.isdisjoint(options.cases)
    source = (settings["source"] or "mnist") if images else None
    check_data_dir(data_dir, source, f"--case {' --case '.join(options.cases)}")
    with searched_first(data_dir) if images else nullcontext():
        if images:
            options = with_images(options, settings["source"] is not None)
        check_device(options)
        bench = _run_aloud(run, options, keep)
    keep(bench)
    judged = bars(bench)
    if json_file == "-":
        write_report("-", as_json(bench, judged))
    else:
        _show(bench, judged)
    _draw(bench, figure, out)
    _judge(bench)


def _judge(bench: Any) -> None:
    rows = [(case, row) for case in bench.cases for row in case.rows]
    wrong = [f"{row.name} ({case.title}, {case.dtype})" for case, row in rows if not row.right]
    if wrong:
        raise CheckFailed(f"wrong results, not timed: {'; '.join(wrong)}")
    if bench.cases and not rows:
        reasons = dict.fromkeys(each.reason for case in bench.cases for each in case.missing)
        raise CheckFailed(f"nothing was timed: {'; '.join(reasons)}")


def _run_aloud(run: Any, options: Any, keep: Any) -> Any:
    from rich.console import Console

    with Console(stderr=True).status("starting") as status:
        return run(options, lambda text: status.update(f"{text} …"), keep)


def _show(bench: Any, judged: list[Any]) -> None:
    from rich.console import Console

    from lft_validation.bench.tables import show

    show(bench, judged, Console())


def _draw(bench: Any, figure: Path | None, out: Path | None) -> None:
    from lft_validation.bench.report import draw

    figures = [figure] if figure else []
    figures += [out / f"bench.{kind}" for kind in ("png", "svg")] if out else []
    for path in figures if any(case.rows for case in bench.cases) else []:
        try:
            draw(bench, path)
        except OSError as error:
            raise UserError(
                f"the figure {path} cannot be written ({error.strerror}); choose another place"
            ) from error
