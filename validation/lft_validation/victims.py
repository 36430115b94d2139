"""Victims: the classifiers that are attacked. Their files, and those that come with the package."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from lft_ref import Flatten, Network, digits_network, lenet5, mlp
from lft_validation.datasets import Dataset
from lft_validation.errors import UserError
from lft_validation.files import read_arrays, require, require_finite, write_arrays

KIND = "lft-victim-1"
REMEDY = "give another file, or train the victim again"
TEXTS = ("network", "source", "activation", "pooling", "train_sha256", "test_sha256", "recipe")
# Hidden units of a victim of another architecture, for weights of less than 400 KB.
MLP_HIDDEN: dict[tuple[int, ...], int] = {(1, 8, 8): 32, (1, 28, 28): 64, (3, 32, 32): 28}
OTHER = "-mlp"  # the name of a source with it is that of its victim of another architecture
SETTINGS = ("network", "shape", "activation", "pooling")  # what the weights are read as
NUMBERS = ("seed", "accuracy", "train_images", "test_images", "official")


class Attacked(Protocol):
    """What an attack asks of a victim: a trained one of ours, or one of the user's own code."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def network(self) -> Any:
        """An :class:`lft_ref.attack.Victim`, as far as first derivatives by the image go."""

    @property
    def weights(self) -> np.ndarray:
        """The network's weights."""

    @property
    def about(self) -> dict[str, Any]:
        """What reports say of it; ``shape`` is None where any size of image may fit."""


class Victim(NamedTuple):
    """A trained classifier of images in the box [-0.5, 0.5]."""

    name: str
    weights: np.ndarray  # (d,) float32
    about: dict[str, Any]  # TEXTS, NUMBERS and ``shape``, as the file has them

    @property
    def network(self) -> Network:
        """The network that the weights belong to."""
        return network(*(self.about[name] for name in SETTINGS))


def network(
    name: str, shape: tuple[int, int, int], activation: str = "relu", pooling: str = "max"
) -> Network:
    """Return the network of that name for images of that shape.

    Raises:
        ValueError: for an unknown name, or a shape or layer that the network does not have.
    """
    if name == "lenet5":
        return lenet5(shape, activation, pooling)
    if name == "small" and shape == (1, 8, 8):
        return digits_network(activation, pooling)
    if name == "mlp" and shape in MLP_HIDDEN:
        widths = (prod(shape), MLP_HIDDEN[shape], 10)
        return Network((Flatten(), *mlp(widths, activation).layers))
    raise ValueError(
        f"no network {name!r} for images of shape {shape}; choose lenet5, small or mlp"
    )


def logits(victim: Any, weights: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return the logits of images (N, C, H, W), a few hundred at a time: patches take memory."""
    parts = [
        victim.activations(weights, images[i : i + 500])[-1] for i in range(0, len(images), 500)
    ]
    return np.concatenate(parts)


def accuracy(victim: Network, weights: np.ndarray, data: Dataset) -> float:
    """Return the share of images whose largest logit is that of their class."""
    found = np.argmax(logits(victim, weights, data.scaled()), axis=-1)
    return float(np.mean(found == data.images.labels))


def save_victim(path: Path, victim: Victim) -> None:
    """Write the weights, and how they came about."""
    arrays = {"weights": victim.weights, "shape": np.asarray(victim.about["shape"])}
    arrays |= {name: np.asarray(victim.about[name]) for name in (*TEXTS, *NUMBERS)}
    write_arrays(path, KIND, "", arrays)


def no_victim(source: str, option: str) -> UserError:
    """Return what to say of a source without a victim in the package; ``option`` takes one."""
    return UserError(
        f"no victim for {source} is in the package; train one with lft victims train {source} "
        f"and give {option}"
    )


def shipped() -> list[str]:
    """Return the names of the victims in the package."""
    folder = files("lft_validation").joinpath("trained", "victims")
    return sorted(p.name.removesuffix(".npz") for p in folder.iterdir() if p.name.endswith(".npz"))


def load_victim(name: str | Path) -> Victim:
    """Return a victim.

    Args:
        name: a name from :func:`shipped`, or the path of a file that ``lft victims train`` wrote.

    Raises:
        UserError: if there is no such victim, or the file is damaged, foreign or not finite.

    Example:
        >>> victim = load_victim("digits")
        >>> victim.network.size == victim.weights.size
        True
    """
    path = Path(str(files("lft_validation").joinpath("trained", "victims", f"{name}.npz")))
    if path.exists():
        return read_victim(path)
    if not str(name) or not Path(name).exists():
        known = ", ".join(shipped())
        raise UserError(f"no victim {str(name)!r}; give a file, or one of: {known}")
    return read_victim(Path(name))


def read_victim(path: Path) -> Victim:
    """Return the victim of a file, whatever its name.

    Raises:
        UserError: if there is no such file, or it is damaged, foreign or not finite.
    """
    return _checked(path, read_arrays(path, KIND))


def identity(victim: Victim) -> dict[str, Any]:
    """Return what a victim is known by: the hash of its weights, and what they are read as."""
    settings = {name: victim.about[name] for name in SETTINGS} | {"shape": [*victim.about["shape"]]}
    return {"victim_sha256": hashlib.sha256(victim.weights.tobytes()).hexdigest(),
            "victim_settings": settings}  # fmt: skip


def known_by(weights: str, settings: dict[str, Any]) -> str:
    """Return the hash of a victim, from the two parts of its :func:`identity`."""
    text = json.dumps([weights, settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def checksum(victim: Victim) -> str:
    """Return the hash of a victim: of its weights, and of the network that they belong to."""
    return known_by(*identity(victim).values())


class OtherVictim(Exception):
    """A file does not hold the victim that was asked for."""


@lru_cache(maxsize=32)
def victim_with(path: Path, sha256: str) -> Victim:
    """Return the victim of a file that has that :func:`checksum`; read once in each process.

    A process that lives on keeps the victim of a hash, never that of a file.

    Raises:
        OtherVictim: if the file holds others.
        UserError: as :func:`read_victim`.
    """
    victim = read_victim(path)
    if checksum(victim) != sha256:
        raise OtherVictim
    return victim


def _checked(path: Path, a: dict[str, np.ndarray]) -> Victim:
    require(path, a, dict.fromkeys((*TEXTS, *NUMBERS), ()) | {"shape": (3,)}, REMEDY)
    about: dict[str, Any] = {name: str(a[name]) for name in TEXTS}
    for name in NUMBERS:
        if a[name].dtype.kind not in "biuf" or not np.isfinite(a[name]):
            raise UserError(f"{path}: {name} must be a number, found {a[name]}; train it again")
        about[name] = a[name].item()
    if not 0.0 <= about["accuracy"] <= 1.0:
        raise UserError(f"{path}: accuracy must be from 0 to 1, found {a['accuracy']}; {REMEDY}")
    if a["shape"].dtype.kind not in "iu":
        raise UserError(f"{path}: shape must hold whole numbers; train it again")
    about["shape"] = tuple(int(n) for n in a["shape"])
    victim = Victim(path.stem, a.get("weights", np.zeros(0)), about)
    try:
        json.loads(about["recipe"])
        size = victim.network.size
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a victim of ours ({error}); train it again") from error
    require(path, a, {"weights": (size,)}, REMEDY)
    require_finite(path, "weights", victim.weights, REMEDY)
    return victim
