"""What ``lft attack`` leaves: perturbations, a picture, numbers, and a table on the screen."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lft_validation import attack_picture
from lft_validation.attack import Attempt, How
from lft_validation.attack_images import AttackImages
from lft_validation.experiments.uap.metrics import NAMES
from lft_validation.files import json_bytes, write_arrays, write_bytes
from lft_validation.report import known, number
from lft_validation.runs import installed
from lft_validation.victims import Attacked


def report(
    victim: Attacked, images: AttackImages, how: How, attempts: list[Attempt]
) -> dict[str, Any]:
    """Everything that attack.json says."""
    made = [
        {
            "method": a.method,
            "queries": a.queries,
            "largest": a.largest if math.isfinite(a.largest) else None,
            "at_the_end": {name: known(a.at(name)) for name in NAMES},
            "by_step": {n: [known(v) for v in row] for n, row in zip(NAMES, a.curves, strict=True)},
            "counted_given": a.counted[0],
            "counted_unseen": a.counted[1],
            "predicted_given": [None if c < 0 else c for c in a.predicted[0].tolist()],
            "predicted_unseen": [None if c < 0 else c for c in a.predicted[1].tolist()],
        }
        for a in attempts
    ]
    about = {name: victim.about[name] for name in ("network", "source", "accuracy", "train_sha256")}
    return {
        "victim": {"name": victim.name, **about},
        "images": images.about,
        "classes_given": images.given.y.tolist(),
        "classes_unseen": images.unseen.y.tolist(),
        "how": how._asdict(),
        "attempts": made,
        "versions": installed(),
    }


def write(
    folder: Path,
    victim: Attacked,
    images: AttackImages,
    attempts: list[Attempt],
    made: dict[str, Any],
) -> None:
    """Write the perturbations, the picture and the numbers; nothing if one cannot be made."""
    numbers, thetas = json_bytes(made), {a.method: a.theta for a in attempts}
    attack_picture.draw(
        [attack_picture.attack_sheet(victim, images, attempts)], folder / "attack.png"
    )
    write_arrays(folder / "perturbation.npz", "lft-perturbation-1", victim.name, thetas)
    write_bytes(folder / "attack.json", numbers)


def show(victim: Attacked, images: AttackImages, how: How, attempts: list[Attempt]) -> None:
    """Print the table, readable in 80 columns."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    classes = ", ".join(map(str, images.about["classes"]))
    title = f"{images.about['source']}, classes {classes}, victim {victim.name}, {how.steps} steps"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("method")
    for name in ("given fooled", "unseen fooled", "mean |θ|", "largest", "queries"):
        table.add_column(name, justify="right")
    for a in attempts:
        table.add_row(
            a.method,
            _share(a.at("train"), a.counted[0], len(images.given.y)),
            _share(a.at("val"), a.counted[1], len(images.unseen.y)),
            number(a.at("strength")),
            number(a.largest) if math.isfinite(a.largest) else "diverged",
            f"{a.queries:,}",
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        "Of images that the victim classifies correctly without θ. Pixels run from -0.5 to 0.5."
    )
    if copies := images.about.get("unseen_also_given"):
        console.print(f"{copies} of {len(images.unseen.y)} unseen images are copies of given ones.")
    for a in attempts:
        if not math.isfinite(a.largest):
            remedy = "another --tuner" if a.method == "lft" else "a smaller --rate"
            console.print(f"θ of {a.method} diverged: it is not finite any more; try {remedy}.")


def _share(rate: float, counted: int, number: int) -> str:
    return f"{100.0 * rate:.0f} % of {counted}" if counted else f"none of {number} counts"
