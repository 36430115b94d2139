"""miniImageNet's folder: read by its split files; what is wrong gets a sentence."""

from __future__ import annotations

import numpy as np
import pytest

from lft_validation import datasets_pictures
from lft_validation.datasets import are_official, load
from lft_validation.datasets_fetch import fetch
from lft_validation.datasets_sources import MINIIMAGENET
from tests.lft_validation.image_files import png, refused, write_miniimagenet

pytest.importorskip("PIL", reason="pictures are read with Pillow")


pytestmark = pytest.mark.usefixtures("nowhere")


def test_miniimagenet_is_read_by_its_split_files(tmp_path):
    write_miniimagenet(tmp_path / "miniimagenet")
    sizes = {"train": 8, "val": 4, "test": 6}
    for split, number in sizes.items():
        data = load("miniimagenet", split, tmp_path)
        assert data.images.pixels.shape == (number, 3, 84, 84)
        assert np.bincount(data.images.labels).tolist() == [2] * (number // 2)
        # The red of a picture is the number of its class over all splits times 20.
        red = data.images.pixels[:, 0].mean(axis=(1, 2))
        first = {"train": 0, "val": 4, "test": 6}[split]
        np.testing.assert_allclose(red, 20 * (first + data.images.labels), atol=2)


@pytest.mark.parametrize(
    ("split", "classes", "each", "official"),
    [
        ("train", 64, 600, True), ("val", 16, 600, True), ("test", 20, 600, True),
        ("train", 80, 600, False), ("test", 20, 599, False), ("val", 20, 600, False),
    ],
)  # fmt: skip
def test_the_published_split_is_known_by_its_classes_and_their_pictures(
    tmp_path, split, classes, each, official
):
    rows = [f"{c}_{i}.jpg,n{c:08d}" for c in range(classes) for i in range(each)]
    file = tmp_path / f"{split}.csv"
    file.write_text("\n".join(["filename,label", *rows]) + "\n")
    assert are_official(MINIIMAGENET, split, [file]) is official


def test_grey_and_palette_pictures_become_colour(tmp_path):
    write_miniimagenet(tmp_path / "miniimagenet")
    for mode in ("L", "P", "CMYK"):
        kind = "JPEG" if mode == "CMYK" else "PNG"
        file = tmp_path / "miniimagenet" / "images" / "train_0_0.jpg"
        file.write_bytes(png((50, 40), mode, kind=kind))
        assert load("miniimagenet", "train", tmp_path).images.pixels.shape == (8, 3, 84, 84)


BY_HAND = "; put it there from the published data set, which cannot be downloaded here"
BAD_SPLITS = {
    "empty": ("", "begins with 'nothing'", BY_HAND),
    "another header": ("name,class\na,b\n", "begins with 'name,class'", "filename,label"),
    "no rows": ("filename,label\n", "names 0 pictures", BY_HAND),
    "a path that climbs out": ("filename,label\n../a.png,b\n", "'../a.png,b'"),
    "an absolute path": ("filename,label\n/etc/passwd,b\n", "'/etc/passwd,b'"),
    "the folder itself": ("filename,label\n..,b\n", "'..,b'"),
    "three columns": ("filename,label\na,b,c\n", "'a,b,c'"),
    "no label": ("filename,label\na.png,\n", "'a.png,'"),
    "a picture that is missing": ("filename,label\nno.png,b\n", "no.png is missing", BY_HAND),
    "a class of another split": (
        "filename,label\nval_0_0.jpg,val_0\n",
        "train.csv and val.csv share the class 'val_0'",
    ),
    "a picture of another split": (
        "filename,label\nval_0_0.jpg,a\nval_0_1.jpg,a\n",
        "train.csv and val.csv share the picture 'val_0_0.jpg'; use the published split",
    ),
    "a picture twice": (
        "filename,label\ntrain_0_0.jpg,a\ntrain_0_1.jpg,a\ntrain_0_0.jpg,a\n",
        "names the picture 'train_0_0.jpg' 2 times; name each once",
    ),
    "a picture of two classes": (
        "filename,label\ntrain_0_0.jpg,a\ntrain_0_0.jpg,b\n",
        "names the picture 'train_0_0.jpg' 2 times",
    ),
}


@pytest.mark.parametrize("kind", BAD_SPLITS)
def test_bad_split_files_get_one_sentence(tmp_path, kind):
    content, *words = BAD_SPLITS[kind]
    write_miniimagenet(tmp_path / "miniimagenet")
    (tmp_path / "miniimagenet" / "train.csv").write_text(content)
    refused(lambda: load("miniimagenet", "train", tmp_path), *words)


@pytest.mark.parametrize(
    ("split", "other"), [("train", "test"), ("test", "train"), ("val", "test")]
)
def test_splits_share_no_class_wherever_their_files_are(tmp_path, monkeypatch, split, other):
    for name in ("here", "there"):
        write_miniimagenet(tmp_path / name / "miniimagenet")
    here, there = (tmp_path / name / "miniimagenet" for name in ("here", "there"))
    for name in {"train", "val", "test"} - {split}:
        (here / f"{name}.csv").unlink()
    monkeypatch.setenv("LFT_DATA", str(tmp_path / "there"))
    assert load("miniimagenet", split, tmp_path / "here").folder == str(here)
    rows = (here / f"{split}.csv").read_text().splitlines()
    (there / f"{other}.csv").write_text("\n".join(rows[:3]) + "\n")
    words = f"{here / split}.csv and {there / other}.csv share the class '{split}_0'"
    refused(lambda: load("miniimagenet", split, tmp_path / "here"), words)
    words = f"{there / other}.csv and {here / split}.csv share the class"
    refused(lambda: load("miniimagenet", other, tmp_path / "here"), words)


def test_split_files_that_are_no_text_get_one_sentence(tmp_path):
    write_miniimagenet(tmp_path / "miniimagenet")
    (tmp_path / "miniimagenet" / "train.csv").write_bytes(bytes([0xFF, 0xFE, 0, 0x80]))
    refused(lambda: load("miniimagenet", "train", tmp_path), "no readable csv file")


BAD_PICTURES = {
    "no picture": (b"x" * 50, "no readable PNG or JPEG", BY_HAND),
    "truncated": (png((60, 60), "RGB")[:-40], "no readable PNG or JPEG"),
    "too deep": (
        png((60, 60), "I;16"),
        "mode I;16, expected 1 or L or P or RGB or CMYK",
        "; convert it to 8-bit grey or colour without transparency",
    ),
    "see-through": (png((60, 60), "RGBA"), "mode RGBA"),
    "another format": (png((60, 60), "RGB", kind="BMP"), "no readable PNG or JPEG"),
}


@pytest.mark.parametrize("kind", BAD_PICTURES)
def test_bad_pictures_get_one_sentence(tmp_path, kind):
    content, *words = BAD_PICTURES[kind]
    write_miniimagenet(tmp_path / "miniimagenet")
    file = tmp_path / "miniimagenet" / "images" / "train_1_0.jpg"
    file.write_bytes(content)
    refused(lambda: load("miniimagenet", "train", tmp_path), str(file), *words)


def test_a_picture_with_too_many_pixels_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets_pictures, "PIXELS", 1000)
    write_miniimagenet(tmp_path / "miniimagenet")
    refused(lambda: load("miniimagenet", "train", tmp_path), "expected at most 1000 pixels")


def test_miniimagenet_is_not_downloaded_and_others_have_no_third_split(tmp_path):
    refused(lambda: fetch(MINIIMAGENET, tmp_path), "put its pictures into")
    refused(lambda: load("miniimagenet", "train", tmp_path), "no miniimagenet in", "; set LFT_DATA")
    refused(lambda: load("digits", "val"), "digits has no split 'val'; choose one of train, test")
