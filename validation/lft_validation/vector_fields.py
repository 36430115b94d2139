"""Arrays of a file that a stranger wrote: found, typed, shaped and finite, or refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lft_validation.errors import UserError
from lft_validation.files import DAMAGED, all_arrays, read_plain

REMEDY = "correct the program that wrote it, or write it with lft vectors make"
LARGEST = 2**30  # bytes unpacked: far above any test vector, far below the memory there is


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return all arrays of an ``.npz`` file; nothing is unpickled.

    Raises:
        UserError: if the file cannot be read, is damaged, or is something else.
    """
    try:
        return all_arrays(read_plain(path), LARGEST)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{path}: is no readable .npz archive of plain arrays ({reason}); it is damaged or no "
            "test vector: copy it again, or write it with lft vectors make"
        ) from error


class Fields(NamedTuple):
    """The arrays of a file that nobody has asked for yet; each method takes one away."""

    file: Path
    left: dict[str, np.ndarray]

    def error(self, name: str, wanted: str, found: str) -> UserError:
        """Return the sentence: file, array, what was found, what to do."""
        return UserError(f"{self.file}: {name} must be {wanted}, found {found}; {REMEDY}")

    def has(self, name: str) -> bool:
        """Return whether an array is there."""
        return name in self.left

    def word(self, name: str, allowed: Sequence[str]) -> str:
        """Take a text of shape () that must be one of a few."""
        array = self._take(name, "U", "a text")
        self._check_shape(name, array, ())
        if str(array) not in allowed:
            raise self.error(name, " or ".join(map(repr, allowed)), repr(str(array)[:40]))
        return str(array)

    def flag(self, name: str) -> bool:
        """Take a truth value of shape ()."""
        array = self._take(name, "b", "true or false (bool)")
        self._check_shape(name, array, ())
        return bool(array)

    def number(self, name: str, positive: bool = False) -> float:
        """Take one number of shape ()."""
        value = float(self.floats(name, ()))
        if positive and not value > 0.0:
            raise self.error(name, "positive", f"{value:g}")
        return value

    def floats(self, name: str, shape: Sequence[int | str]) -> np.ndarray:
        """Take a finite float64 array; a letter in ``shape`` is any length of at least 1."""
        array = self._take(name, "f", "float64", itemsize=8)
        self._check_shape(name, array, shape)
        if not np.isfinite(array).all():
            bad = np.argwhere(~np.isfinite(array))[0].tolist()
            found = f"{array[tuple(bad)]} at index {bad}"
            raise self.error(name, "finite", found)
        return array.astype(np.float64)  # in this machine's byte order

    def integers(self, name: str, shape: Sequence[int | str]) -> np.ndarray:
        """Take an array of integers, as int64."""
        array = self._take(name, "iu", "integer")
        self._check_shape(name, array, shape)
        return array.astype(np.int64)

    def empty(self, name: str) -> None:
        """Take an array that must have no entries."""
        array = self._take(name, "f", "float64", itemsize=8)
        if array.size:
            raise self.error(name, "of size 0 for first_order", f"shape {array.shape}")

    def finish(self) -> None:
        """Refuse arrays that nobody asked for: they would go unchecked."""
        if self.left:
            names = ", ".join(name[:40] for name in list(self.left)[:5])
            raise UserError(
                f"{self.file}: holds arrays that this kind of test vector does not have: {names}; "
                "remove or rename them"
            )

    def _take(self, name: str, kinds: str, wanted: str, itemsize: int = 0) -> np.ndarray:
        if name not in self.left:
            raise UserError(f"{self.file}: has no array {name}; {REMEDY}")
        array = self.left.pop(name)
        if array.dtype.kind not in kinds or (itemsize and array.dtype.itemsize != itemsize):
            raise self.error(name, wanted, f"dtype {array.dtype}")
        return array

    def _check_shape(self, name: str, array: np.ndarray, shape: Sequence[int | str]) -> None:
        fits = len(array.shape) == len(shape) and all(
            found == wanted or (isinstance(wanted, str) and found >= 1)
            for found, wanted in zip(array.shape, shape, strict=True)
        )
        if not fits:
            text = "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
            raise self.error(name, f"of shape {text}", str(array.shape))
