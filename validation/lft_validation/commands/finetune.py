"""``lft finetune``: a trained Φ fine-tunes a network on a few labelled images of one's own."""

from __future__ import annotations

import contextlib
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lft_validation.commands.backend_options import backend_options
from lft_validation.commands.counts import check_counts
from lft_validation.commands.data import check_data_dir, data_dir_option
from lft_validation.commands.json_option import json_option, write_report
from lft_validation.commands.outputs import check_different, writable_file
from lft_validation.commands.tuner_note import note_purpose
from lft_validation.errors import UserError

if TYPE_CHECKING:
    from lft_backends.backend import Backend
    from lft_ref import Network
    from lft_validation.finetuning import Curves, Images

STEPS = (1, 2, 5, 10, 20, 50, 100)  # shown, up to the last one
KIND = "lft-finetuned-1"  # of --out
ARRAYS = 8  # of θ's size that live at once in a step, beside the cell's state


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("images", metavar="IMAGES")
@click.option("--tuner", default="digits-classes", show_default=True,
              help="The trained Φ: a name of lft's, or phi.npz of a run.")  # fmt: skip
@click.option("--network", default="mlp", show_default=True,
              help="mlp, cnn2, cnn4, or file.py:name of an lft_ref.Network.")  # fmt: skip
@click.option("--shots", default=5, show_default=True, help="Images of each class to tune on.")
@click.option("--query", default=15, show_default=True,
              help="Others of each class to measure accuracy on.")  # fmt: skip
@click.option("--classes", help="Which, by name, such as cat,dog [default: all].")
@click.option("--size", type=int, help="Resize a folder's pictures to SIZE × SIZE pixels [default: "
              "all to the first one's size].")  # fmt: skip
@click.option("--grey", is_flag=True, help="With --size: without their colours.")
@click.option("--steps", default=40, show_default=True, help="Fine-tuning steps.")
@click.option("--draws", default=5, show_default=True,
              help="Repetitions with other images and networks; means are shown.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="Of images and initial networks.")
@click.option("--sgd-rate", default=0.1, show_default=True, help="Learning rate of SGD.")
@click.option("--adam-rate", default=3e-3, show_default=True, help="Learning rate of Adam.")
@backend_options
@click.option("--dtype", default="float32", show_default=True, help="float32 or float64.")
@data_dir_option
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.npz", callback=writable_file,
              help="Write the fine-tuned networks here.")  # fmt: skip
@json_option
def command(
    images: str,
    tuner: str,
    network: str,
    classes: str | None,
    out: Path | None,
    json_file: str | None,
    **options: Any,
) -> None:
    """Fine-tune a network on a few of your IMAGES with a trained Φ; compare SGD and Adam.

    IMAGES is a folder with one subfolder of PNG or JPEG pictures for each class; an .npz file with
    bytes x of shape (N, H, W), (N, H, W, 3) or (N, C, H, W) and integers y of shape (N,); or the
    name of a source (see lft data; digits needs no download), unless a folder of that name with
    such subfolders is here. A new network is made for your
    classes, and its accuracy on images that it has not seen is shown. Nothing is meta-trained here.

    \b
    lft finetune digits --classes 3,8
    lft finetune photos/ --size 32 --network cnn2 --shots 10

    Exit codes: 0 done, 2 wrong usage or bad input.
    """  # noqa: D301 - \b keeps click from joining lines
    from lft_backends.executors import one_thread
    from lft_validation.datasets import searched_first
    from lft_validation.experiments.usable import usable_backend
    from lft_validation.finetuning import draw, fine_tune_all, initial_networks, only, rules
    from lft_validation.finetuning import read_images as read
    from lft_validation.progress import track
    from lft_validation.tuners import load_tuner

    _check(options, images)
    check_different(out=out, json=json_file)
    _check_out(out)
    params, cell = load_tuner(tuner)
    note_purpose(tuner, "fewshot")
    backend = usable_backend(options["backend"], options["dtype"], options["device"])
    with searched_first(options.pop("data_dir")):
        found = read(images, _shape(options["size"], options["grey"]))
    if classes is not None:
        found = only(found, [name.strip() for name in classes.split(",")])
    chosen = _network(network, found)
    _check_memory(chosen, found, params.n, options, backend)
    sets = draw(found, options["shots"], options["query"], options["draws"], options["seed"])
    asked, options["query"] = options["query"], sets[1].y.shape[-1] // len(found.names)
    theta = initial_networks(chosen, options["draws"], options["seed"])
    methods = rules(params, cell, backend, options["sgd_rate"], options["adam_rate"])
    # products are small: threads that wait for each other take most of the time
    with one_thread(), _own_code(network):
        curves = {
            name: fine_tune_all(rule, chosen, backend, sets, theta, options["steps"])
            for name, rule in track(methods.items(), len(methods), "Fine-tuning")
        }
    if json_file != "-":
        _show(curves, found, chosen, options)
    elif options["query"] < asked:
        seen = "accuracy is measured on {} unseen images of each class, not {}: there are no more"
        click.echo(seen.format(options["query"], asked), err=True)
    if out is not None:
        _save(out, curves, found, network)
    if json_file is not None:
        from lft_validation.runs import installed

        about: dict[str, Any] = {
            "images": images, "tuner": tuner, "network": network, "classes": found.names,
            "data": found.dataset.record(), "versions": installed(),
        }  # fmt: skip
        write_report(json_file, about | options | {"results": _plain(curves)})


def _check(options: dict[str, Any], images: str) -> None:
    from lft_validation.finetuning import is_source

    if not images:
        raise UserError("IMAGES is empty; give a folder, an .npz file or a source")
    source = images if is_source(images) else None
    check_data_dir(options["data_dir"], source, f"IMAGES {images}")
    check_counts(options, ("shots", "query", "steps", "draws"))
    for name in ("sgd_rate", "adam_rate"):
        if not 0.0 < options[name] < inf:
            option = name.replace("_", "-")
            raise UserError(f"--{option} must be positive and finite, found {options[name]:g}")
    if options["size"] is not None and options["size"] < 4:
        raise UserError(f"--size must be at least 4, found {options['size']}")
    if options["size"] is not None and (source is not None or images.endswith(".npz")):
        raise UserError(
            f"--size resizes the pictures of a folder, and IMAGES is {images}; leave it out"
        )
    if options["grey"] and options["size"] is None:
        raise UserError("--grey needs --size, the pixels that pictures are resized to")


def _check_out(out: Path | None) -> None:
    """Refuse to write over anything but an earlier result: it may be the user's images."""
    from lft_validation.files import read_arrays

    if out is None or not out.exists():
        return
    try:
        read_arrays(out, KIND)
    except UserError as error:
        raise UserError(
            f"--out {out} is there and was not written by lft finetune; choose another file"
        ) from error


def _check_memory(
    network: Network, images: Images, n: int, options: dict[str, Any], backend: Backend
) -> None:
    """Of all draws at once: θ, its gradient and moments, h and c; what layers make of images."""
    from lft_validation.experiments.usable import GIB, fits, free_words, numbers_per_image

    itemsize, d = (8 if options["dtype"] == "float64" else 4), network.size
    shown = len(images.names) * max(2 * options["shots"], options["query"])
    shown = min(shown, len(images.dataset.images.pixels))
    each = d * (4 * n + ARRAYS)
    if fits(options["draws"] * each * itemsize, 1, backend):  # else one network may not fit
        each += shown * numbers_per_image(network, images.shape)
    needed = options["draws"] * each * itemsize
    if not fits(needed, 1, backend):
        raise UserError(
            f"{options['draws']} networks of {d} parameters, with {shown} images each, need about "
            f"{needed / GIB:.1f} GiB, and {free_words(backend)}; use a smaller --size or "
            "--network, or fewer --draws or --query"
        )


def _shape(size: int | None, grey: bool) -> tuple[int, int, int] | None:
    return None if size is None else (1 if grey else 3, size, size)


def _network(name: str, images: Images) -> Network:
    """One of the paper's, or the user's own."""
    if ":" in name:
        from lft_validation.finetuning_own import check_network
        from lft_validation.gradcheck.load import load

        return check_network(load(name), images)
    from lft_validation.finetuning import make_network

    return make_network(name, images)


def _own_code(network: str) -> contextlib.AbstractContextManager[None]:
    """Where layers of the user's own compute, whatever they raise is told in one sentence."""
    from lft_validation.gradcheck.load import user_code

    return user_code(f"fine-tuning {network}") if ":" in network else contextlib.nullcontext()


def _shown_steps(last: int) -> list[int]:
    return [*(k for k in STEPS if k < last), last]


def _show(
    curves: dict[str, Curves], images: Images, network: Network, options: dict[str, Any]
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from lft_validation.experiments.fewshot.metrics import RAN_AWAY

    ways, steps = len(images.names), _shown_steps(options["steps"])
    title = f"Accuracy on unseen images, %: {ways} classes, {options['shots']} images of each"
    C, H, W = images.shape
    caption = (
        f"{network.size} parameters; {H} × {W} pixels, {'grey' if C == 1 else 'colour'}; "
        f"{options['query']} unseen images of each class; mean of {options['draws']} draws"
    )
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD)
    table.add_column("method")
    for k in steps:
        table.add_column(f"step {k}", justify="right")
    table.add_column("± sd", justify="right")
    for name, c in curves.items():
        means = [f"{100.0 * c.accuracy[:, k].mean():.1f}" for k in steps]
        table.add_row(name, *means, f"{100.0 * c.accuracy[:, -1].std():.1f}")
    Console().print(table)
    for name, c in curves.items():
        lost = int((c.loss[:, -1] >= RAN_AWAY).sum())
        if lost:
            rate = f"; use a smaller --{name.lower()}-rate" if name != "LFT" else ""
            click.echo(f"{name} ran away in {lost} of {options['draws']} draws{rate}")


def _plain(curves: dict[str, Curves]) -> dict[str, Any]:
    """The curves as JSON values: means over draws, and each draw's last accuracy."""
    return {
        name: {
            "accuracy": c.accuracy.mean(axis=0).tolist(),
            "train_accuracy": c.train_accuracy.mean(axis=0).tolist(),
            "loss": c.loss.mean(axis=0).tolist(),
            "last": c.accuracy[:, -1].tolist(),
        }
        for name, c in curves.items()
    }


def _save(out: Path, curves: dict[str, Curves], images: Images, network: str) -> None:
    """Write what LFT, SGD and Adam made of the network in every draw."""
    import numpy as np

    from lft_validation.files import write_arrays

    arrays = {f"theta_{name.lower()}": np.asarray(c.theta) for name, c in curves.items()}
    arrays |= {"classes": np.asarray(images.names), "shape": np.asarray(images.shape),
               "network": np.asarray(network)}  # fmt: skip
    try:
        write_arrays(out, KIND, "", arrays)
    except OSError as error:
        raise UserError(f"cannot write --out {out} ({error.strerror}); choose another") from error
    click.echo(f"written to {out}: {', '.join(arrays)}", err=True)
