"""Real images: which sources there are, where their files are found, and what was read.

Files are looked for under ``--data-dir``, then under the environment variable ``LFT_DATA``, then in
the user's cache, where ``lft data fetch`` puts them. The digits come with scikit-learn, so that
every command runs on a machine without data. A file that is not the official one (shorter, or
packed again) is read all the same, and is recorded as such.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from lft_validation import datasets_formats as formats
from lft_validation.datasets_formats import Images
from lft_validation.errors import UserError

VARIABLE = "LFT_DATA"
Split = Literal["train", "test"]
SPLITS: tuple[Split, Split] = ("train", "test")


class Source(NamedTuple):
    """A data set: its files with the MD5 that its makers or their followers published."""

    name: str
    shape: tuple[int, int, int]  # (C, H, W)
    folder: str
    train: dict[str, str]  # file -> MD5
    test: dict[str, str]
    read: Callable[[list[Path], int], Images]
    count: Callable[[list[Path]], int]  # from headers and sizes alone
    mirrors: tuple[str, ...]  # addresses that a file's name, or the archive's, is added to
    archive: tuple[str, str] | None = None  # name and MD5 of what holds all files
    classes: int = 10
    largest: int = 255  # value of a pixel

    def files(self, split: Split) -> dict[str, str]:
        """Return the files of a split with their MD5."""
        return self.train if split == "train" else self.test


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
        digest = hashlib.sha256(self.images.pixels.tobytes())
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


def _idx_read(paths: list[Path], classes: int) -> Images:
    return formats.idx_images(paths[0], paths[1], classes)


def _idx_count(paths: list[Path]) -> int:
    formats.idx_shape(paths[1], 1)
    return formats.idx_shape(paths[0], 3)[0]


def _svhn_read(paths: list[Path], classes: int) -> Images:
    return formats.svhn_images(paths[0], classes)


def _svhn_count(paths: list[Path]) -> int:
    return formats.svhn_shape(paths[0])[3]


def _cifar_count(paths: list[Path]) -> int:
    return sum(formats.cifar_count(path) for path in paths)


def _idx_files(prefix: str, images: str, labels: str) -> dict[str, str]:
    return {f"{prefix}-images-idx3-ubyte.gz": images, f"{prefix}-labels-idx1-ubyte.gz": labels}


MNIST = Source(
    "mnist",
    (1, 28, 28),
    "mnist",
    _idx_files("train", "f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432"),
    _idx_files("t10k", "9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c"),
    _idx_read,
    _idx_count,
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)
FASHION_MNIST = MNIST._replace(
    name="fashion-mnist",
    folder="fashion-mnist",
    train=_idx_files(
        "train", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe"
    ),
    test=_idx_files("t10k", "bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310"),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
)
CIFAR10 = Source(
    "cifar10",
    (3, 32, 32),
    "cifar-10-batches-bin",
    {
        "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
        "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
        "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
        "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
        "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    },
    {"test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d"},
    formats.cifar_images,
    _cifar_count,
    (
        "https://www.cs.toronto.edu/~kriz/",
        "https://cave.cs.toronto.edu/kriz/",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
    ),
    archive=("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
)
SVHN = Source(
    "svhn",
    (3, 32, 32),
    "svhn",
    {"train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373"},
    {"test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3"},
    _svhn_read,
    _svhn_count,
    ("http://ufldl.stanford.edu/housenumbers/",),
)
DIGITS = Source(
    "digits",
    (1, 8, 8),
    "",
    {},
    {},
    lambda _paths, _classes: _bundled_digits(),
    lambda _paths: _bundled_digits().number,
    (),
    largest=16,
)
SOURCES = {source.name: source for source in (MNIST, CIFAR10, FASHION_MNIST, SVHN, DIGITS)}


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


def places(data_dir: Path | None = None) -> dict[str, Path]:
    """Return the folders that are searched, in order, by what names them.

    Raises:
        UserError: if ``--data-dir`` or ``LFT_DATA`` names something that is no folder.
    """
    found = {"--data-dir": data_dir} if data_dir is not None else {}
    if os.environ.get(VARIABLE):
        found[VARIABLE] = Path(os.environ[VARIABLE])
    for name, path in found.items():
        if not path.is_dir():
            raise UserError(f"{name} is {str(path)!r}, which is no folder; give one that exists")
    return {**found, "the cache": cache_folder()}


def find(wanted: Source, data_dir: Path | None = None) -> tuple[str, Path] | None:
    """Return the first folder that holds one of a source's files, and what named it.

    Raises:
        UserError: if ``--data-dir`` or ``LFT_DATA`` names something that is no folder.
    """
    for name, place in places(data_dir).items():
        folder = place / wanted.folder
        if any((folder / file).exists() for file in {**wanted.train, **wanted.test}):
            return name, folder
    return None


def locate(wanted: Source, data_dir: Path | None = None) -> Path:
    """Return the first folder that holds one of a source's files.

    Raises:
        UserError: if there is none.
    """
    found = find(wanted, data_dir)
    if found is None:
        where = ", ".join(
            f"{path / wanted.folder} ({name})" for name, path in places(data_dir).items()
        )
        raise UserError(
            f"no {wanted.name} in {where}; download it with lft data fetch {wanted.name}, "
            f"or set --data-dir or {VARIABLE} to the folder that holds {wanted.folder}/"
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
    if wanted is DIGITS:
        train = 1437  # four fifths; the last fifth comes from other writers
        both = _bundled_digits()
        part = slice(None, train) if split == "train" else slice(train, None)
        images = Images(*(a[part] for a in both))
        return Dataset(name, split, images, wanted.largest, "scikit-learn", True)
    folder, files = locate(wanted, data_dir), wanted.files(split)
    paths = [folder / file for file in files]
    images = wanted.read(paths, wanted.classes)
    official = all(md5(path) == files[path.name] for path in paths)
    return Dataset(name, split, images, wanted.largest, str(folder), official)


def md5(path: Path) -> str:
    """Return a file's MD5, which says which file it is and protects against nothing."""
    return hashlib.md5(formats.content(path), usedforsecurity=False).hexdigest()


def _bundled_digits() -> Images:
    """The 1,797 digits of 8 × 8 pixels from 0 to 16 that come with scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UserError(
            "the digits come with scikit-learn, which is not installed; "
            "install it with: pip install 'lft-ref[images]'"
        ) from error
    bunch = load_digits()
    pixels = bunch.images[:, None].astype(np.uint8)
    return Images(pixels, bunch.target.astype(np.int64))
