"""Omniglot's archives: read in place; what is wrong gets a sentence."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lft_validation import datasets_pictures
from lft_validation.datasets import load
from lft_validation.datasets_pictures import omniglot_images
from lft_validation.errors import UserError
from tests.lft_validation.image_files import OMNIGLOT_NAME, png, refused, write_omniglot, write_zip

pytest.importorskip("PIL", reason="pictures are read with Pillow")
REAL = os.environ.get("LFT_DATA", "")


pytestmark = pytest.mark.usefixtures("nowhere")


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
    archives = [tmp_path / folder / "images_background.zip" for folder in "ab"]
    for archive, members in zip(
        archives, (pictures, dict(reversed(pictures.items()))), strict=True
    ):
        archive.parent.mkdir()
        write_zip(archive, members)
    first, second = map(omniglot_images, archives)
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
    "no name": (zipped({zipfile.ZipInfo(""): png()}), "lists ''", NAMES),
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
        (tmp_path / "images_background.zip").write_bytes(content)
        tracemalloc.start()
        with pytest.raises(UserError, match=r"unpacks to|is damaged"):
            omniglot_images(tmp_path / "images_background.zip")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**22


@pytest.mark.parametrize("other", ["evaluation", "background"])
def test_the_archive_of_one_split_is_not_taken_for_the_others_however_it_is_packed(tmp_path, other):
    write_omniglot(tmp_path / "omniglot")
    one = {"evaluation": "background", "background": "evaluation"}[other]
    place = tmp_path / "omniglot" / "images_{}.zip"
    with zipfile.ZipFile(str(place).format(one)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    write_zip(str(place).format(other), members)
    split = {"evaluation": "test", "background": "train"}[other]
    words = (
        f"lists 'images_{one}/Latin",
        f"such as 'images_{other}/Latin",
        "lft data fetch omniglot",
    )
    refused(lambda: load("omniglot", split, tmp_path), *words)


def test_more_members_than_can_be_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets_pictures, "MEMBERS", 2)
    write_zip(tmp_path / "a.zip", {OMNIGLOT_NAME.format(1, i): b"" for i in (1, 2, 3)})
    monkeypatch.setattr("zipfile.ZipFile", None)  # which makes an object of each
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
