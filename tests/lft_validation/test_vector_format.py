"""Files that are no test vectors: each is refused by name, with exit code 2 and no traceback."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from lft_validation import vector_fields
from lft_validation.errors import UserError
from lft_validation.vector_format import read
from tests.lft_validation.vector_files import ARRAYS, lft, save


def refused(path: Path, *words: str) -> None:
    """The file is refused with exit code 2, one error, no traceback, and these words."""
    result = lft("check", path)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    for word in (path.name, *words):
        assert word in result.output


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, part: float) -> None:
    whole = save(tmp_path / "whole.npz", ARRAYS[0]).read_bytes()
    path = tmp_path / "cut.npz"
    path.write_bytes(whole[: int(part * len(whole))])
    refused(path, "no readable .npz archive")


def test_flipped_bytes_are_refused_or_harmless(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.npz", ARRAYS[0]).read_bytes()
    rng, path, refusals = np.random.default_rng(0), tmp_path / "flipped.npz", 0
    for _ in range(100):
        content = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            content[place] = rng.integers(0, 256)
        path.write_bytes(content)
        try:
            read(path)
        except UserError:
            refusals += 1
    assert refusals > 80


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04K\x01.", b"\x93NUMPY\x01\x00"])
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign.npz"
    path.write_bytes(content)
    refused(path, "no readable .npz archive")


def test_a_folder_a_single_array_and_a_plain_archive_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "single.npy", np.zeros(3))
    refused(tmp_path / "single.npy", "a single array")
    (tmp_path / "two.npz").write_bytes(b"PK")
    refused(tmp_path / "two.npz", "it is no archive")
    with zipfile.ZipFile(tmp_path / "plain.zip", "w") as archive:
        archive.writestr("notes.txt", "no array")
    refused(tmp_path / "plain.zip", "no array")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "is not a plain file")


def test_what_never_ends_is_not_read(tmp_path: Path) -> None:
    refused(Path("/dev/zero"), "is not a plain file")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "is not a plain file")


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return Path.touch, (tmp_path / "sprung",)

    path = tmp_path / "pickled.npz"
    np.savez(path, **(ARRAYS[0] | {"theta_0": np.asarray([Trap()], dtype=object)}))
    refused(path, "allow_pickle=False")
    assert not (tmp_path / "sprung").exists()


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_fields, "LARGEST", 1000)
    refused(save(tmp_path / "bomb.npz", ARRAYS[0]), "unpacks to")


def test_a_check_that_needs_too_much_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Little:
        available = 1000

    monkeypatch.setattr(psutil, "virtual_memory", Little)
    refused(save(tmp_path / "large.npz", ARRAYS[0]), "GiB of memory", "a larger machine")


@pytest.mark.parametrize("index", [0, 5])
def test_every_array_is_needed(tmp_path: Path, index: int) -> None:
    path = tmp_path / "less.npz"
    for name in ARRAYS[index]:
        save(path, {key: a for key, a in ARRAYS[index].items() if key != name})
        if name in "GH" and not {"G", "H"} <= ARRAYS[index].keys():
            continue
        with pytest.raises(UserError, match=f"less.npz: has no array {name};"):
            read(path)


def test_jacobians_may_be_left_out(tmp_path: Path) -> None:
    less = {key: a for key, a in ARRAYS[0].items() if key not in ("G", "H")}
    assert lft("check", save(tmp_path / "less.npz", less)).exit_code == 0


@pytest.mark.parametrize("index", [0, 5])
def test_no_array_may_have_another_shape(tmp_path: Path, index: int) -> None:
    path = tmp_path / "shape.npz"
    for name, array in ARRAYS[index].items():
        for other in (array[None], np.zeros((0, 3), array.dtype)):
            if name == "directions" and (index == 0 or other.size == 0):
                continue  # first order: any shape of size 0
            save(path, ARRAYS[index] | {name: other})
            with pytest.raises(UserError, match=f"shape.npz: {name} must be "):
                read(path)


@pytest.mark.parametrize("index", [0, 5])
def test_no_array_may_have_another_type(tmp_path: Path, index: int) -> None:
    path = tmp_path / "type.npz"
    for name, array in ARRAYS[index].items():
        other = {"U": "f8", "f": "f4", "i": "f8", "b": "i8"}[array.dtype.kind]
        kept = np.zeros(array.shape, other)
        save(path, ARRAYS[index] | {name: kept})
        with pytest.raises(UserError, match=f"type.npz: {name} must be .*found dtype {kept.dtype}"):
            read(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_number_may_be_infinite_or_missing(tmp_path: Path, bad: float) -> None:
    path = tmp_path / "nan.npz"
    for name, array in ARRAYS[4].items():
        if array.dtype.kind == "f":
            spoiled = array.copy()
            spoiled[(-1,) * array.ndim] = bad
            save(path, ARRAYS[4] | {name: spoiled})
            with pytest.raises(UserError, match=f"nan.npz: {name} must be finite, found"):
                read(path)


@pytest.mark.parametrize(
    ("index", "name", "value", "words"),
    [
        (0, "format", "lft-vectors-2", "must be 'lft-vectors-1', found 'lft-vectors-2'"),
        (0, "preprocess", "log", "must be 'identity' or 'log_sign', found 'log'"),
        (0, "estimator", "second_order", "found 'second_order'"),
        (0, "objective", "cubic", "found 'cubic'"),
        (0, "p", 0.0, "p must be positive"),
        (0, "p", 1e9, "at most 700"),
        (4, "mu", -1.0, "mu must be positive"),
        (0, "mu", -1.0, "mu must be 0 for first_order, found -1"),
        (0, "directions", np.zeros((1, 1, 1)), "of size 0 for first_order"),
        (1, "layer_sizes", [1], "at least two numbers"),
        (1, "layer_sizes", [1, 0, 1], "all of them >= 1"),
        (1, "layer_sizes", [50, 50], "theta_0 must be length 2550"),
        (1, "activation", "gelu", "found 'gelu'"),
        (1, "reduction", "median", "found 'median'"),
        (2, "train_y", "shift", "train_y must be classes 0 to"),
        (2, "val_y", "negate", "val_y must be classes 0 to"),
        (1, "train_A", 0.0, "does not have: train_A"),
        (0, "grad_Wx", 0.0, "does not have: grad_Wx"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, index: int, name: str, value: Any, words: str
) -> None:
    arrays = ARRAYS[index]
    if isinstance(value, str) and value in ("shift", "negate"):
        value = arrays[name] + 100 if value == "shift" else -1 - arrays[name]
    refused(save(tmp_path / "odd.npz", arrays | {name: np.asarray(value)}), name)
    with pytest.raises(UserError, match=words):
        read(tmp_path / "odd.npz")


def test_an_identity_cell_refuses_a_phi_for_two_features(tmp_path: Path) -> None:
    W_x = ARRAYS[0]["W_x"]
    path = save(tmp_path / "m.npz", ARRAYS[0] | {"W_x": np.concatenate([W_x, W_x])})
    refused(path, "W_x", "(2, ")


def test_the_other_byte_order_is_read(tmp_path: Path) -> None:
    swapped = {
        name: a.astype(a.dtype.newbyteorder(">")) if a.dtype.kind in "fi" else a
        for name, a in ARRAYS[5].items()
    }
    again = read(save(tmp_path / "big.npz", swapped)).case
    assert again.task.theta_0.dtype == np.dtype("float64")
    np.testing.assert_array_equal(again.task.theta_0, ARRAYS[5]["theta_0"])
    np.testing.assert_array_equal(again.task.train.y, ARRAYS[5]["train_y"])
