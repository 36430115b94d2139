"""A user's own images: a folder of classes, or an .npz file; what is wrong gets one sentence."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from lft_validation import datasets_own
from lft_validation.datasets_own import own_images
from lft_validation.episodes import Episodes, draw_one, make_pool
from lft_validation.errors import UserError
from tests.lft_validation.image_files import png

pytest.importorskip("PIL", reason="pictures are read with Pillow")


def write_folder(folder, classes=("cat", "dog"), each=3):
    for c, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            (folder / name / f"{i}.png").write_bytes(png((12, 10), "RGB", seed=10 * c + i))
    (folder / "notes.txt").write_text("no picture")
    return folder


def refused(call, *words):
    with pytest.raises(UserError) as caught:
        call()
    assert "\n" not in caught.value.message
    assert "lft data fetch" not in caught.value.message
    for word in words:
        assert word in caught.value.message, f"{word!r} is not in: {caught.value.message}"


def test_a_folder_of_classes(tmp_path):
    data, names = own_images(write_folder(tmp_path / "pets"))
    assert names == ["cat", "dog"]
    assert data.images.pixels.shape == (6, 3, 10, 12)
    assert data.images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    grey, _ = own_images(tmp_path / "pets", (1, 8, 8))
    assert grey.images.pixels.shape == (6, 1, 8, 8)
    assert data.record()["name"] == "pets"
    x, _ = draw_one(Episodes("", 2, 2, 1), make_pool(grey), np.random.default_rng(0))
    assert x.shape == (4, 1, 8, 8)


@pytest.mark.parametrize(
    "shape", [(5, 8, 6), (5, 8, 6, 3), (5, 8, 6, 1), (5, 1, 8, 6), (5, 3, 8, 6)]
)
def test_an_npz_file(tmp_path, shape):
    x = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=[7, 7, -2, 7, 30])
    np.savez(tmp_path / "b.npz", images=x, labels=[7, 7, -2, 7, 30])  # as lft attack has them
    data, names = own_images(tmp_path / "a.npz")
    np.testing.assert_array_equal(
        own_images(tmp_path / "b.npz")[0].images.pixels, data.images.pixels
    )
    assert names == ["-2", "7", "30"]
    assert data.images.labels.tolist() == [1, 1, 0, 1, 2]
    channels = 3 if shape in ((5, 8, 6, 3), (5, 3, 8, 6)) else 1
    assert data.images.pixels.shape == (5, channels, 8, 6)
    assert data.images.pixels.sum() == x.sum()
    refused(lambda: own_images(tmp_path / "a.npz", (1, 28, 28)), "expected (1, 28, 28)")


X = np.zeros((4, 8, 8), np.uint8)
BAD_NPZ = {
    "labels that are no integers": ({"x": X, "y": [0.0, 1.0, 0.5, 1.0]}, "y must be one integer"),
    "words for labels": ({"x": X, "y": ["a", "b", "a", "b"]}, "y must be one integer"),
    "labels that are objects": (
        {"x": X, "y": np.asarray([0, None, 1, 1], object)},
        "y holds Python objects, which are never unpickled",
        "save it as np.asarray(y, dtype='int64')",
    ),
    "images that are objects": (
        {"images": np.asarray([X, None], object), "labels": [0, 1]},
        "images holds Python objects",
        "np.asarray(images, dtype='uint8')",
    ),
    "too few labels": ({"x": X, "y": [0, 1]}, "for each of 4 images", "(2,)"),
    "one class": ({"x": X, "y": [1, 1, 1, 1]}, "has 1 classes"),
    "no labels": ({"x": X}, "must hold the arrays x (images) and y"),
    "numbers that are no bytes": (
        {"x": X / 255.0, "y": [0, 1, 0, 1]},
        "bytes",
        "float64 of shape (4, 8, 8); numbers from 0 to 1 become bytes with np.uint8(255 * x)",
    ),
    "whole numbers that are no bytes": (
        {"x": X.astype(int), "y": [0, 1, 0, 1]},
        "int64 of shape (4, 8, 8); numbers from 0 to 255 become bytes with np.uint8(x)",
    ),
    "no images": ({"x": X[:, 0], "y": [0, 1, 0, 1]}, "found uint8 of shape (4, 8)"),
    "nothing": ({"x": X[:0], "y": np.zeros(0, int)}, "of shape (0, 8, 8)"),
}


@pytest.mark.parametrize("kind", BAD_NPZ)
def test_bad_npz_files_get_one_sentence(tmp_path, kind):
    arrays, *words = BAD_NPZ[kind]
    np.savez(tmp_path / "a.npz", **arrays)
    refused(lambda: own_images(tmp_path / "a.npz"), str(tmp_path / "a.npz"), *words)


def test_an_npz_file_with_a_damaged_byte_gets_one_sentence(tmp_path):
    file = tmp_path / "a.npz"
    np.savez_compressed(file, x=np.arange(256, dtype=np.uint8).reshape(4, 8, 8), y=[0, 1, 0, 1])
    whole = file.read_bytes()
    for at in range(30, len(whole), 11):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        with contextlib.suppress(UserError):  # some bytes do not matter
            own_images(file)


def test_what_is_neither_gets_one_sentence(tmp_path):
    refused(lambda: own_images(tmp_path / "no"), "no is missing; replace it, or leave it out")
    for content in (b"", b"hello", b"PK\x03\x04" + bytes(50)):
        (tmp_path / "a.npz").write_bytes(content)
        refused(
            lambda: own_images(tmp_path / "a.npz"),
            "no folder and no readable .npz file",
            "write one with np.savez(file, x=images, y=labels)",
        )
    np.save(tmp_path / "a.npy", X)
    refused(lambda: own_images(tmp_path / "a.npy"), "no folder and no readable .npz file")


def test_an_npz_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets_own, "LARGEST", 2000)
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((99, 8, 8), np.uint8), y=np.arange(99))
    refused(lambda: own_images(tmp_path / "a.npz"), "unpacks to", "use fewer or smaller arrays")


def test_a_picture_stands_as_the_camera_was_held(tmp_path):
    from PIL import Image

    folder, turned = write_folder(tmp_path / "pets"), Image.Exif()
    turned[0x0112] = 6  # orientation: to be turned by 90 degrees to the right
    scene = np.zeros((12, 10, 3), np.uint8)
    scene[0] = 255  # bright at the top, on the right once it is turned
    Image.fromarray(scene).save(folder / "cat" / "0.png", exif=turned)
    pixels = own_images(folder, (1, 12, 10))[0].images.pixels[0, 0]
    assert pixels[:, -1].min() > 200
    assert pixels[:, 0].max() < 50


@pytest.mark.parametrize(("turn", "shape"), [(1, (3, 12, 10)), (3, (3, 12, 10)), (8, (3, 10, 12))])
def test_the_size_of_pictures_is_that_of_the_first_as_the_camera_was_held(tmp_path, turn, shape):
    from PIL import Image

    folder, turned = write_folder(tmp_path / "pets"), Image.Exif()
    turned[0x0112] = turn  # 8: to be turned by 90 degrees to the left
    pixels = np.zeros((12, 10, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "cat" / "0.png", exif=turned)
    assert own_images(folder)[0].images.pixels.shape[1:] == shape


def see_through(mode):
    """A PNG file whose first colour, or darkest grey, is transparent."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("L", (12, 10)).convert(mode).save(
        buffer, "PNG", transparency={"RGB": (0, 0, 0)}.get(mode, 0)
    )
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_no_transparency_is_dropped_without_a_word(tmp_path, mode):
    folder = write_folder(tmp_path / "pets")
    (folder / "dog" / "1.png").write_bytes(see_through(mode))
    words = f"1.png is a picture of mode {mode} with transparency", "; convert it to 8-bit grey or"
    refused(lambda: own_images(folder), *words)


def test_bad_folders_get_one_sentence(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "pets")
    monkeypatch.setattr(datasets_own, "LARGEST", 2000)
    refused(lambda: own_images(folder), "6 pictures, more than 5 of this size (10 x 12 pixels)")
    monkeypatch.undo()
    (folder / "dog" / "1.png").write_bytes(b"hello")
    refused(lambda: own_images(folder), "1.png is no readable PNG or JPEG picture; replace it")
    refused(lambda: own_images(folder), "; replace it, or leave it out")
    (folder / "dog" / "1.png").unlink()
    (folder / "dog" / "1.png").mkdir()
    refused(lambda: own_images(folder), "1.png is not a plain file; replace it, or leave it out")
    (folder / "dog" / "1.png").rmdir()
    (folder / "emu").mkdir()
    refused(lambda: own_images(folder), "emu holds no picture (.png, .jpg, .jpeg); add some")
    refused(
        lambda: own_images(folder / "dog"),
        "must hold a subfolder of pictures for each class",
        "found 0",
    )
