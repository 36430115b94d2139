"""Files are written whole, and read with suspicion."""

from __future__ import annotations

import io
import json
import os

import numpy as np
import pytest

from lft_validation import files
from lft_validation.errors import UserError


def test_arrays_and_json_survive_the_way_to_disk_and_leave_no_temporary_file(tmp_path):
    path = tmp_path / "deep" / "a.npz"
    files.write_arrays(path, "kind-1", "me", {"x": np.arange(3.0)})
    np.testing.assert_array_equal(files.read_arrays(path, "kind-1", "me")["x"], np.arange(3.0))
    assert files.belongs_to(path) == "me"
    files.write_json(tmp_path / "a.json", {"b": 1, "a": [2.5]})
    assert files.read_json(tmp_path / "a.json") == {"a": [2.5], "b": 1}
    assert [p.name for p in path.parent.iterdir()] == ["a.npz"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_json(path, 1)

    def full(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        files.write_json(path, 2)
    assert json.loads(path.read_text()) == 1


@pytest.mark.parametrize("array", [np.asarray(2**64), np.asarray([{}]), np.zeros(2, "i8,O")])
def test_what_could_not_be_read_again_is_not_written(tmp_path, array):
    with pytest.raises(ValueError, match=r"array x of a\.npz holds Python objects .*"):
        files.write_arrays(tmp_path / "a.npz", "kind-1", "me", {"x": array})
    assert not any(tmp_path.iterdir())


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", float("nan"))


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"no archive at all", b"\x93NUMPY\x01\x00"]
)
def test_damaged_arrays_are_answered_in_one_sentence(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.npz is not a readable \.npz file .*delete it"):
        files.read_arrays(path, "kind-1")


def test_a_single_array_is_no_archive_even_with_one_behind_it(tmp_path):
    buffer, path = io.BytesIO(), tmp_path / "a.npz"
    np.save(buffer, np.zeros(3))
    np.savez(path, x=np.zeros(3))
    path.write_bytes(buffer.getvalue() + path.read_bytes())
    with pytest.raises(UserError, match="it is no archive, though perhaps a single array"):
        files.read_arrays(path, "kind-1")


def test_a_text_of_no_characters_is_damage(tmp_path):
    text = np.frombuffer(np.asarray([0x7FFFFFFF], dtype=np.uint32).tobytes(), dtype="<U1")
    np.savez(tmp_path / "a.npz", kind=text[0:1].reshape(()), key=np.asarray("me"))
    with pytest.raises(UserError, match="not a readable"):
        files.read_arrays(tmp_path / "a.npz", "kind-1")


def test_json_that_is_nested_without_end_is_damage(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="is not JSON"):
        files.read_json(tmp_path / "a.json")


def test_a_truncated_file_is_damaged_wherever_it_was_cut(tmp_path):
    path = tmp_path / "a.npz"
    files.write_arrays(path, "kind-1", "me", {"x": np.arange(300.0)})
    whole = path.read_bytes()
    for cut in (10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:cut])
        with pytest.raises(UserError, match="truncated or damaged"):
            files.read_arrays(path, "kind-1")


def test_nothing_is_unpickled(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, kind=np.asarray("kind-1"), x=np.asarray([{}], dtype=object))
    with pytest.raises(UserError, match="not a readable"):
        files.read_arrays(path, "kind-1")


def test_a_foreign_file_is_told_from_a_damaged_one(tmp_path):
    path = tmp_path / "a.npz"
    files.write_arrays(path, "kind-1", "me", {"x": np.arange(3)})
    with pytest.raises(UserError, match="holds 'kind-1', expected 'kind-2'"):
        files.read_arrays(path, "kind-2")
    with pytest.raises(UserError, match=r"belongs to another run \(me, expected you\)"):
        files.read_arrays(path, "kind-1", "you")
    np.savez(path, x=np.arange(3))
    with pytest.raises(UserError, match="holds 'nothing'"):
        files.read_arrays(path, "kind-1")


def test_something_that_is_no_plain_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(UserError, match="is not a plain file"):
            files.read_arrays(path, "kind-1")


def test_a_file_too_large_to_be_ours_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST", 10)
    files.write_arrays(tmp_path / "a.npz", "kind-1", "me", {"x": np.arange(3)})
    with pytest.raises(UserError, match=r"it has \d+ bytes, more than 10"):
        files.read_arrays(tmp_path / "a.npz", "kind-1")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        files.read_arrays(tmp_path / "a.npz", "kind-1")
    with pytest.raises(UserError, match="cannot read"):
        files.read_json(tmp_path / "a.json")
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        files.read_json(tmp_path / "b.json")
