"""Readers of image files that come from elsewhere. Every size is checked before memory is taken.

Nothing is unpickled, and nothing that a file says is believed before it was compared with what the
file holds.
"""

from __future__ import annotations

import gzip
import io
import struct
import warnings
import zlib
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from lft_backends.libraries import one_line
from lft_validation.errors import UserError

COMPRESSED = 15  # MATLAB 5's number for an element that zlib packed
LARGEST = 2**29  # bytes, of a file and of what it unpacks to; SVHN's largest has 2^27.8
GET_AGAIN = "move the file away and get it again with lft data fetch (lft data list has the names)"
REPLACE = "replace it, or leave it out"


class Images(NamedTuple):
    """Images with their classes."""

    pixels: np.ndarray  # (N, C, H, W) uint8
    labels: np.ndarray  # (N,) int64

    @property
    def number(self) -> int:
        """How many there are."""
        return len(self.labels)


def content(path: Path, remedy: str = REPLACE) -> bytes:
    """Return a file's bytes.

    Args:
        path: of the file.
        remedy: what an error tells the user to do about a file that cannot be used.

    Raises:
        UserError: if it is missing, no plain file, unreadable, or larger than any we know.
    """
    if not path.exists():
        raise UserError(f"{path} is missing; {remedy}")
    if not path.is_file():
        raise UserError(f"{path} is not a plain file; {remedy}")
    size = path.stat().st_size
    if size > LARGEST:
        raise UserError(f"{path} has {size} bytes, more than any file of this kind; {remedy}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check its permissions") from error


def idx_images(images: Path, labels: Path, classes: int) -> Images:
    """Read a pair of MNIST's idx files, compressed with gzip.

    Raises:
        UserError: if one is damaged, or they do not belong together.
    """
    pixels, found = read_idx(images, 3), read_idx(labels, 1)
    if len(pixels) != len(found):
        raise UserError(
            f"{images} has {len(pixels)} images but {labels.name} has {len(found)} labels; "
            f"{GET_AGAIN}"
        )
    if pixels.shape[1:] != (28, 28):
        raise UserError(f"{images} has images of {_times(pixels.shape[1:])}, expected 28 x 28")
    return Images(pixels[:, None], _labels(labels, found, classes))


def idx_shape(path: Path, axes: int) -> tuple[int, ...]:
    """Return the shape that an idx file says it has, from its first bytes.

    Raises:
        UserError: if it is no idx file of bytes with so many axes.
    """
    return _idx_header(path, io.BytesIO(content(path, GET_AGAIN)), axes)[1]


def read_idx(path: Path, axes: int) -> np.ndarray:
    """Return the array of bytes of an idx file.

    Raises:
        UserError: if it is damaged, or of another kind.
    """
    file, shape = _idx_header(path, io.BytesIO(content(path, GET_AGAIN)), axes)
    size = prod(shape)
    data = _unpacked(path, file, size + 1)  # one more shows whether there is more
    if len(data) != size:
        found = f"more than {size}" if len(data) > size else str(len(data))
        raise UserError(f"{path} says {_times(shape)} bytes but holds {found}; {GET_AGAIN}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _idx_header(path: Path, raw: IO[bytes], axes: int) -> tuple[gzip.GzipFile, tuple[int, ...]]:
    file = gzip.GzipFile(fileobj=raw)
    head = _unpacked(path, file, 4)
    wanted = bytes([0, 0, 8, axes])  # 8 is for unsigned bytes
    if head != wanted:
        raise UserError(
            f"{path} begins with {head.hex() or 'nothing'}, expected {wanted.hex()} "
            f"({'images' if axes == 3 else 'labels'}); {GET_AGAIN}"
        )
    sizes = _unpacked(path, file, 4 * axes)
    if len(sizes) < 4 * axes:
        raise UserError(f"{path} ends within its header; {GET_AGAIN}")
    shape = struct.unpack(f">{axes}I", sizes)
    if not 0 < prod(shape) <= LARGEST:
        raise UserError(f"{path} says it holds {_times(shape)} bytes, which cannot be; {GET_AGAIN}")
    return file, shape


def _unpacked(path: Path, file: gzip.GzipFile, size: int) -> bytes:
    """Return at most so many bytes: a gzip bomb is never unpacked."""
    try:
        return file.read(size)
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path} is truncated or damaged ({error}); {GET_AGAIN}") from error


RECORD = 1 + 3 * 32 * 32  # a label, then the planes of red, green and blue


def cifar_images(paths: list[Path], classes: int) -> Images:
    """Read files of CIFAR-10's binary version, one after the other.

    Raises:
        UserError: if one does not consist of whole records, or a label is out of range.
    """
    parts = []
    for path in paths:
        cifar_count(path)
        records = np.frombuffer(content(path, GET_AGAIN), np.uint8).reshape(-1, RECORD)
        _labels(path, records[:, 0], classes)
        parts.append(records)
    records = np.concatenate(parts)
    pixels = records[:, 1:].reshape(-1, 3, 32, 32)
    return Images(np.ascontiguousarray(pixels), records[:, 0].astype(np.int64))


def cifar_count(path: Path) -> int:
    """Return how many images a file of CIFAR-10's binary version holds, from its size.

    Raises:
        UserError: if it does not consist of whole records.
    """
    size = len(content(path, GET_AGAIN))
    if not size or size % RECORD:
        raise UserError(f"{path} has {size} bytes, expected a multiple of {RECORD}; {GET_AGAIN}")
    return size // RECORD


def svhn_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of a MATLAB file's array X without reading it.

    Raises:
        UserError: if there is no X of bytes, or no y.
    """
    from scipy.io import whosmat

    found = {name: (shape, kind) for name, shape, kind in _matlab(path, whosmat)}
    if "X" not in found or "y" not in found:
        names = ", ".join(sorted(found)) or "nothing"
        raise UserError(f"{path} holds {names}, expected X and y; {GET_AGAIN}")
    (shape, kind), (labels, _) = found["X"], found["y"]
    if kind != "uint8" or len(shape) != 4 or shape[:3] != (32, 32, 3):
        raise UserError(
            f"{path}: X must hold bytes of shape 32 x 32 x 3 x N, found {kind} of {_times(shape)}"
        )
    if not 0 < prod(shape) <= LARGEST or prod(labels) != shape[3]:
        raise UserError(
            f"{path}: X says {_times(shape)} and y {_times(labels)}, which cannot be; {GET_AGAIN}"
        )
    return tuple(shape)


def svhn_images(path: Path, classes: int) -> Images:
    """Read an SVHN file (MATLAB 5, format 2 of the data set); its class 10 is the digit 0.

    Raises:
        UserError: if it is damaged, or of another kind.
    """
    from scipy.io import loadmat

    _refuse_bomb(path, svhn_shape(path))
    arrays = _matlab(path, lambda file: loadmat(file, variable_names=["X", "y"]))
    found = np.ravel(arrays["y"])
    if found.dtype.kind not in "ui" or not (found.min() >= 1 and found.max() <= classes):
        raise UserError(f"{path}: y must hold classes 1 to {classes}; {GET_AGAIN}")
    pixels = np.ascontiguousarray(np.transpose(arrays["X"], (3, 2, 0, 1)))
    return Images(pixels, found.astype(np.int64) % classes)


def _refuse_bomb(path: Path, shape: tuple[int, ...]) -> None:
    """Unpack what is compressed piece by piece, and keep none of it: it must not exceed X and y.

    What is damaged ends the look; reading it says so.
    """
    data, at, left = content(path, GET_AGAIN), 128, prod(shape) + 16 * shape[-1] + 2**16
    order = ">" if data[126:128] == b"MI" else "<"
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        piece, stream = data[at + 8 : at + 8 + size], zlib.decompressobj()
        while kind == COMPRESSED and piece and left >= 0:
            try:
                left -= len(stream.decompress(piece, 2**20))
            except zlib.error:
                return
            piece = stream.unconsumed_tail
        at += 8 + size
    if left < 0:
        raise UserError(
            f"{path}: X says {_times(shape)}, but the file unpacks to more; {GET_AGAIN}"
        )


def _matlab(path: Path, call: Callable[[IO[bytes]], Any]) -> Any:
    data = content(path, GET_AGAIN)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return call(io.BytesIO(data))
    except Exception as error:  # SciPy raises many kinds on a damaged file
        reason = one_line(error, 100)
        raise UserError(f"{path} is no readable MATLAB 5 file ({reason}); {GET_AGAIN}") from error


def _labels(path: Path, labels: np.ndarray, classes: int) -> np.ndarray:
    if labels.size and labels.max() >= classes:
        raise UserError(
            f"{path} has a label {labels.max()}, expected 0 to {classes - 1}; {GET_AGAIN}"
        )
    return labels.astype(np.int64)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
