"""A network of one's own, fine-tuned on few labelled images by a trained Φ, and by SGD and Adam.

Several draws of D_tr, of the images that accuracy is measured on, and of the initial network are
made at once: one axis of tasks. What is measured of one draw says little; few shots vary a lot.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lft_backends.backend import Backend
from lft_backends.draws import Stage, stream
from lft_ref import (
    Cell,
    CrossEntropy,
    Data,
    LSTMParams,
    Network,
    NetworkLoss,
    Optimizer,
    adam,
    cnn,
    learned,
    mnist_mlp,
    network_from_draws,
    sgd,
)
from lft_validation.datasets import SOURCES, Dataset, load
from lft_validation.datasets_own import own_images
from lft_validation.errors import UserError
from lft_validation.experiments.fewshot.config import LAYERS
from lft_validation.experiments.fewshot.metrics import measure
from lft_validation.experiments.method_jobs import fine_tuned


class Images(NamedTuple):
    """Labelled images, and the names of their classes 0, 1, 2, …."""

    dataset: Dataset
    names: list[str]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, C, H, W = self.dataset.images.pixels.shape
        return C, H, W


class Curves(NamedTuple):
    """What one method made of every draw."""

    accuracy: np.ndarray  # (draws, steps + 1) on unseen images
    train_accuracy: np.ndarray  # (draws, steps + 1)
    loss: np.ndarray  # (draws, steps + 1) on unseen images
    theta: Any  # (draws, d): the fine-tuned networks


def is_source(place: str) -> bool:
    """Say whether a source is meant, and not a folder of the user's that has its name.

    Example:
        >>> is_source("digits"), is_source("photos")
        (True, False)
    """
    here = Path(place)
    if place not in SOURCES or not here.is_dir():
        return place in SOURCES and not here.exists()
    return not any(entry.is_dir() and entry.name[0] != "." for entry in here.iterdir())


def read_images(place: str, shape: tuple[int, int, int] | None = None) -> Images:
    """Return the images of a folder, of an ``.npz`` file, or the test images of a source by name.

    Raises:
        UserError: if there is no such thing, or something in it cannot be used.
    """
    if is_source(place):
        dataset = load(place, "test")
        return Images(dataset, [str(c) for c in np.unique(dataset.images.labels)])
    if not Path(place).exists():
        raise UserError(
            f"no images {place!r}; give a folder with a subfolder for each class, an .npz file, or "
            f"one of: {', '.join(SOURCES)}"
        )
    return Images(*own_images(Path(place), shape))


def only(images: Images, names: list[str]) -> Images:
    """Keep the classes of these names, in this order.

    Raises:
        UserError: for a name that is not there, or fewer than two.
    """
    unknown = [name for name in names if name not in images.names]
    if unknown or len(set(names)) != len(names) or len(names) < 2:
        odd = [name for name in images.names if "," in name or name != name.strip()]
        rename = [
            f"; rename {name!r}: commas and spaces beside them separate names" for name in odd
        ]
        raise UserError(
            f"--classes must be at least two of {', '.join(images.names[:20])}, each once; "
            f"found {', '.join(names)!r}{''.join(rename[:1])}"
        )
    pixels, labels = images.dataset.images
    chosen = [np.flatnonzero(labels == images.names.index(name)) for name in names]
    kept = images.dataset.images._replace(
        pixels=pixels[np.concatenate(chosen)],
        labels=np.repeat(np.arange(len(names)), [len(c) for c in chosen]),
    )
    return Images(images.dataset._replace(images=kept), names)


def draw(images: Images, shots: int, query: int, draws: int, seed: int) -> tuple[Data, Data]:
    """Return (D_tr, D_val) of each draw, images (draws, N, C, H, W) in [-0.5, 0.5].

    Where a class has fewer than ``shots + query`` images, all classes are judged on fewer.

    Raises:
        UserError: if a class has no more than ``shots`` images.
    """
    by_class = [np.flatnonzero(images.dataset.images.labels == c) for c in range(len(images.names))]
    sizes = [len(found) for found in by_class]
    if min(sizes) <= shots:
        short = images.names[int(np.argmin(sizes))]
        raise UserError(
            f"class {short!r} has {min(sizes)} image{'s' * (min(sizes) != 1)}; {shots} to "
            "fine-tune on and at least one to judge by are needed: add images, use fewer --shots, "
            "or choose other --classes"
        )
    query = min(query, min(sizes) - shots)
    train, val = list[np.ndarray](), list[np.ndarray]()
    for number in range(draws):
        rng = stream(seed, Stage.FINETUNE_TASK, number)
        rows = [rng.choice(found, shots + query, replace=False) for found in by_class]
        train.append(_scaled(images, np.concatenate([r[:shots] for r in rows])))
        val.append(_scaled(images, np.concatenate([r[shots:] for r in rows])))
    labels = (np.tile(np.repeat(np.arange(len(sizes)), k), (draws, 1)) for k in (shots, query))
    y, y_val = labels
    return Data(np.stack(train), y), Data(np.stack(val), y_val)


def _scaled(images: Images, rows: np.ndarray) -> np.ndarray:
    """Some of the images alone in [-0.5, 0.5]: as floats, all could take more than memory has."""
    data = images.dataset
    some = data.images._replace(pixels=data.images.pixels[rows], labels=data.images.labels[rows])
    return data._replace(images=some).scaled()


def make_network(
    name: str, images: Images, hidden: tuple[int, int] = (32, 32), filters: int = 16
) -> Network:
    """Return one of the paper's networks, fit to the images.

    Raises:
        UserError: for another name.
    """
    ways, shape = len(images.names), images.shape
    if name == "mlp":
        return mnist_mlp(ways, shape, hidden)
    if name in LAYERS:
        return cnn(shape, LAYERS[name], filters, ways)
    raise UserError(
        f"--network must be one of {', '.join(LAYERS)}, or file.py:name; found {name!r}"
    )


def initial_networks(network: Network, draws: int, seed: int) -> np.ndarray:
    """Return a random initial network for each draw (draws, d), uniform on ±1/√fan_in."""
    rows = [
        stream(seed, Stage.FINETUNE_INIT, number).uniform(-1.0, 1.0, network.size)
        for number in range(draws)
    ]
    return np.asarray(network_from_draws(network, np.stack(rows)))


def rules(
    params: LSTMParams, cell: Cell, backend: Backend, sgd_rate: float, adam_rate: float
) -> dict[str, Optimizer]:
    """Return the fine-tuners that are compared.

    Raises:
        UserError: for a rate that is not positive.
    """
    phi = LSTMParams(*(backend.asarray(np.asarray(a)) for a in params))
    try:
        return {
            "LFT": learned(phi, cell, backend.ops),
            "SGD": sgd(sgd_rate),
            "Adam": adam(adam_rate),
        }
    except ValueError as error:
        raise UserError(str(error)) from error


def fine_tune_all(
    optimizer: Optimizer,
    network: Network,
    backend: Backend,
    sets: tuple[Data, Data],
    theta: np.ndarray,
    steps: int,
) -> Curves:
    """Fine-tune the network of every draw at once, eq. (3), and measure after every step."""
    loss = NetworkLoss(backend.fuse_optimizee(network), CrossEntropy("mean"))
    train, val = (Data(backend.asarray(d.x), backend.asarray(d.y)) for d in sets)
    theta, measured = backend.asarray(theta), list[np.ndarray]()
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # judged by their results
        for at in fine_tuned(optimizer, lambda at, _: loss.grad(at, train), theta, steps):
            theta = at
            measured.append(measure(backend, loss, theta, (train, val)))
    accuracy, value, train_accuracy = np.stack(measured, axis=-1)
    return Curves(accuracy, train_accuracy, value, backend.to_host(theta))
