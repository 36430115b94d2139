"""A user's own labelled images: a folder with one subfolder for each class, or an ``.npz`` file."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from lft_validation.datasets import Dataset
from lft_validation.datasets_formats import LARGEST, Images, content
from lft_validation.datasets_pictures import picture, picture_shape
from lft_validation.datasets_sources import Split
from lft_validation.errors import UserError
from lft_validation.files import DAMAGED, opened_npz

ENDINGS = (".png", ".jpg", ".jpeg")
IMAGES, CLASSES = ("x", "images"), ("y", "labels")  # names of arrays
KINDS: dict[tuple[str, ...], str] = {IMAGES: "uint8", CLASSES: "int64"}


def own_images(path: Path, shape: tuple[int, int, int] | None = None) -> tuple[Dataset, list[str]]:
    """Return a user's images, and the names of their classes 0, 1, 2, ….

    Args:
        path: a folder with one subfolder of PNG or JPEG pictures for each class, or an ``.npz``
            file with ``x`` (N, H, W), (N, H, W, 3) or (N, C, H, W) of bytes and integers ``y`` (N),
            or ``images`` and ``labels``.
        shape: (channels, height, width) that a folder's pictures are converted and resized to; what
            an ``.npz`` file must have. None for the first picture's own size in colour, or for
            whatever the ``.npz`` file has.

    Raises:
        UserError: if there is no such folder or file, or something in it cannot be used.
    """
    images, names = _folder(path, shape) if path.is_dir() else _npz(path, shape)
    split: Split = "train"
    return Dataset(path.name, split, images, 255, str(path), official=False), names


def _folder(path: Path, shape: tuple[int, int, int] | None) -> tuple[Images, list[str]]:
    classes = sorted(entry for entry in _shown(path) if entry.is_dir())
    if len(classes) < 2:
        raise UserError(
            f"{path} must hold a subfolder of pictures for each class, at least two of them, found "
            f"{len(classes)}"
        )
    files = [sorted(f for f in _shown(c) if f.suffix.lower() in ENDINGS) for c in classes]
    for class_, found in zip(classes, files, strict=True):
        if not found:
            raise UserError(f"{class_} holds no picture ({', '.join(ENDINGS)}); add some")
    shape = shape or (3, *picture_shape(files[0][0])[1:])
    number = sum(map(len, files))
    if number * prod(shape) > LARGEST:
        raise UserError(
            f"{path} has {number} pictures, more than {LARGEST // prod(shape)} of this size "
            f"({shape[1]} x {shape[2]} pixels); use fewer, or a smaller --size"
        )
    pixels = [picture(content(f), str(f), shape) for found in files for f in found]
    labels = np.repeat(np.arange(len(classes)), [len(found) for found in files])
    return Images(np.stack(pixels), labels.astype(np.int64)), [c.name for c in classes]


def _shown(folder: Path) -> list[Path]:
    """What a folder holds, but for hidden files, which programs and systems leave there."""
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]


def _npz(path: Path, shape: tuple[int, int, int] | None) -> tuple[Images, list[str]]:
    data = content(path)
    try:
        with opened_npz(data, LARGEST) as arrays:
            x, y = (_array(path, arrays, names) for names in (IMAGES, CLASSES))
    except (OSError, *DAMAGED) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(
            f"{path} is no folder and no readable .npz file ({reason}); write one with "
            "np.savez(file, x=images, y=labels)"
        ) from error
    if x is None or y is None:
        raise UserError(
            f"{path} must hold the arrays x (images) and y (their classes), or images and labels"
        )
    x = _channels_first(path, x)
    if shape is not None and x.shape[1:] != shape:
        raise UserError(f"{path}: x holds images of shape {x.shape[1:]}, expected {shape}")
    if y.dtype.kind not in "ui" or y.shape != x.shape[:1]:
        raise UserError(
            f"{path}: y must be one integer for each of {len(x)} images, found {y.dtype} of shape "
            f"{y.shape}; number the classes 0, 1, 2, …"
        )
    names, labels = np.unique(y, return_inverse=True)
    if len(names) < 2:
        raise UserError(f"{path} has {len(names)} classes, and at least two are needed")
    return Images(x, labels.astype(np.int64)), [str(name) for name in names]


def _array(path: Path, arrays: Any, names: tuple[str, ...]) -> np.ndarray | None:
    try:
        return first_of(arrays, names)
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise
        name, kind = next(n for n in names if n in arrays.files), KINDS[names]
        raise UserError(
            f"{path}: {name} holds Python objects, which are never unpickled; save it as "
            f"np.asarray({name}, dtype={kind!r})"
        ) from error


def first_of(arrays: Any, names: tuple[str, ...]) -> np.ndarray | None:
    """Return the first array of these names that an archive holds."""
    return next((np.asarray(arrays[name]) for name in names if name in arrays.files), None)


def _channels_first(path: Path, x: np.ndarray) -> np.ndarray:
    """Return images (N, C, H, W) of bytes."""
    found = f"{x.dtype} of shape {x.shape}"
    if x.ndim == 4 and x.shape[-1] in (1, 3) and x.shape[1] not in (1, 3):
        x = np.moveaxis(x, -1, 1)
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or x.shape[1] not in (1, 3) or not x.size:
        raise UserError(
            f"{path}: x must have shape (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3, "
            f"found {found}; save it so"
        )
    if x.dtype != np.uint8:
        most, bytes_ = (1, "255 * x") if x.dtype.kind == "f" else (255, "x")
        raise UserError(
            f"{path}: x must hold bytes (uint8), found {found}; numbers from 0 to {most} become "
            f"bytes with np.uint8({bytes_})"
        )
    return np.ascontiguousarray(x)
