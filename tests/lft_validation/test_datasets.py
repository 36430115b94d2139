"""Image files are read as their formats say; damaged and malicious ones get one sentence."""

from __future__ import annotations

import gzip
import os
import struct
import zlib

import numpy as np
import pytest
import scipy.io

from lft_validation import datasets, datasets_formats
from lft_validation.datasets import SOURCES, SPLITS, load
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

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
REAL = os.environ.get("LFT_DATA", "")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    """Neither LFT_DATA nor the user's cache."""
    monkeypatch.delenv("LFT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


WRITERS = {
    "mnist": (write_mnist, "mnist"),
    "fashion-mnist": (write_mnist, "fashion-mnist"),
    "cifar10": (write_cifar, "cifar-10-batches-bin"),
    "svhn": (write_svhn, "svhn"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_images_come_back_as_they_were_written(tmp_path, name):
    write, folder = WRITERS[name]
    written = write(tmp_path / folder)
    for split, want in zip(SPLITS, written, strict=True):
        found = load(name, split, tmp_path)
        np.testing.assert_array_equal(found.images.pixels, want.pixels)
        np.testing.assert_array_equal(found.images.labels, want.labels)
        assert found.images.pixels.shape[1:] == SOURCES[name].shape
        assert not found.official
        assert found.record()["images"] == want.number


def test_the_digits_are_there_without_a_download():
    train, test = load("digits", "train"), load("digits", "test")
    assert (train.images.number, test.images.number) == (1437, 360)
    assert train.images.pixels.max() == train.largest == 16
    assert np.bincount(np.concatenate([train.images.labels, test.images.labels])).min() == 174


def test_scaled_images_fill_the_box():
    data = load("digits", "test")
    scaled = data.scaled()
    assert (scaled.min(), scaled.max()) == data.box == (-0.5, 0.5)
    assert scaled.dtype == np.float32


def test_the_checksum_is_that_of_the_images_however_they_are_packed(tmp_path):
    for level, place in ((1, "a"), (9, "b")):
        write_mnist(tmp_path / place / "mnist")
        for path in (tmp_path / place / "mnist").iterdir():
            path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), level, mtime=0))
    first, second = (load("mnist", "train", tmp_path / place) for place in "ab")
    assert first.checksum == second.checksum != load("mnist", "test", tmp_path / "a").checksum


def test_a_file_with_the_published_md5_is_official(tmp_path, monkeypatch):
    write_mnist(tmp_path / "mnist")
    sums = {p.name: datasets.md5(p) for p in (tmp_path / "mnist").glob("train-*")}
    ours = SOURCES["mnist"]._replace(train={name: sums[name] for name in SOURCES["mnist"].train})
    monkeypatch.setitem(datasets.SOURCES, "mnist", ours)
    assert load("mnist", "train", tmp_path).official
    assert not load("mnist", "test", tmp_path).official


def test_folders_are_searched_in_order(tmp_path, monkeypatch):
    for place, count in (("option", 5), ("variable", 6), ("cache/lft-ref", 7)):
        write_mnist(tmp_path / place / "mnist", train=count)
    assert load("mnist", "train").images.number == 7
    monkeypatch.setenv("LFT_DATA", str(tmp_path / "variable"))
    assert load("mnist", "train").images.number == 6
    assert load("mnist", "train", tmp_path / "option").images.number == 5
    (tmp_path / "empty").mkdir()
    assert load("mnist", "train", tmp_path / "empty").images.number == 6


def test_a_command_that_starts_others_looks_into_its_folder_first_and_only_while_it_runs(tmp_path):
    write_mnist(tmp_path / "given" / "mnist", train=5)
    write_mnist(tmp_path / "cache" / "lft-ref" / "mnist", train=7)
    with datasets.searched_first(tmp_path / "given"):
        assert load("mnist", "train").images.number == 5
    assert load("mnist", "train").images.number == 7
    none = tmp_path / "none"
    with pytest.raises(UserError, match="which is no folder"), datasets.searched_first(none):
        pass
    assert load("mnist", "train").images.number == 7


def test_a_split_comes_from_the_first_folder_that_holds_it_whole(tmp_path, monkeypatch):
    for place, count in (("variable", 6), ("cache/lft-ref", 7)):
        write_mnist(tmp_path / place / "mnist", train=count, test=count)
    monkeypatch.setenv("LFT_DATA", str(tmp_path / "variable"))
    for file in (tmp_path / "variable" / "mnist").glob("t10k-labels*"):
        file.unlink()
    assert load("mnist", "train").images.number == 6
    assert load("mnist", "test").images.number == 7


def test_published_files_that_were_exchanged_are_told_by_their_checksums(tmp_path, monkeypatch):
    write_mnist(tmp_path / "mnist")
    folder, mnist = tmp_path / "mnist", SOURCES["mnist"]
    sums = {p.name: datasets.md5(p) for p in folder.iterdir()}
    ours = mnist._replace(**{s: {n: sums[n] for n in mnist.files(s)} for s in ("train", "test")})
    monkeypatch.setitem(datasets.SOURCES, "mnist", ours)
    for kind in ("images-idx3", "labels-idx1"):
        (folder / f"train-{kind}-ubyte.gz").write_bytes(
            (folder / f"t10k-{kind}-ubyte.gz").read_bytes()
        )
    with pytest.raises(UserError, match=r"train-images\S+ is t10k-images-idx3"):
        load("mnist", "train", tmp_path)
    assert load("mnist", "test", tmp_path).official


def test_what_is_not_found_is_named_with_every_place(tmp_path):
    with pytest.raises(UserError, match=r"no svhn in .*--data-dir.*cache.*lft data fetch svhn"):
        load("svhn", "train", tmp_path)
    with pytest.raises(UserError, match="unknown data 'imagenet'; choose one of mnist, cifar10"):
        load("imagenet", "train")
    with pytest.raises(UserError, match=r"--data-dir is '.*no', which is no folder"):
        load("mnist", "train", tmp_path / "no")


def test_the_digits_need_scikit_learn(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(UserError, match=r"pip install 'lft-ref\[images\]'"):
        load("digits", "train")


# Damage -------------------------------------------------------------------------------------------

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


@pytest.mark.skipif(not REAL, reason="LFT_DATA is not set: no real data")
@pytest.mark.parametrize(
    ("name", "means"), [("mnist", [0.1307]), ("cifar10", [0.4914, 0.4822, 0.4465])]
)
def test_real_images_have_the_published_means(monkeypatch, name, means):
    monkeypatch.setenv("LFT_DATA", REAL)
    data = load(name, "train")
    assert data.official
    assert data.images.number == {"mnist": 60_000, "cifar10": 50_000}[name]
    found = data.images.pixels.mean(axis=(0, 2, 3)) / 255
    np.testing.assert_allclose(found, means, atol=1e-4)
