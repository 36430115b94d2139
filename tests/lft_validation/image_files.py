"""Small image files in the layouts of the real ones, for the tests of the loaders."""

from __future__ import annotations

import gzip
import io
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lft_validation.datasets_formats import Images
from lft_validation.errors import UserError


def images(count: int, shape: tuple[int, int, int], seed: int = 0) -> Images:
    """Random pixels, and the classes 0, 1, 2 … in turn."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(256, size=(count, *shape), dtype=np.uint8)
    return Images(pixels, np.arange(count) % 10)


def idx(array: np.ndarray) -> bytes:
    """An idx file of bytes, uncompressed."""
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, prefix: str, data: Images) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind, array in (("images-idx3", data.pixels[:, 0]), ("labels-idx1", data.labels)):
        path = folder / f"{prefix}-{kind}-ubyte.gz"
        path.write_bytes(gzip.compress(idx(array), mtime=0))


def write_mnist(folder: Path, train: int = 5, test: int = 3) -> tuple[Images, Images]:
    """Four files as MNIST has them."""
    both = images(train, (1, 28, 28)), images(test, (1, 28, 28), 1)
    for prefix, data in zip(("train", "t10k"), both, strict=True):
        write_idx(folder, prefix, data)
    return both


def write_cifar(folder: Path, each: int = 2) -> tuple[Images, Images]:
    """Six files as CIFAR-10's binary version has them; the train images are those of all five."""
    folder.mkdir(parents=True, exist_ok=True)
    train, test = images(5 * each, (3, 32, 32)), images(each, (3, 32, 32), 1)
    names = [f"data_batch_{i}.bin" for i in range(1, 6)]
    for i, name in enumerate(names):
        part = slice(i * each, (i + 1) * each)
        (folder / name).write_bytes(records(Images(train.pixels[part], train.labels[part])))
    (folder / "test_batch.bin").write_bytes(records(test))
    return train, test


def records(data: Images) -> bytes:
    """A label byte and 3,072 pixel bytes for each image."""
    rows = [data.labels.astype(np.uint8)[:, None], data.pixels.reshape(data.number, -1)]
    return np.concatenate(rows, axis=1).tobytes()


def write_svhn(folder: Path, train: int = 4, test: int = 2) -> tuple[Images, Images]:
    """Two MATLAB files as SVHN has them: examples last, class 10 for the digit 0."""
    from scipy.io import savemat

    folder.mkdir(parents=True, exist_ok=True)
    both = images(train, (3, 32, 32)), images(test, (3, 32, 32), 1)
    for name, data in zip(("train", "test"), both, strict=True):
        y = np.where(data.labels == 0, 10, data.labels).astype(np.uint8)[:, None]
        X = np.transpose(data.pixels, (2, 3, 1, 0))
        savemat(folder / f"{name}_32x32.mat", {"X": X, "y": y}, do_compression=True)
    return both


OMNIGLOT_NAME = "images_background/Latin/character{:02d}/0684_{:02d}.png"


def png(
    size: tuple[int, int] = (105, 105), mode: str = "1", seed: int = 0, kind: str = "PNG"
) -> bytes:
    """A picture of random pixels."""
    from PIL import Image

    width, height = size
    rng = np.random.default_rng(seed)
    if mode == "I;16":
        image = Image.fromarray(rng.integers(2**16, size=(height, width), dtype=np.uint16))
    else:
        grey = Image.fromarray(rng.integers(256, size=(height, width), dtype=np.uint8))
        image = grey.convert("RGB").convert(mode) if mode in ("P", "CMYK") else grey.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def write_zip(target: Any, members: Any) -> None:
    """A compressed archive of members, by name or as pairs."""
    pairs = members.items() if isinstance(members, dict) else members
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # of names that occur twice
        for name, content in pairs:
            archive.writestr(name, content)


def write_omniglot(folder: Path, characters: int = 2, each: int = 2) -> None:
    """Two archives as Omniglot has them; a character is a bar of 21 rows, ink is 0."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for which in ("background", "evaluation"):
        members = {}
        for c in range(characters):
            paper = np.full((105, 105), 255, np.uint8)
            paper[21 * c : 21 * c + 21] = 0
            buffer = io.BytesIO()
            Image.fromarray(paper).convert("1").save(buffer, "PNG")
            for i in range(each):
                name = f"images_{which}/Latin/character{c + 1:02d}/0684_{i + 1:02d}.png"
                members[name] = buffer.getvalue()
        write_zip(folder / f"images_{which}.zip", members)


def write_miniimagenet(folder: Path, each: int = 2) -> None:
    """Split files of 4, 2 and 3 classes, and pictures of one red and of two sizes."""
    from PIL import Image

    (folder / "images").mkdir(parents=True, exist_ok=True)
    number = 0
    for split, classes in (("train", 4), ("val", 2), ("test", 3)):
        lines = ["filename,label"]
        for c in range(classes):
            for i in range(each):
                name = f"{split}_{c}_{i}.jpg"
                colour = Image.new("RGB", (84, 84) if i else (100, 60), (20 * number, 90, 120))
                colour.save(folder / "images" / name, quality=95)
                lines.append(f"{name},{split}_{c}")
            number += 1
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")


def refused(call, *words):
    """The one sentence with which a call is refused."""
    with pytest.raises(UserError) as caught:
        call()
    message = caught.value.message
    assert "\n" not in message
    for word in words:
        assert word in message, f"{word!r} is not in: {message}"
