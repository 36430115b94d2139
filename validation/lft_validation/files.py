"""Files are written whole or not at all, and read with suspicion. Nothing is ever unpickled."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import lzma
import os
import stat
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile

from lft_validation.errors import UserError

LARGEST = 2**30  # bytes
# What NumPy may raise on a damaged archive.
DAMAGED = (
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    SystemError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def write_bytes(path: Path, content: bytes) -> None:
    """Write to a temporary name in the same folder, flush to disk, then rename.

    Raises:
        OSError: if it cannot be written, or is there and is a pipe or device: it would be replaced.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EEXIST, "it is no plain file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write JSON with sorted keys, so that equal values give equal files."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: object) -> bytes:
    """Return what :func:`write_json` writes.

    Raises:
        ValueError: if a number is not finite.
    """
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> Any:
    """Return the parsed file.

    Raises:
        UserError: if it is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path") from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is not JSON ({error}); it was damaged: use another folder"
        ) from error


def fingerprint(value: object) -> str:
    """Return a short hash of a JSON value; equal values have equal fingerprints."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_arrays(path: Path, kind: str, key: str, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays as ``.npz`` with the kind of file and the fingerprint of what they belong to.

    Raises:
        ValueError: if one holds Python objects, which nobody would read again.
    """
    buffer = io.BytesIO()
    everything = {"kind": np.asarray(kind), "key": np.asarray(key), **arrays}
    for name, array in everything.items():
        if np.asarray(array).dtype.hasobject:
            raise ValueError(
                f"array {name} of {path.name} holds Python objects ({array!s:.40}); give numbers "
                "that fit into 64 bits, or text"
            )
    np.savez(buffer, **everything)  # type: ignore[arg-type] # one stub for all keywords
    write_bytes(path, buffer.getvalue())


def read_arrays(path: Path, kind: str, key: str | None = None) -> dict[str, np.ndarray]:
    """Return the arrays of a file that :func:`write_arrays` made.

    Args:
        path: the file.
        kind: what kind of file it must be.
        key: the fingerprint it must carry; None for any.

    Raises:
        UserError: if it is missing, truncated, corrupted, of another kind or of another run.
    """
    arrays = _load(path)
    found = str(arrays.pop("kind", "nothing"))
    if found != kind:
        raise UserError(f"{path} holds {found!r}, expected {kind!r}; point to another file")
    owner = str(arrays.pop("key", ""))
    if key is not None and owner != key:
        raise UserError(
            f"{path} belongs to another run ({owner}, expected {key}); "
            "use the folder that it came from, or delete it to compute it again"
        )
    return arrays


def belongs_to(path: Path) -> str:
    """Return the fingerprint that a file carries.

    Raises:
        UserError: if it cannot be read.
    """
    return str(_load(path).get("key", ""))


OURS = "delete it to compute it again"  # of what a run writes


def require(
    path: Path,
    arrays: dict[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    remedy: str = OURS,
) -> None:
    """Check that a file holds the arrays that it must, in their shapes.

    Args:
        path: of the file.
        arrays: what it holds.
        shapes: of each array that it must hold.
        remedy: what an error tells the user to do about it.

    Raises:
        UserError: naming the first array that is missing or of another shape.
    """
    for name, shape in shapes.items():
        if name not in arrays:
            raise UserError(f"{path} lacks {name!r}; {remedy}")
        if arrays[name].shape != shape:
            found = arrays[name].shape
            raise UserError(f"{path}: {name} must have shape {shape}, found {found}; {remedy}")


def require_numbers(path: Path, arrays: dict[str, np.ndarray], names: Iterable[str]) -> None:
    """Check that a run's file holds real numbers; NaN and ∞ are, of tasks that ran away.

    Raises:
        UserError: naming the first array that holds something else.
    """
    for name in names:
        if arrays[name].dtype.kind not in "fiu":
            found = arrays[name].dtype
            raise UserError(f"{path}: {name} must hold real numbers, found {found}; {OURS}")


def require_finite(path: Path, name: str, array: np.ndarray, remedy: str) -> None:
    """Check that an array holds finite real numbers.

    Raises:
        UserError: saying what it holds.
    """
    if array.dtype.kind != "f":
        raise UserError(f"{path}: {name} must hold real numbers, found {array.dtype}; {remedy}")
    if not np.isfinite(array).all():
        bad = array[~np.isfinite(array)].ravel()[0]
        raise UserError(f"{path}: {name} must hold finite numbers, found {bad}; {remedy}")


def read_plain(path: Path) -> bytes:
    """Return the bytes of a file: no folder's, and none of a pipe or device that may never end.

    Raises:
        OSError: if it cannot be read.
        UserError: if it is there and is no plain file.
        ValueError: if it is larger than :data:`LARGEST`.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise UserError(f"{path} is not a plain file; check the path")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"it has {path.stat().st_size} bytes, more than {LARGEST}")
    return path.read_bytes()


@contextlib.contextmanager
def opened_npz(content: bytes, most: int) -> Iterator[NpzFile]:
    """Open what an ``.npz`` file holds; nothing is unpickled.

    Args:
        content: the file's bytes.
        most: bytes that it may unpack to.

    Raises:
        ValueError: or one of the other :data:`DAMAGED`, if it cannot be read.
    """
    file = io.BytesIO(content)
    is_archive = zipfile.is_zipfile(file)
    file.seek(0)
    archive = np.load(file, allow_pickle=False) if is_archive else None
    if not isinstance(archive, NpzFile):
        raise ValueError("it is no archive, though perhaps a single array")
    with archive:
        members = [] if archive.zip is None else archive.zip.infolist()
        unpacked = sum(member.file_size for member in members)
        if unpacked > most:
            raise ValueError(
                f"it unpacks to {unpacked} bytes, more than {most}: use fewer or smaller arrays"
            )
        yield archive


def all_arrays(content: bytes, most: int) -> dict[str, np.ndarray]:
    """Return all that an ``.npz`` file holds, which must be arrays, and texts that can be read.

    Raises:
        ValueError: as :func:`opened_npz`.
    """
    with opened_npz(content, most) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"its member {name[:40]!r} is no array")
        if array.dtype.kind == "U":
            array.tolist()  # fails on what is no character
    return arrays


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        return all_arrays(read_plain(path), LARGEST)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; check the path") from error
    except (OSError, *DAMAGED) as error:
        raise UserError(
            f"{path} is not a readable .npz file ({error}); give another file or, if a run wrote "
            "it and it was truncated or damaged, delete it to compute it again"
        ) from error
