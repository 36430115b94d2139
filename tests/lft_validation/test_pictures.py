"""Omniglot's archives and miniImageNet's folder: read in place; what is wrong gets a sentence."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from lft_validation import datasets_pictures
from lft_validation.datasets import are_official, load
from lft_validation.datasets_fetch import fetch
from lft_validation.datasets_pictures import omniglot_images
from lft_validation.datasets_sources import MINIIMAGENET
from lft_validation.errors import UserError
from tests.lft_validation.image_files import (
    OMNIGLOT_NAME,
    png,
    write_miniimagenet,
    write_omniglot,
    write_zip,
)

pytest.importorskip("PIL", reason="pictures are read with Pillow")
REAL = os.environ.get("LFT_DATA", "")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    monkeypatch.delenv("LFT_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def refused(call, *words):
    """The one sentence with which a call is refused."""
    with pytest.raises(UserError) as caught:
        call()
    message = caught.value.message
    assert "\n" not in message
    for word in words:
        assert word in message, f"{word!r} is not in: {message}"


# Omniglot -----------------------------------------------------------------------------------------


def test_omniglot_gives_ink_on_28_by_28_with_a_class_for_each_character(tmp_path):
    write_omniglot(tmp_path / "omniglot", characters=3, each=2)
    train, test = (load("omniglot", split, tmp_path) for split in ("train", "test"))
    assert train.images.pixels.shape == (6, 1, 28, 28)
    assert train.images.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert test.images.number == 6
    assert not train.official
    for pixels, class_ in zip(train.images.pixels, train.images.labels, strict=True):
        rows = np.flatnonzero(pixels[0].max(axis=1) > 127)
        assert pixels.max() == 255
        # The stroke of class i covers rows 21 i to 21 i + 20 of 105, that is 5.6 i to 5.6 (i + 1).
        assert (rows.min(), rows.max()) == pytest.approx((5.6 * class_, 5.6 * class_ + 5), abs=0.7)


def test_the_order_within_an_archive_does_not_matter(tmp_path):
    pictures = {OMNIGLOT_NAME.format(c, i): png(seed=10 * c + i) for c in (1, 2) for i in (1, 2)}
    write_zip(tmp_path / "a.zip", pictures)
    write_zip(tmp_path / "b.zip", dict(reversed(pictures.items())))
    first, second = (omniglot_images(tmp_path / f"{name}.zip") for name in "ab")
    np.testing.assert_array_equal(first.pixels, second.pixels)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert len(np.unique(first.pixels, axis=0)) == 4


GOOD = OMNIGLOT_NAME.format(1, 1)


def encrypted(content):
    """Set the flag of an encrypted member in both of its headers."""
    data = bytearray(content)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    return bytes(data)


def lying(content, says):
    """Write another unpacked size into both headers of the one member."""
    data = bytearray(content)
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(mark) + offset
        data[at : at + 4] = struct.pack("<I", says)
    return bytes(data)


def zipped(members):
    buffer = io.BytesIO()
    write_zip(buffer, members)
    return buffer.getvalue()


def flipped(content):
    """Change a byte in the middle of the one member's compressed data."""
    data = bytearray(content)
    data[len(data) // 3] ^= 0xFF
    return bytes(data)


NAMES = "expected names such as"
BAD_ARCHIVES = {
    "no zip": (b"hello", "no readable zip archive"),
    "empty file": (b"", "no readable zip archive"),
    "truncated": (zipped({GOOD: png()})[:-30], "no readable zip archive"),
    "nothing in it": (zipped({}), "lists 0 pictures"),
    "a path that climbs out": (zipped({"../../" + GOOD: png()}), "'../../images_", NAMES),
    "an absolute path": (zipped({"/etc/passwd": png()}), "'/etc/passwd'", NAMES),
    "another file": (zipped({GOOD: png(), "readme.txt": b"x"}), "'readme.txt'", NAMES),
    "a bomb that says so": (zipped({GOOD: bytes(2**26)}), "unpacks to 67108864 bytes"),
    "a bomb that does not": (lying(zipped({GOOD: bytes(2**26)}), 300), GOOD, "is damaged"),
    "a picture twice": (zipped([(GOOD, png()), (GOOD, png())]), "lists a picture twice"),
    "a damaged member": (flipped(zipped({GOOD: png()})), GOOD, "damaged"),
    "an encrypted member": (encrypted(zipped({GOOD: png()})), GOOD, "damaged", "encrypted"),
    "no picture": (zipped({GOOD: b"x" * 99}), GOOD, "no readable PNG"),
    "a truncated picture": (zipped({GOOD: png()[:-40]}), GOOD, "no readable PNG"),
    "another size": (zipped({GOOD: png((28, 28))}), "has 28 x 28 pixels, expected 105 x 105"),
    "another mode": (zipped({GOOD: png(mode="RGB")}), "mode RGB, expected 1"),
    "grey": (zipped({GOOD: png(mode="L")}), "mode L, expected 1"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", BAD_ARCHIVES)
def test_bad_archives_get_one_sentence(tmp_path, kind):
    content, *words = BAD_ARCHIVES[kind]
    write_omniglot(tmp_path / "omniglot")
    path = tmp_path / "omniglot" / "images_background.zip"
    path.write_bytes(content)
    resize = ("resize it", "convert it")  # what another kind of picture is told
    with pytest.raises(UserError) as caught:
        load("omniglot", "train", tmp_path)
    assert caught.value.message.endswith(("lft data fetch omniglot", *resize))
    refused(lambda: load("omniglot", "train", tmp_path), str(path), *words)
    assert load("omniglot", "test", tmp_path).images.number > 0


def test_a_bomb_is_not_unpacked_whatever_it_says(tmp_path):
    for content in (zipped({GOOD: bytes(2**26)}), lying(zipped({GOOD: bytes(2**26)}), 300)):
        (tmp_path / "a.zip").write_bytes(content)
        tracemalloc.start()
        with pytest.raises(UserError):
            omniglot_images(tmp_path / "a.zip")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**22


def test_more_members_than_can_be_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets_pictures, "MEMBERS", 2)
    write_zip(tmp_path / "a.zip", {OMNIGLOT_NAME.format(1, i): b"" for i in (1, 2, 3)})
    refused(lambda: omniglot_images(tmp_path / "a.zip"), "lists 3 pictures, which cannot be")


def test_pictures_need_pillow(tmp_path, monkeypatch):
    write_omniglot(tmp_path / "omniglot")
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    refused(lambda: load("omniglot", "train", tmp_path), "pip install 'lft-ref[images]'")


@pytest.mark.slow
@pytest.mark.skipif(
    not (REAL and Path(REAL, "omniglot").exists()),
    reason="LFT_DATA is not set, or has no omniglot: no real data",
)
def test_the_real_omniglot_has_the_published_characters(monkeypatch):
    monkeypatch.setenv("LFT_DATA", REAL)
    data = load("omniglot", "test")
    assert np.bincount(data.images.labels).tolist() == [20] * 659


# miniImageNet -------------------------------------------------------------------------------------


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
}


@pytest.mark.parametrize("kind", BAD_SPLITS)
def test_bad_split_files_get_one_sentence(tmp_path, kind):
    content, *words = BAD_SPLITS[kind]
    write_miniimagenet(tmp_path / "miniimagenet")
    (tmp_path / "miniimagenet" / "train.csv").write_text(content)
    refused(lambda: load("miniimagenet", "train", tmp_path), *words)


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
