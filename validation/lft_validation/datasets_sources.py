"""The image sources that are known: their files, checksums, addresses and readers."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from lft_validation import datasets_formats as formats
from lft_validation import datasets_pictures as pictures
from lft_validation.datasets_formats import Images
from lft_validation.errors import UserError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, Split] = ("train", "test")  # what every source has
PUBLISHED_CLASSES = {"train.csv": 64, "val.csv": 16, "test.csv": 20}  # Ravi & Larochelle 2017


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
    val: dict[str, str] | None = None  # files of a third split
    without_mirrors: str = ""  # what is said in place of a download
    is_published: Callable[[Path], bool] | None = None  # tells a file without a published MD5
    check_splits: Callable[[Path, list[Path]], None] | None = None  # a split's file, the others'

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that there are."""
        return SPLITS if self.val is None else ("train", "val", "test")

    def files(self, split: Split) -> dict[str, str]:
        """Return the files of a split with their MD5, empty where none is published.

        Raises:
            UserError: if there is no such split.
        """
        if split not in self.splits:
            raise UserError(
                f"{self.name} has no split {split!r}; choose one of {', '.join(self.splits)}"
            )
        return {"train": self.train, "val": self.val or {}, "test": self.test}[split]


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


def _omniglot_read(paths: list[Path], _classes: int) -> Images:
    return pictures.omniglot_images(paths[0])


def _omniglot_count(paths: list[Path]) -> int:
    return pictures.omniglot_count(paths[0])


def _miniimagenet_read(paths: list[Path], _classes: int) -> Images:
    return pictures.miniimagenet_images(paths[0])


def _miniimagenet_count(paths: list[Path]) -> int:
    return len(pictures.split_rows(paths[0]))


def _is_published_split(path: Path) -> bool:
    """Whether a split file has as many classes as Ravi & Larochelle's, of 600 pictures each."""
    each = Counter(label for _, label in pictures.split_rows(path))
    return set(each.values()) == {600} and len(each) == PUBLISHED_CLASSES[path.name]


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
OMNIGLOT = Source(
    "omniglot",
    (1, 28, 28),
    "omniglot",
    {"images_background.zip": "68d2efa1b9178cc56df9314c21c6e718"},
    {"images_evaluation.zip": "6b91aef0f799c5bb55b94e3f2daec811"},
    _omniglot_read,
    _omniglot_count,
    ("https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",),
    classes=1623,
)
MINIIMAGENET = Source(
    "miniimagenet",
    (3, 84, 84),
    "miniimagenet",
    {"train.csv": ""},
    {"test.csv": ""},
    _miniimagenet_read,
    _miniimagenet_count,
    (),
    classes=100,
    val={"val.csv": ""},
    is_published=_is_published_split,
    check_splits=pictures.check_splits,
    without_mirrors="cannot be downloaded here; put its pictures into miniimagenet/images/ and the "
    "split files train.csv, val.csv and test.csv beside it, in --data-dir or LFT_DATA",
)
DIGITS = Source(
    "digits",
    (1, 8, 8),
    "",
    {},
    {},
    lambda _paths, _classes: bundled_digits(),
    lambda _paths: bundled_digits().number,
    (),
    largest=16,
    without_mirrors="comes with scikit-learn; there is nothing to download",
)
SOURCES = {
    source.name: source
    for source in (MNIST, CIFAR10, FASHION_MNIST, SVHN, OMNIGLOT, MINIIMAGENET, DIGITS)
}


def bundled_digits() -> Images:
    """The 1,797 digits of 8 × 8 pixels from 0 to 16 that come with scikit-learn.

    They are read from its file: importing it would take two seconds in every process.

    Raises:
        UserError: if scikit-learn is not installed.
    """
    package = importlib.util.find_spec("sklearn")
    file = Path(str(package and package.origin)).parent / "datasets" / "data" / "digits.csv.gz"
    if not file.exists():
        raise UserError(
            "the digits come with scikit-learn, which is not installed; "
            "install it with: pip install 'lft-ref[images]'"
        )
    numbers = np.loadtxt(file, delimiter=",", dtype=np.int64)  # 64 pixels and the class
    return Images(numbers[:, :-1].reshape(-1, 1, 8, 8).astype(np.uint8), numbers[:, -1].copy())
