"""Real images: which sources there are, where their files are found, and what was read.

Files are looked for under ``--data-dir``, then under the environment variable ``LFT_DATA``, then in
the user's cache, where ``lft data fetch`` puts them. The digits come with scikit-learn, so that
every command runs on a machine without data. A file that is not the official one (shorter, or
packed again) is read all the same, and is recorded as such.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lft_validation import datasets_formats as formats
from lft_validation.datasets_formats import Images
from lft_validation.datasets_sources import (
    CIFAR10,
    DIGITS,
    FASHION_MNIST,
    MINIIMAGENET,
    MNIST,
    OMNIGLOT,
    SOURCES,
    SPLITS,
    SVHN,
    Source,
    Split,
    bundled_digits,
)
from lft_validation.errors import NotFound, UserError

__all__ = [
    "CIFAR10",
    "DIGITS",
    "FASHION_MNIST",
    "MINIIMAGENET",
    "MNIST",
    "OMNIGLOT",
    "SOURCES",
    "SPLITS",
    "SVHN",
    "VARIABLE",
    "Dataset",
    "Source",
    "Split",
    "cache_folder",
    "find",
    "load",
    "locate",
    "md5",
    "places",
    "read_once",
    "source",
]
VARIABLE = "LFT_DATA"
FIRST = "LFT_DATA_DIR"  # what --data-dir says, for processes that a command starts


class Dataset(NamedTuple):
    """One split of a source, as it was found."""

    name: str
    split: Split
    images: Images
    largest: int  # value of a pixel
    folder: str
    official: bool

    @property
    def checksum(self) -> str:
        """SHA-256 of pixels and labels: the same however the files were packed."""
        digest = hashlib.sha256(np.ravel(self.images.pixels).data)
        digest.update(self.images.labels.astype("<i8").tobytes())
        return digest.hexdigest()

    @property
    def box(self) -> tuple[float, float]:
        """Where the entries of :meth:`scaled` lie."""
        return -0.5, 0.5

    def scaled(self, dtype: str = "float32") -> np.ndarray:
        """Return the images in [-0.5, 0.5], (N, C, H, W)."""
        return (self.images.pixels.astype(dtype) / self.largest - 0.5).astype(dtype)

    def record(self) -> dict[str, Any]:
        """Return what a run's config.json says of the data."""
        return {
            "name": self.name,
            "split": self.split,
            "images": self.images.number,
            "official": self.official,
            "sha256": self.checksum,
        }


def source(name: str) -> Source:
    """Return the source of that name.

    Raises:
        UserError: if there is none.
    """
    if name not in SOURCES:
        raise UserError(f"unknown data {name!r}; choose one of {', '.join(SOURCES)}")
    return SOURCES[name]


def cache_folder() -> Path:
    """Return the folder of the user's cache that downloads go to."""
    try:
        import pooch
    except ImportError:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return Path(base, "lft-ref")
    return Path(pooch.os_cache("lft-ref"))


@contextlib.contextmanager
def searched_first(data_dir: Path | None) -> Iterator[None]:
    """Look under a folder first, in this process and those that it starts; None changes nothing."""
    before = os.environ.get(FIRST)
    if data_dir is not None:
        os.environ[FIRST] = str(data_dir.absolute())
    try:
        places()
        yield
    finally:
        os.environ.pop(FIRST, None)
        if before is not None:
            os.environ[FIRST] = before


def places(data_dir: Path | None = None) -> dict[str, Path]:
    """Return the folders that are searched, in order, by what names them.

    Raises:
        UserError: if ``--data-dir`` or ``LFT_DATA`` names something that is no folder.
    """
    if data_dir is None and FIRST in os.environ:
        data_dir = Path(os.environ[FIRST])
    found = {"--data-dir": data_dir} if data_dir is not None else {}
    if os.environ.get(VARIABLE):
        found[VARIABLE] = Path(os.environ[VARIABLE])
    for name, path in found.items():
        if not path.is_dir():
            raise UserError(f"{name} is {str(path)!r}, which is no folder; give one that exists")
    return {**found, "the cache": cache_folder()}


def find(
    wanted: Source, data_dir: Path | None = None, split: Split | None = None
) -> tuple[str, Path] | None:
    """Return the first folder that holds all files of a split, and what named it.

    Without a split, or where no folder has all: the first that holds one of the source's files.

    Raises:
        UserError: if ``--data-dir`` or ``LFT_DATA`` names something that is no folder.
    """
    folders = {name: place / wanted.folder for name, place in places(data_dir).items()}
    files = list(wanted.files(split)) if split is not None else []
    for name, folder in folders.items():
        if files and all((folder / file).exists() for file in files):
            return name, folder
    for name, folder in folders.items():
        if any((folder / file).exists() for split in wanted.splits for file in wanted.files(split)):
            return name, folder
    return None


def locate(wanted: Source, data_dir: Path | None = None, split: Split | None = None) -> Path:
    """Return the folder of :func:`find`.

    Raises:
        NotFound: if there is none.
    """
    found = find(wanted, data_dir, split)
    if found is None:
        where = ", ".join(
            f"{path / wanted.folder} ({name})" for name, path in places(data_dir).items()
        )
        fetch = f"download it with lft data fetch {wanted.name}, or " if wanted.mirrors else ""
        raise NotFound(
            f"no {wanted.name} in {where}; {fetch}set {VARIABLE} or --data-dir to the folder that "
            f"holds {wanted.folder}/"
        )
    return found[1]


def load(name: str, split: Split, data_dir: Path | None = None) -> Dataset:
    """Read one split of a source.

    Raises:
        UserError: if there is no such source, its files are not found, or one is damaged.

    Example:
        >>> digits = load("digits", "train")
        >>> digits.images.pixels.shape, digits.official
        ((1437, 1, 8, 8), True)
    """
    wanted = source(name)
    files = wanted.files(split)
    if wanted is DIGITS:
        train = 1437  # four fifths; the last fifth comes from other writers
        both = bundled_digits()
        part = slice(None, train) if split == "train" else slice(train, None)
        images = Images(*(a[part] for a in both))
        return Dataset(name, split, images, wanted.largest, "scikit-learn", True)
    folder = locate(wanted, data_dir, split)
    paths = [folder / file for file in files]
    if wanted.check_splits is not None:
        wanted.check_splits(paths[0], _of_other_splits(wanted, split, data_dir))
    images = wanted.read(paths, wanted.classes)
    official = are_official(wanted, split, paths)
    return Dataset(name, split, images, wanted.largest, str(folder), official)


def _of_other_splits(wanted: Source, split: Split, data_dir: Path | None) -> list[Path]:
    """The files that the source's other splits are read from, wherever they are found."""
    found = []
    for other in wanted.splits:
        if other != split and (place := find(wanted, data_dir, other)) is not None:
            found += [place[1] / file for file in wanted.files(other)]
    return [path for path in found if path.exists()]


@cache
def read_once(name: str, split: Split) -> Dataset:
    """Return :func:`load`'s data set, read once in each process."""
    return load(name, split)


def are_official(wanted: Source, split: Split, paths: Sequence[Path]) -> bool:
    """Say whether the files of a split are the published ones.

    They are known by their MD5. None is published for miniImageNet's: there the number of classes
    and of pictures in each says it.

    Raises:
        UserError: if one is another published file: of this source, so that two were exchanged, or
            of another one.
    """
    if wanted.is_published is not None:
        return all(wanted.is_published(path) for path in paths)
    files, sums = wanted.files(split), [md5(path) for path in paths]
    published = _published(wanted)
    for path, found in zip(paths, sums, strict=True):
        owner, file = published.get(found, (wanted, path.name))
        if owner.name != wanted.name:
            raise UserError(
                f"{path} is {owner.name}'s {file}; put it into {owner.folder}/, and the files of "
                f"{wanted.name} here"
            )
        if file != path.name:
            raise UserError(f"{path} is {file} under another name; give each file its own name")
    return all(files[path.name] == found for path, found in zip(paths, sums, strict=True))


def _published(wanted: Source) -> dict[str, tuple[Source, str]]:
    """Return which file of which source has a published MD5; those of ``wanted`` come first."""
    known = [*(s for s in SOURCES.values() if s.name != wanted.name), wanted]
    return {
        sum_: (one, file)
        for one in known
        for split in one.splits
        for file, sum_ in one.files(split).items()
        if sum_
    }


def md5(path: Path) -> str:
    """Return a file's MD5, which says which file it is and protects against nothing."""
    return hashlib.md5(formats.content(path), usedforsecurity=False).hexdigest()
