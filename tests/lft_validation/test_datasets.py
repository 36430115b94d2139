"""Image files are found and read as their formats say."""

from __future__ import annotations

import gzip
import os

import numpy as np
import pytest

from lft_validation import datasets
from lft_validation.datasets import SOURCES, SPLITS, load
from lft_validation.datasets_survey import survey
from lft_validation.errors import UserError
from tests.lft_validation.image_files import (
    write_cifar,
    write_mnist,
    write_svhn,
)

pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
REAL = os.environ.get("LFT_DATA", "")


pytestmark = pytest.mark.usefixtures("nowhere")


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


@pytest.mark.parametrize("thorough", [True, False])
def test_files_of_another_source_are_told_by_their_published_checksums(
    tmp_path, monkeypatch, thorough
):
    write_mnist(tmp_path / "fashion-mnist")
    sums = {p.name: datasets.md5(p) for p in (tmp_path / "fashion-mnist").iterdir()}
    mnist = SOURCES["mnist"]
    ours = mnist._replace(**{s: {n: sums[n] for n in mnist.files(s)} for s in ("train", "test")})
    monkeypatch.setitem(datasets.SOURCES, "mnist", ours)
    said = r"fashion-mnist\S+ is mnist's train-images\S+; put it into mnist/, and the files of fash"
    with pytest.raises(UserError, match=said):
        load("fashion-mnist", "train", tmp_path)
    train, _ = survey(("fashion-mnist",), tmp_path, thorough)
    assert train.state == "damaged"
    assert "is mnist's train-images-idx3-ubyte.gz" in train.problem


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
