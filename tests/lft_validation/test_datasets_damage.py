"""Damaged and malicious image files get one sentence."""

from __future__ import annotations

import gzip
import os
import struct
import zlib

import numpy as np
import pytest
import scipy.io

from lft_validation import datasets_formats
from lft_validation.datasets import load
from lft_validation.errors import UserError
from tests.lft_validation.image_files import (
    idx,
    images,
    records,
    write_cifar,
    write_idx,
    write_mnist,
    write_svhn,
)

pytestmark = pytest.mark.usefixtures("nowhere")


IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
GOOD = images(5, (1, 28, 28))


def header(*sizes):
    return bytes([0, 0, 8, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


def bomb():
    """A gzip file that says it holds five images, and unpacks to 64 MiB of zeros."""
    return gzip.compress(header(5, 28, 28) + bytes(2**26))


IDX = {
    "empty": (IMAGES, b"", "begins with nothing"),
    "no gzip": (IMAGES, b"hello", "truncated or damaged"),
    "labels in place of images": (IMAGES, gzip.compress(idx(GOOD.labels)), "begins with 00000801"),
    "images in place of labels": (LABELS, gzip.compress(idx(GOOD.pixels[:, 0])), "00000803"),
    "cut within its header": (IMAGES, gzip.compress(header(5, 28, 28)[:9]), "within its header"),
    "cut within the images": (
        IMAGES,
        gzip.compress(idx(GOOD.pixels[:, 0])[:-1]),
        "says 5 x 28 x 28 bytes but holds 3919",
    ),
    "truncated": (IMAGES, gzip.compress(idx(GOOD.pixels[:, 0]))[:-20], "truncated or damaged"),
    "corrupted": (
        IMAGES,
        gzip.compress(idx(GOOD.pixels[:, 0]))[:60] + bytes(3000),
        "truncated or damaged",
    ),
    "a gzip bomb": (IMAGES, bomb(), "holds more than 3920"),
    "a header of 16 TB": (IMAGES, gzip.compress(header(2**32 - 1, 64, 64)), "which cannot be"),
    "no images": (IMAGES, gzip.compress(header(0, 28, 28)), "which cannot be"),
    "images of another size": (
        IMAGES,
        gzip.compress(idx(np.zeros((5, 8, 8)))),
        "images of 8 x 8, expected 28 x 28",
    ),
    "more labels than images": (LABELS, gzip.compress(idx(np.zeros(6))), "5 images but .* 6"),
    "a label out of range": (
        LABELS,
        gzip.compress(idx(np.asarray([0, 1, 2, 3, 10]))),
        "has a label 10, expected 0 to 9",
    ),
}


@pytest.mark.parametrize("damage", IDX)
def test_damaged_idx_files_get_one_sentence(tmp_path, damage):
    name, content, message = IDX[damage]
    write_idx(tmp_path / "mnist", "train", GOOD)
    (tmp_path / "mnist" / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        load("mnist", "train", tmp_path)
    assert str(tmp_path / "mnist") in caught.value.message
    assert "\n" not in caught.value.message


def test_a_bomb_is_not_unpacked(tmp_path):
    import tracemalloc

    path = tmp_path / IMAGES
    path.write_bytes(bomb())
    tracemalloc.start()
    with pytest.raises(UserError, match="holds more than"):
        datasets_formats.read_idx(path, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**22


CIFAR = {
    "empty": (b"", "has 0 bytes, expected a multiple of 3073"),
    "truncated": (records(images(2, (3, 32, 32)))[:-1], "has 6145 bytes"),
    "a label out of range": (bytes([10]) + bytes(3072), "has a label 10, expected 0 to 9"),
}


@pytest.mark.parametrize("damage", CIFAR)
def test_damaged_cifar_files_get_one_sentence(tmp_path, damage):
    content, message = CIFAR[damage]
    write_cifar(tmp_path / "cifar-10-batches-bin")
    (tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin").write_bytes(content)
    with pytest.raises(UserError, match=r"data_batch_3\.bin " + message):
        load("cifar10", "train", tmp_path)


def matlab(path, **arrays):
    from scipy.io import savemat

    savemat(path, arrays)


X = np.zeros((32, 32, 3, 2), np.uint8)
SVHN = {
    "no MATLAB file": (lambda path: path.write_bytes(b"MATLAB" * 40), "no readable MATLAB 5"),
    "cut within y": (lambda path: path.write_bytes(path.read_bytes()[:-5]), "no readable MATLAB 5"),
    "cut after X": (lambda path: path.write_bytes(path.read_bytes()[:-50]), "holds X, expected X"),
    "other arrays": (lambda path: matlab(path, a=X), "holds a, expected X and y"),
    "another shape": (lambda path: matlab(path, X=X[:8], y=np.ones(2)), "X must hold bytes"),
    "another type": (lambda path: matlab(path, X=X * 1.0, y=np.ones(2)), "found double"),
    "more labels": (lambda path: matlab(path, X=X, y=np.ones(3)), "which cannot be"),
    "a class out of range": (
        lambda path: matlab(path, X=X, y=np.asarray([1, 11], np.uint8)),
        "must hold classes 1 to 10",
    ),
}


@pytest.mark.parametrize("damage", SVHN)
def test_damaged_svhn_files_get_one_sentence(tmp_path, damage):
    write, message = SVHN[damage]
    write_svhn(tmp_path / "svhn")
    write(tmp_path / "svhn" / "train_32x32.mat")
    with pytest.raises(UserError, match=message) as caught:
        load("svhn", "train", tmp_path)
    assert "\n" not in caught.value.message


def test_a_matlab_file_that_unpacks_to_more_than_it_says_is_refused(tmp_path):
    """X of two images, and after its numbers many more zeros in the same packed element."""
    write_svhn(tmp_path / "svhn")
    path = tmp_path / "svhn" / "train_32x32.mat"
    pixels = np.zeros((32, 32, 3, 2), np.uint8)
    scipy.io.savemat(path, {"X": pixels, "y": np.ones(2, np.uint8)}, do_compression=True)
    data = path.read_bytes()
    kind, size = struct.unpack_from("<II", data, 128)
    assert kind == 15
    packed = zlib.compress(zlib.decompress(data[136 : 136 + size]) + bytes(2**20))
    first = struct.pack("<II", kind, len(packed)) + packed
    path.write_bytes(data[:128] + first + data[136 + size :])
    with pytest.raises(UserError, match="but the file unpacks to more"):
        load("svhn", "train", tmp_path)


def test_something_that_is_no_plain_file_is_not_read(tmp_path, monkeypatch):
    write_mnist(tmp_path / "mnist")
    path = tmp_path / "mnist" / IMAGES
    path.unlink()
    with pytest.raises(UserError, match="is missing"):
        load("mnist", "train", tmp_path)
    os.mkfifo(path)
    with pytest.raises(UserError, match="is not a plain file"):
        load("mnist", "train", tmp_path)
    monkeypatch.setattr(datasets_formats, "LARGEST", 10)
    with pytest.raises(UserError, match="more than any file of this kind"):
        load("mnist", "test", tmp_path)
