"""`lft attack --images`: images of one's own, from folders and `.npz` files; bad ones."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lft_validation import attack_images, files
from lft_validation.attack_images import Wanted, from_files, from_source
from lft_validation.cli import main
from lft_validation.errors import UserError
from lft_validation.victims import load_victim, logits


def attack(*arguments):
    return CliRunner().invoke(main, ["attack", *map(str, arguments)])


def digit_bytes(classes, number):
    """Digits as the victim knows them, as bytes: (N, 8, 8) and classes."""
    found = from_source("digits", load_victim("digits"), Wanted(classes, number, 1, 3)).given
    return np.round((found.x[:, 0] + 0.5) * 255).astype(np.uint8), found.y


def write_folder(path, classes=(3, 8), number=4, size=(8, 8)):
    pixels, labels = digit_bytes(classes, number)
    for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        (path / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).resize(size).save(path / str(label) / f"{index}.png")
    return path


def test_a_folder_of_images_and_an_npz_with_them_give_the_same_attack(tmp_path):
    folder = write_folder(tmp_path / "mine")
    pixels, labels = digit_bytes((3, 8), 4)
    np.savez(tmp_path / "mine.npz", images=pixels, labels=labels)
    np.savez(tmp_path / "real.npz", x=pixels[:, None] / 255.0, y=labels)  # as lft finetune has them
    victim, wanted = load_victim("digits"), Wanted(None, 2, 9, 0)
    sets = [from_files(p, victim, wanted) for p in (folder, *sorted(tmp_path.glob("*.npz")))]
    for found in sets[1:]:
        np.testing.assert_allclose(found.given.x, sets[0].given.x, atol=1e-7)
        np.testing.assert_array_equal(found.unseen.y, [3, 3, 8, 8])
    result = attack("--images", folder, "--victim", "digits", "--steps", 3, "--out", tmp_path / "o")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "o" / "attack.json").read_text())
    assert report["images"]["sha256"] == sets[0].about["sha256"]
    assert "numpy" in report["versions"]


@pytest.mark.usefixtures("undrawn")
def test_a_share_is_of_the_images_that_the_victim_has_right_without_a_perturbation(tmp_path):
    victim = load_victim("digits")
    pixels, labels = digit_bytes((3, 8), 4)
    pixels[0] = pixels[-1]  # an eight among the threes
    file = npz(tmp_path / "mine.npz", images=pixels, labels=labels)
    found = from_files(file, victim, Wanted(None, 2, 2, 0))
    right = []
    for data in (found.given, found.unseen):
        z = logits(victim.network, victim.weights, data.x)
        right.append(int(np.sum(np.argmax(z, axis=-1) == data.y)))
    assert sum(right) == 7
    result = attack("--images", file, "--victim", "digits", "--unseen", 2, "--steps", 2,
                    "--out", tmp_path / "o")  # fmt: skip
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.output.splitlines() if " % of " in line]
    assert [f"% of {n} " in line for n in (3, 4)] == [True, True]
    (made,) = json.loads((tmp_path / "o" / "attack.json").read_text())["attempts"]
    assert [made["counted_given"], made["counted_unseen"]] == right


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("copies", [0, 2])
def test_unseen_images_that_are_copies_of_given_ones_are_counted(tmp_path, copies):
    pixels, labels = digit_bytes((3, 8), 4)
    for i in range(1, 2 * copies):
        pixels[i] = pixels[0]  # all of one class
    file = npz(tmp_path / "mine.npz", images=pixels, labels=labels)
    result = attack("--images", file, "--victim", "digits", "--steps", 1, "--unseen", 2,
                    "--out", tmp_path / "o")  # fmt: skip
    assert result.exit_code == 0, result.output
    said = "2 of 4 unseen images are copies of given ones."
    assert (said in result.output) == (copies > 0)
    images = json.loads((tmp_path / "o" / "attack.json").read_text())["images"]
    assert images["unseen_also_given"] == copies


def test_colour_images_are_read_with_their_channels_first(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(3, 32, 32, 3), dtype=np.uint8)
    (tmp_path / "mine" / "1").mkdir(parents=True)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "mine" / "1" / f"{index}.png")
    found = from_files(tmp_path / "mine", load_victim("cifar10"), Wanted(None, 2, 1, 0))
    assert found.given.x.shape == (2, 3, 32, 32)
    everything = np.concatenate([found.given.x, found.unseen.x])
    wanted = np.moveaxis(pixels, -1, 1) / 255.0 - 0.5
    np.testing.assert_allclose(np.sort(everything.ravel()), np.sort(wanted.ravel()), atol=1e-6)
    assert any(np.allclose(everything[0], image, atol=1e-6) for image in wanted)


UPRIGHT = np.random.default_rng(0).integers(256, size=(12, 10), dtype=np.uint8)
TURN = {1: UPRIGHT, 3: np.rot90(UPRIGHT, 2), 6: np.rot90(UPRIGHT), 8: np.rot90(UPRIGHT, -1)}


@pytest.mark.parametrize("shape", [None, (1, 12, 10)])
@pytest.mark.parametrize("turn", TURN)
def test_pictures_have_the_shape_in_which_the_camera_was_held(tmp_path, turn, shape):
    exif = Image.Exif()
    exif[0x0112] = turn
    (tmp_path / "3").mkdir()
    Image.fromarray(TURN[turn]).save(tmp_path / "3" / "a.png", exif=exif)
    np.testing.assert_array_equal(attack_images._folder(tmp_path, shape)[0], [[UPRIGHT]])
    if shape is not None and turn > 4:  # as it is stored it would fit
        with pytest.raises(UserError, match="has 10 x 12 pixels, expected 12 x 10; resize it"):
            attack_images._folder(tmp_path, (1, 10, 12))


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


GOOD = {"images": np.zeros((6, 8, 8), np.uint8), "labels": np.repeat([3, 8], 3)}


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"images": GOOD["images"]}, "lacks 'labels'"),
        (GOOD | {"labels": np.zeros(6)}, "labels must be 6 whole numbers"),
        (GOOD | {"labels": np.zeros(5, int)}, "labels must be 6 whole numbers"),
        (GOOD | {"labels": np.full(6, 12)}, "classes must be from 0 to 9, found 12 to 12"),
        (GOOD | {"images": np.zeros((6, 9, 9), np.uint8)}, "has images of 1 x 9 x 9, but the vict"),
        (GOOD | {"images": np.full((6, 8, 8), 7.0)}, "or real numbers from 0 to 1"),
        (GOOD | {"images": np.full((6, 8, 8), np.nan)}, "or real numbers from 0 to 1"),
        (GOOD | {"images": np.zeros((6, 8), np.uint8)}, "images must be (N, C, H, W)"),
        (GOOD | {"images": np.zeros((6, 0, 0))}, "at least one pixel, found shape (6, 1, 0, 0)"),
        (GOOD | {"labels": np.asarray([3, 3, 8, 8, 8, 8])}, "has 2 images of class 3"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, sentence):
    file = npz(tmp_path / "mine.npz", **arrays)
    with pytest.raises(UserError, match=sentence.replace("(", r"\(").replace(")", r"\)")):
        from_files(file, load_victim("digits"), Wanted(None, 2, 2, 0))


def test_files_that_are_no_images_are_refused(tmp_path):
    victim, wanted = load_victim("digits"), Wanted(None, 2, 2, 0)
    broken = tmp_path / "broken.npz"
    for content in (b"PK\x03\x04 nothing", b"hello"):
        broken.write_bytes(content)
        with pytest.raises(UserError, match=r"is not a readable \.npz file \(it is no archive"):
            from_files(broken, victim, wanted)
    with pytest.raises(UserError, match="does not exist; give a folder"):
        from_files(tmp_path / "absent.npz", victim, wanted)
    pickled = npz(tmp_path / "pickled.npz", images=np.asarray([{}]), labels=np.zeros(1, int))
    with pytest.raises(UserError, match=r"is not a readable \.npz file"):
        from_files(pickled, victim, wanted)
    np.save(tmp_path / "one.npz", np.zeros(3))
    (tmp_path / "one.npz.npy").rename(tmp_path / "one.npz")
    with pytest.raises(UserError, match="it is no archive"):
        from_files(tmp_path / "one.npz", victim, wanted)


def test_files_that_unpack_to_far_more_than_they_are_get_refused(tmp_path, monkeypatch):
    victim, wanted = load_victim("digits"), Wanted(None, 2, 2, 0)
    bomb, folder = tmp_path / "bomb.npz", write_folder(tmp_path / "mine")
    np.savez_compressed(bomb, images=np.zeros((99, 8, 8), np.uint8), labels=np.full(99, 3))
    monkeypatch.setattr(attack_images, "LARGEST", bomb.stat().st_size + 1)
    with pytest.raises(UserError, match=r"it unpacks to \d+ bytes, more than \d+: use few"):
        from_files(bomb, victim, wanted)
    monkeypatch.setattr(files, "LARGEST", 10)
    with pytest.raises(UserError, match=r"it has \d+ bytes, more than 10"):
        from_files(bomb, victim, wanted)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(UserError, match="is no readable PNG or JPEG picture"):
        from_files(folder, victim, wanted)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes on this system")
def test_a_pipe_or_a_device_is_refused_before_it_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    for file in (tmp_path / "pipe.npz", Path("/dev/zero")):
        with pytest.raises(UserError, match="is not a plain file; check the path"):
            from_files(file, load_victim("digits"), Wanted(None, 2, 2, 0))


def test_images_of_another_size_are_refused_before_they_are_scaled(tmp_path):
    file, number = tmp_path / "large.npz", 2**22
    np.savez_compressed(file, images=np.zeros((4, 1024, 1024), np.uint8), labels=[3, 3, 3, 8])
    tracemalloc.start()
    with pytest.raises(UserError, match="has images of 1 x 1024 x 1024, but the victim digits"):
        from_files(file, load_victim("digits"), Wanted(None, 2, 2, 0))
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found < 2.5 * number  # the bytes themselves, and no floats


def test_more_images_than_memory_is_meant_for_are_refused_before_they_are_read(
    tmp_path, monkeypatch
):
    anything = SimpleNamespace(name="mine", about={"shape": None})
    folder, wanted = write_folder(tmp_path / "mine"), Wanted(None, 2, 2, 0)
    pixels, labels = digit_bytes((3, 8), 4)
    file = npz(tmp_path / "mine.npz", images=pixels, labels=labels)
    monkeypatch.setattr(attack_images, "PIXELS", 300)
    monkeypatch.setattr(attack_images, "_picture", None)  # not asked
    for path in (folder, file):
        with pytest.raises(UserError, match="has 8 images, more than 4 of 1 x 8 x 8; give fewer"):
            from_files(path, anything, wanted)


def test_too_little_memory_is_told_in_one_sentence(tmp_path, monkeypatch):
    def fail(*_arguments):
        raise MemoryError

    monkeypatch.setattr(attack_images, "_scaled", fail)
    file = npz(tmp_path / "mine.npz", **GOOD)
    with pytest.raises(UserError, match="does not fit into memory; give fewer images, or smal"):
        from_files(file, load_victim("digits"), Wanted(None, 2, 2, 0))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "is no readable PNG or JPEG"),
        (None, "is a picture of mode I;16, expected"),
    ],
)
def test_pictures_that_are_programs_or_would_lose_range_are_refused(tmp_path, content, sentence):
    folder = write_folder(tmp_path / "mine")
    first = next((folder / "3").iterdir())
    if content is None:
        Image.fromarray(np.full((8, 8), 1000, np.uint16)).save(first)
    else:
        first.write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        from_files(folder, load_victim("digits"), Wanted(None, 2, 2, 0))


def test_folders_that_do_not_fit_are_refused(tmp_path):
    victim, wanted = load_victim("digits"), Wanted(None, 2, 2, 0)
    (tmp_path / "empty" / "3").mkdir(parents=True)
    with pytest.raises(UserError, match="has 0 image files"):
        from_files(tmp_path / "empty", victim, wanted)
    (tmp_path / "words" / "three").mkdir(parents=True)
    with pytest.raises(UserError, match="named by its number, such as 3/; found three"):
        from_files(tmp_path / "words", victim, wanted)
    (tmp_path / "huge" / "100000000000000000000000000").mkdir(parents=True)
    with pytest.raises(UserError, match="named by its number, such as 3/; found 1000000000"):
        from_files(tmp_path / "huge", victim, wanted)
    with pytest.raises(UserError, match="has 9 x 7 pixels, expected 8 x 8; resize it"):
        from_files(write_folder(tmp_path / "large", size=(9, 7)), victim, wanted)
    damaged = write_folder(tmp_path / "damaged")
    next((damaged / "3").iterdir()).write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError, match="is no readable PNG or JPEG picture"):
        from_files(damaged, victim, wanted)
