"""The images that ``lft attack`` works on: drawn from a source, or the user's own."""

from __future__ import annotations

import hashlib
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lft_backends.draws import Stage, stream
from lft_ref import Data
from lft_validation.datasets import SOURCES, SPLITS, load, source
from lft_validation.datasets_formats import content
from lft_validation.datasets_own import CLASSES, IMAGES, first_of
from lft_validation.datasets_pictures import picture, picture_shape
from lft_validation.errors import UserError
from lft_validation.experiments.uap.tasks import make_pool, of_class
from lft_validation.files import DAMAGED, LARGEST, opened_npz, read_plain
from lft_validation.victims import Attacked, logits

SUFFIXES = (".png", ".jpg", ".jpeg")
TEN = 10  # classes of the sources that are attacked
NUMBER = 10_000  # images of one's own that are read at most
PIXELS = 2**29  # of all of them: 2 GiB in the box
DIGITS = 9  # of a class's number


class AttackImages(NamedTuple):
    """Images in the box [-0.5, 0.5], (N, C, H, W) float32, with classes (N,)."""

    given: Data  # D_tr: what the perturbation is made from
    unseen: Data  # D_val: what it is tried on
    about: dict[str, Any]  # where they come from, for the JSON file


class Wanted(NamedTuple):
    """Which images to take."""

    classes: tuple[int, ...] | None  # two random ones if None; of one's own images all
    shots: int  # of each class, to make the perturbation from
    unseen: int  # and to try it on
    seed: int


def from_source(
    name: str, victim: Attacked, wanted: Wanted, data_dir: Path | None = None
) -> AttackImages:
    """Draw images that the victim classifies correctly: D_tr from training images, D_val from test.

    Raises:
        UserError: if the data are not there, do not fit the victim, or have no such images, or if
            the victim or the source has other classes than ten.
    """
    if source(name).classes != TEN:
        others = ", ".join(s.name for s in SOURCES.values() if s.classes == TEN)
        raise UserError(
            f"--source {name} has {source(name).classes} classes, which no victim of {TEN} knows; "
            f"choose one of {others}, or give images of your own with --images"
        )
    rng = stream(wanted.seed, Stage.ATTACK_IMAGES)
    classes = wanted.classes or tuple(int(c) for c in rng.choice(TEN, 2, replace=False))
    sets, record = list[Data](), dict[str, Any]()
    for split, shots in zip(SPLITS, (wanted.shots, wanted.unseen), strict=True):
        pool = make_pool(load(name, split, data_dir))
        _check_shape(pool.dataset.images.pixels.shape[1:], victim, name)
        _check_classes(classes, TEN, name)
        _check_ten(victim, pool.scaled(np.arange(2)), name)
        remedy = f"use fewer --{'shots' if split == 'train' else 'unseen'}"
        drawn = [of_class(pool, victim, rng, c, shots, remedy) for c in classes]
        sets.append(Data(np.concatenate(drawn), np.repeat(np.asarray(classes), shots)))
        record[split] = pool.dataset.record()
    about = {"source": name, "classes": list(classes), **record}
    return AttackImages(sets[0], sets[1], about)


def from_files(path: Path, victim: Attacked, wanted: Wanted) -> AttackImages:
    """Read one's own images and cut them into D_tr and D_val, in random order.

    Args:
        path: an ``.npz`` with ``images`` (N, C, H, W) or (N, H, W) and ``labels`` (N,), or a folder
            with one subfolder for each class, whose name is the class's number.
        victim: what is attacked; images must have its size.
        wanted: how many.

    Raises:
        UserError: in one sentence, for files that cannot be used.
    """
    try:
        x, y = _read(path, victim)
    except MemoryError as error:
        raise UserError(
            f"--images {path} does not fit into memory; give fewer images, or smaller ones"
        ) from error
    number = logits(victim.network, victim.weights, x[:1]).shape[-1]
    if y.min() < 0 or y.max() >= number:
        raise UserError(
            f"{path}: classes must be from 0 to {number - 1}, found {y.min()} to {y.max()}"
        )
    classes = wanted.classes or tuple(int(c) for c in np.unique(y))
    _check_classes(classes, number, str(path))
    given, unseen = _cut(path, y, classes, wanted)
    known = {x[i].tobytes() for i in given}
    copies = sum(x[i].tobytes() in known for i in unseen)
    about = {
        "source": str(path), "classes": list(classes), "images": len(y), "sha256": _checksum(x, y),
        "unseen_also_given": copies,
    }  # fmt: skip
    return AttackImages(Data(x[given], y[given]), Data(x[unseen], y[unseen]), about)


def _cut(
    path: Path, y: np.ndarray, classes: tuple[int, ...], wanted: Wanted
) -> tuple[list[int], list[int]]:
    """Return the numbers of the images in D_tr and in D_val, in random order within each class."""
    rng, given, unseen = stream(wanted.seed, Stage.ATTACK_IMAGES), list[int](), list[int]()
    for c in classes:
        numbers = rng.permutation(np.flatnonzero(y == c))
        if len(numbers) <= wanted.shots:
            raise UserError(
                f"{path} has {len(numbers)} images of class {c}, and --shots {wanted.shots} needs "
                "one more to try the perturbation on; give more images, or fewer --shots"
            )
        given += list(numbers[: wanted.shots])
        unseen += list(numbers[wanted.shots : wanted.shots + wanted.unseen])
    return given, unseen


def _checksum(x: np.ndarray, y: np.ndarray) -> str:
    """SHA-256 of the images in [-0.5, 0.5] and of their classes."""
    digest = hashlib.sha256(np.ascontiguousarray(x).data)
    digest.update(y.astype("<i8").tobytes())
    return digest.hexdigest()


def _check_shape(found: tuple[int, ...], victim: Attacked, name: str) -> None:
    shape = victim.about["shape"]
    if shape is not None and tuple(found) != tuple(shape):
        raise UserError(
            f"{name} has images of {_times(found)}, but the victim {victim.name} takes "
            f"{_times(shape)}; choose another --victim, or give images of that size"
        )


def _check_classes(classes: tuple[int, ...], number: int, name: str) -> None:
    if len(set(classes)) < len(classes) or min(classes) < 0 or max(classes) >= number:
        raise UserError(
            f"--classes must be distinct numbers from 0 to {number - 1}, found "
            f"{','.join(map(str, classes))} for {name}"
        )


def _check_ten(victim: Attacked, some: np.ndarray, name: str) -> None:
    number = logits(victim.network, victim.weights, some).shape[-1]
    if number != TEN:
        raise UserError(
            f"the victim {victim.name} gives scores for {number} classes, but {name} has {TEN}; "
            "give images of its classes with --images, or another victim"
        )


def _read(path: Path, victim: Attacked) -> tuple[np.ndarray, np.ndarray]:
    """Return images in the box and their classes; shapes are judged before more memory is taken."""
    pixels, y = _folder(path, victim.about["shape"]) if path.is_dir() else _npz(path)
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels
    if pixels.ndim != 4 or not pixels.size or len(pixels) > NUMBER:
        raise UserError(
            f"--images {path}: images must be (N, C, H, W) or (N, H, W) with N from 1 to {NUMBER} "
            f"and at least one pixel, found shape {pixels.shape}"
        )
    _check_shape(pixels.shape[1:], victim, str(path))
    _check_number(path, len(pixels), pixels.shape[1:])
    return _scaled(path, pixels), y


def _check_number(path: Path, number: int, shape: tuple[int, ...]) -> None:
    if number * prod(shape) > PIXELS:
        raise UserError(
            f"--images {path} has {number} images, more than {PIXELS // prod(shape)} of "
            f"{_times(shape)}; give fewer, or smaller ones"
        )


def _npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read ``images`` and ``labels``; bytes from 0 to 255, or real numbers from 0 to 1."""
    if not path.exists():
        raise UserError(f"--images {path} does not exist; give a folder or an .npz file")
    try:
        with opened_npz(read_plain(path), LARGEST) as archive:
            x, y = (first_of(archive, names) for names in (IMAGES, CLASSES))
    except (OSError, *DAMAGED) as error:
        raise UserError(
            f"--images {path} is not a readable .npz file ({error}); give one, or a folder"
        ) from error
    if x is None or y is None:
        lacking = "images" if x is None else "labels"
        raise UserError(
            f"--images {path} lacks {lacking!r}; it needs 'images' and 'labels', or 'x' and 'y'"
        )
    return x, _labels(path, y, len(x) if x.ndim else 0)


def _labels(path: Path, y: np.ndarray, number: int) -> np.ndarray:
    if y.dtype.kind not in "iu" or y.shape != (number,):
        raise UserError(
            f"--images {path}: labels must be {number} whole numbers, one for each image, found "
            f"{y.dtype} of shape {y.shape}"
        )
    return y.astype(np.int64)


def _scaled(path: Path, x: np.ndarray) -> np.ndarray:
    """Bring pixels to [-0.5, 0.5]."""
    if x.dtype == np.uint8:
        scaled = x.astype(np.float32)
        scaled /= 255.0
        scaled -= 0.5
        return scaled
    if x.dtype.kind != "f" or not np.isfinite(x).all() or x.min() < 0.0 or x.max() > 1.0:
        raise UserError(
            f"--images {path}: pixels must be bytes, or real numbers from 0 to 1, found {x.dtype}"
        )
    return (x - 0.5).astype(np.float32)


def _folder(path: Path, shape: tuple[int, int, int] | None) -> tuple[np.ndarray, np.ndarray]:
    """Read every image under ``path``/CLASS/."""
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    named = [p for p in folders if p.name.isdecimal() and len(p.name) <= DIGITS]
    if not named or len(named) < len(folders):
        odd = next((p.name for p in folders if p not in named), "none")
        raise UserError(
            f"--images {path} needs one subfolder for each class, named by its number, such as 3/; "
            f"found {odd}"
        )
    files = [(f, int(p.name)) for p in named for f in sorted(p.iterdir())]
    files = [(f, c) for f, c in files if f.suffix.lower() in SUFFIXES]
    if not 0 < len(files) <= NUMBER:
        raise UserError(
            f"--images {path} has {len(files)} image files, expected 1 to {NUMBER}, such as 3/a.png"
        )
    size = shape or picture_shape(files[0][0])
    _check_number(path, len(files), size)
    pixels = np.stack([_picture(f, size) for f, _ in files])
    return pixels, np.asarray([c for _, c in files], np.int64)


def _picture(file: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Read one image as bytes (C, H, W), which must have the size that the victim takes."""
    return picture(content(file), str(file), shape, size=shape[:0:-1])


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
