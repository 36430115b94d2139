"""A universal perturbation as a picture: images, θ, and what the victim makes of their sum."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lft_validation.experiments.figures import save
from lft_validation.victims import Attacked, logits

if TYPE_CHECKING:
    from lft_validation.attack import Attempt
    from lft_validation.attack_images import AttackImages

TOP = 1.0  # of a panel, said so that it is not searched for in hundreds of them
LABELS = {"lft": "LFT", "adam": "Adam", "sgd": "SGD", "pgd": "PGD"}
SHOWN = (4, 8)  # given and unseen images in the picture, at most
FOOLED, RIGHT = "#c1121f", "#2b6a4d"
CIFAR10 = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Strip(NamedTuple):
    """One row: a perturbation, and the images it was added to."""

    label: str
    theta: np.ndarray | None  # (C, H, W); None for the images as they are
    predicted: np.ndarray  # (N,): what the victim says; -1 for nothing that is a class


class Sheet(NamedTuple):
    """Images in the box with their classes, and the rows that are made from them."""

    x: np.ndarray  # (N, C, H, W)
    y: np.ndarray  # (N,)
    given: int  # how many of the first images θ was made from
    strips: list[Strip]
    names: tuple[str, ...] = tuple("0123456789")
    title: str = ""


def attack_sheet(victim: Attacked, images: AttackImages, attempts: list[Attempt]) -> Sheet:
    """Return the first images of both sets, as they are and with each perturbation."""
    given, unseen = (
        _spread(s.y, n) for s, n in zip((images.given, images.unseen), SHOWN, strict=True)
    )
    x = np.concatenate([images.given.x[given], images.unseen.x[unseen]])
    y = np.concatenate([images.given.y[given], images.unseen.y[unseen]])
    z = logits(victim.network, victim.weights, x)
    plain, number = np.argmax(z, axis=-1), z.shape[-1]
    strips = [Strip("as they are", None, plain)]
    for a in attempts:
        said = np.concatenate([a.predicted[0][given], a.predicted[1][unseen]])
        strips.append(Strip(*_labelled(a), said))
    cifar10 = "cifar10" in (victim.about["source"], images.about["source"])
    names = CIFAR10 if cifar10 and number == len(CIFAR10) else tuple(map(str, range(number)))
    return Sheet(x, y, len(given), strips, names)


def _labelled(a: Attempt) -> tuple[str, np.ndarray]:
    """A row's label, and its θ; what ran away is shown at the ends of the box, NaN as no change."""
    if np.isfinite(a.theta).all():
        return f"{LABELS[a.method]}, |θ| ≤ {a.largest:.2f}", a.theta
    return f"{LABELS[a.method]}, diverged", np.clip(np.nan_to_num(a.theta), -1.0, 1.0)


def _spread(y: np.ndarray, most: int) -> np.ndarray:
    """Numbers of at most so many images, spread evenly over all: every class has some."""
    return np.unique(np.linspace(0, len(y) - 1, min(most, len(y))).round().astype(int))


def draw(sheets: list[Sheet], path: Path, kinds: tuple[str, ...] = ("png",)) -> list[Path]:
    """Write the sheets side by side: θ at the left, then each image with what the victim says.

    A name is red where the victim is fooled, green where it is right. All θ of a sheet have one
    scale.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = [1 + len(sheet.x) for sheet in sheets]
    rows = max(len(sheet.strips) for sheet in sheets)
    titled = any(sheet.title for sheet in sheets)
    with mpl.rc_context({"svg.hashsalt": path.stem, "font.size": 8}):
        layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
        size = (sum(0.95 * c + 0.2 for c in columns), 1.16 * rows + 0.15 + 0.2 * titled)
        figure = Figure(figsize=size, layout=layout)
        parts: Any = figure.subfigures(
            1, len(sheets), width_ratios=columns, squeeze=False, wspace=0.04
        )
        for part, sheet, number in zip(parts[0], sheets, columns, strict=True):
            _sheet(part, sheet, number)
        return [save(figure, path.with_suffix(f".{kind}"), kind) for kind in kinds]


def _sheet(part: Any, sheet: Sheet, columns: int) -> None:
    if sheet.title:
        part.suptitle(sheet.title, fontsize=9)
    panels = part.subplots(len(sheet.strips), columns, squeeze=False)
    largest = max(
        (float(np.abs(s.theta).max()) for s in sheet.strips if s.theta is not None), default=1.0
    )
    for row, strip in zip(panels, sheet.strips, strict=True):
        for panel in row:
            panel.set_axis_off()
        _theta(row[0], strip, max(largest, 1e-6))
        for index, panel in enumerate(row[1 : 1 + len(sheet.x)]):
            theta = 0.0 if strip.theta is None else strip.theta
            _image(panel, np.clip(sheet.x[index] + theta, -0.5, 0.5) + 0.5)
            said, true = int(strip.predicted[index]), int(sheet.y[index])
            colour = RIGHT if said == true else FOOLED
            name = sheet.names[said] if said >= 0 else "?"
            panel.set_title(name, color=colour, fontsize=9, pad=2, y=TOP)
    _mark(panels, sheet.given)


def _theta(panel: Any, strip: Strip, largest: float) -> None:
    """Draw θ: red and blue for one channel; grey for no change in a colour image."""
    if strip.theta is None:
        panel.text(0.5, 0.5, strip.label, ha="center", va="center", transform=panel.transAxes)
        return
    shown = strip.theta / largest
    if len(shown) == 1:
        panel.imshow(shown[0], cmap="RdBu_r", vmin=-1.0, vmax=1.0, interpolation="nearest")
    else:
        panel.imshow(np.moveaxis(0.5 + 0.5 * shown, 0, -1).clip(0.0, 1.0), interpolation="nearest")
    panel.set_title(strip.label, fontsize=7, pad=2, y=TOP)


def _image(panel: Any, image: np.ndarray) -> None:
    if len(image) == 1:
        panel.imshow(image[0], cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    else:
        panel.imshow(np.moveaxis(image, 0, -1), interpolation="nearest")


def _mark(panels: Any, given: int) -> None:
    """Say below the last row which images θ was made from, if some were."""
    if not given:
        return
    words = [(1, given, "given")]
    count = sum(bool(panel.images) for panel in panels[-1][1:])
    words.append((1 + given, count - given, "unseen"))
    for first, number, word in words:
        for panel in panels[-1][first : first + number]:
            panel.text(0.5, -0.06, word, ha="center", va="top", fontsize=7, color="0.45",
                       transform=panel.transAxes)  # fmt: skip
