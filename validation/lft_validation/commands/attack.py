"""``lft attack``: a universal perturbation for some images and a victim, without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lft_validation.commands.backend_options import backend_options, chosen_backend
from lft_validation.commands.counts import check_counts
from lft_validation.commands.data import check_data_dir, data_dir_option
from lft_validation.commands.json_option import json_option, write_report
from lft_validation.commands.outputs import writable_folder
from lft_validation.commands.tuner_note import note_purpose
from lft_validation.errors import UserError

if TYPE_CHECKING:
    from lft_backends.backend import Backend
    from lft_validation.attack import Attempt, How
    from lft_validation.attack_images import AttackImages
    from lft_validation.victims import Attacked


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--source", help="Images' source: mnist, … [default: the victim's, else digits].")
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="FOLDER|FILE.npz",
    help="Your own images: FOLDER/CLASS/*.png, or an .npz with images (or x) and labels (or y).",
)
@click.option("--classes", help="Comma-separated, such as 3,8 [default: two random ones].")
@click.option("--shots", type=int, default=2, show_default=True, help="Images per class given.")
@click.option(
    "--unseen", type=int, default=4, show_default=True, help="Unseen images per class to try it on."
)
@click.option("--victim", help="Name or .npz of lft victims train [default: the source's].")
@click.option("--network", metavar="FILE.py:NAME",
              help="A victim of your own code instead: docs/own_victims.md.")  # fmt: skip
@click.option("--tuner", help="Φ: a name, or phi.npz of a run [default: one of the victim's "
              "source, else mnist+cifar10].")  # fmt: skip
@click.option("--method", default="lft", show_default=True,
              help="One or more of lft, adam, sgd, pgd; comma-separated.")  # fmt: skip
@click.option(
    "--order",
    type=click.Choice(["first", "zeroth"]),
    default="first",
    show_default=True,
    help="Gradients, or the victim as a black box.",
)
@click.option("--steps", type=int, default=100, show_default=True, help="Fine-tuning steps.")
@click.option("--rate", type=float, help="Of adam, sgd or pgd [default: that of Table 1].")
@click.option("--kappa", type=float, help="κ of (12) [default: as Φ was trained].")
@click.option("--l1", type=float, help="λ of (12) [default: as Φ was trained].")
@click.option("--seed", type=int, default=0, show_default=True, help="Images and start.")
@click.option("--out", type=click.Path(path_type=Path), callback=writable_folder,
              help="Folder [default: runs/attack-…].")  # fmt: skip
@data_dir_option
@backend_options
@json_option
def command(**options: Any) -> None:
    """Make one perturbation that fools a victim on many images, from a few of them.

    A trained fine-tuner needs no training of its own: it takes some steps on the images given (2 of
    each class), and the perturbation is then tried on images that it has not seen. The perturbation
    (.npz), a picture (.png) and the numbers (.json) are written to a folder.

    Exit codes: 0 done, 2 wrong usage or bad input.
    """  # fmt: skip
    from lft_validation.attack_report import report, show, write
    from lft_validation.runs import empty_folder
    from lft_validation.tuners import load_tuner

    methods = _methods(options["method"])
    backend = chosen_backend(options["backend"], options["device"], "float32")
    victim, images, name = _what(options, backend)
    how = _how(options, name, methods)
    _check_memory(victim, images, how, name, backend)
    if "lft" in methods:
        note_purpose(name, "uap")
    with empty_folder(options["out"], "attack") as folder:
        attempts = _attempts(methods, victim, images, how, load_tuner(name), backend)
        made = report(victim, images, how, attempts) | {"tuner": name, "steps": how.steps}
        try:
            write(folder, victim, images, attempts, made)
        except OSError as error:
            raise UserError(
                f"cannot write to --out {folder} ({error.strerror}); choose another folder"
            ) from error
    if options["json_file"] != "-":
        show(victim, images, how, attempts)
        click.echo(f"written to {folder}: perturbation.npz, attack.png, attack.json")
    if options["json_file"] is not None:
        write_report(options["json_file"], made)


def _attempts(
    methods: list[str], victim: Attacked, images: AttackImages, how: How, tuner: Any,
    backend: Backend,
) -> list[Attempt]:  # fmt: skip
    from lft_backends.executors import one_thread
    from lft_validation.attack import attempt
    from lft_validation.progress import track

    with one_thread():  # products are small: threads that wait for each other take most of the time
        shown = track(methods, len(methods), "Attacking")
        return [attempt(method, victim, images, how, tuner, backend) for method in shown]


def _methods(text: str) -> list[str]:
    from lft_validation.attack import METHODS
    from lft_validation.experiments.settings import check_words

    methods = tuple(word.strip().lower() for word in text.split(","))
    check_words("--method", methods, METHODS)
    return list(methods)


def _what(options: dict[str, Any], backend: Backend) -> tuple[Attacked, AttackImages, str]:
    """Find the victim, the images, and the name of the tuner."""
    from lft_validation.attack_images import Wanted, from_files, from_source

    if options["source"] is not None and options["images"] is not None:
        raise UserError("give one of --source and --images, not both")
    check_counts(options, ("shots", "unseen", "steps"))
    victim = _victim(options, backend)
    wanted = Wanted(_classes(options["classes"]), options["shots"], options["unseen"],
                    options["seed"])  # fmt: skip
    if options["images"] is not None:
        check_data_dir(options["data_dir"], None, f"--images {options['images']}")
        images = from_files(options["images"], victim, wanted)
    else:
        named = options["source"]
        source = victim.about["source"] if named is None else named
        check_data_dir(options["data_dir"], source)
        images = from_source(source, victim, wanted, options["data_dir"])
    tuner = options["tuner"]
    if tuner is None:
        tuner = _tuner_for(victim.about["source"] or options["source"])
    return victim, images, tuner


def _victim(options: dict[str, Any], backend: Backend) -> Attacked:
    """Load the victim that is named: ours, or the user's own."""
    from lft_validation.datasets import source as source_of
    from lft_validation.victims import load_victim, no_victim, shipped
    from lft_validation.victims_own import own_victim

    own, ours = options["network"], options["victim"]
    if own is not None and ours is not None:
        raise UserError("give one of --victim and --network, not both")
    if own is not None:
        if options["images"] is None and options["source"] is None:
            raise UserError("--network needs --images, or the --source whose images it takes")
        return own_victim(own, backend, options["order"] == "zeroth")
    if options["images"] is not None and ours is None:
        raise UserError(
            "--images needs --victim: one of lft victims list, or a file of yours; or --network"
        )
    if ours is not None:
        return load_victim(ours)
    source = "digits" if options["source"] is None else options["source"]
    if source_of(source).name not in shipped():
        raise no_victim(source, "--victim")
    return load_victim(source)


def _tuner_for(source: str | None) -> str:
    """Return the package's tuner of the fewest sources with this one; else the one of the most."""
    from lft_validation.datasets import SOURCES
    from lft_validation.tuners import shipped

    attackers = [name for name in shipped() if set(name.split("+")) <= set(SOURCES)]
    known = [name for name in attackers if source in name.split("+")]
    return min(known, key=len) if known else max(attackers, key=lambda name: name.count("+"))


def _classes(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UserError(f"--classes must be numbers such as 3,8, found {text!r}") from error


def _how(options: dict[str, Any], tuner: str, methods: list[str]) -> How:
    from lft_validation.attack import how_trained
    from lft_validation.tuners import tuner_about

    zeroth = options["order"] == "zeroth"
    how = how_trained(tuner_about(tuner), options["steps"], zeroth, options["seed"])
    for name in ("kappa", "l1"):
        value = options[name]
        if value is not None and not 0.0 <= value < float("inf"):
            raise UserError(f"--{name} must be finite and not negative, found {value}")
    rate = options["rate"]
    if rate is not None and not 0.0 < rate < float("inf"):
        raise UserError(f"--rate must be positive and finite, found {rate}")
    if rate is not None and methods == ["lft"]:
        raise UserError(
            f"--rate is of adam, sgd or pgd, found --rate {rate} and --method lft, which makes its "
            "own steps; leave it out"
        )
    given = {name: options[name] for name in ("kappa", "l1", "rate") if options[name] is not None}
    return how._replace(**given)


def _check_memory(
    victim: Attacked, images: AttackImages, how: How, tuner: str, backend: Backend
) -> None:
    from lft_validation.attack import memory_bytes
    from lft_validation.experiments.usable import GIB, fits, free_words
    from lft_validation.tuners import load_tuner

    needed = memory_bytes(victim, images, how, load_tuner(tuner)[0].n)
    if not fits(needed, 1, backend):
        raise UserError(
            f"the attack needs about {needed / GIB:.1f} GiB for {len(images.given.y)} given and "
            f"{len(images.unseen.y)} unseen images, and {free_words(backend)}; "
            "use fewer --shots or --unseen"
        )
