"""Test vectors: what is written is read back, agrees, and anything else is refused by name."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from click.testing import CliRunner, Result

from lft_validation import vector_fields, vectors
from lft_validation.cases import random_case
from lft_validation.cli import main
from lft_validation.errors import UserError
from lft_validation.vector_format import Vector, read, to_arrays, write

# By index: quadratic, mlp_mse, mlp_cross_entropy, and the last two again with estimate (6).
INDICES = (0, 1, 2, 4, 5)
Arrays = dict[str, np.ndarray]


def lft(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["vectors", *map(str, arguments)])


def case_arrays(index: int) -> Arrays:
    case = random_case(3, index)
    return to_arrays(case, vectors.results(case))


ARRAYS = {index: case_arrays(index) for index in INDICES}


def save(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


def refused(path: Path, *words: str) -> None:
    """The file is refused with exit code 2, one error, no traceback, and these words."""
    result = lft("check", path)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    for word in (path.name, *words):
        assert word in result.output


def test_made_files_agree_with_three_engines(tmp_path: Path) -> None:
    result = lft("make", "--out", tmp_path / "new" / "folder", "--count", 6, "--seed", 3)
    assert result.exit_code == 0, result.output
    files = sorted((tmp_path / "new" / "folder").iterdir())
    assert [file.name for file in files] == [f"case-{i:03d}.npz" for i in range(6)]
    result = lft("check", *files)
    assert result.exit_code == 0, result.output
    assert "6 of 6 agree" in result.output
    assert max(len(line) for line in result.output.splitlines()) <= 80


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        assert lft("make", "--out", tmp_path / name, "--count", 2).exit_code == 0
    for i in range(2):
        one, two = (tmp_path / name / f"case-{i:03d}.npz" for name in "ab")
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("index", INDICES)
def test_what_is_written_is_read_back(tmp_path: Path, index: int) -> None:
    case = random_case(3, index)
    path = tmp_path / "case.npz"
    write(path, Vector(case, vectors.results(case)))
    again = to_arrays(*read(path))
    assert again.keys() == ARRAYS[index].keys()
    for name, array in ARRAYS[index].items():
        assert again[name].dtype == array.dtype, name
        np.testing.assert_array_equal(again[name], array, err_msg=name)
    assert list(tmp_path.iterdir()) == [path]  # no temporary file is left


def test_names_shapes_and_types_are_those_of_the_format() -> None:
    arrays = ARRAYS[5]
    N, K, d, n = *arrays["train_x"].shape[:1], *arrays["weights"].shape, *arrays["h_0"].shape
    m = arrays["W_x"].shape[0]
    shapes = {
        "format": (), "W_x": (m, 4 * n), "W_h": (n, 4 * n), "b": (4 * n,), "w_o": (n,), "b_o": (),
        "preprocess": (), "p": (), "output_scale": (), "theta_0": (d,), "c_0": (d, n),
        "estimator": (), "mu": (), "second_order": (), "objective": (), "activation": (),
        "reduction": (), "train_y": (N,), "theta": (K + 1, d), "val_loss": (K,), "meta_loss": (),
        "grad_W_x": (m, 4 * n), "grad_W_h": (n, 4 * n), "grad_b": (4 * n,), "grad_w_o": (n,),
        "grad_b_o": (),
    }  # fmt: skip
    assert {name: arrays[name].shape for name in shapes} == shapes
    assert arrays["directions"].shape[::2] == (K, d)
    assert str(arrays["format"]) == "lft-vectors-1"
    assert arrays["p"] == 10.0
    kinds = {array.dtype.kind + str(array.dtype.itemsize) for array in arrays.values()}
    assert {kind for kind in kinds if not kind.startswith("U")} == {"f8", "i8", "b1"}
    small = [a for a in ARRAYS.values() if a["theta_0"].size * a["grad_W_x"].size < 100]
    for arrays in small:
        P = sum(arrays[f"grad_{name}"].size for name in ("W_x", "W_h", "b", "w_o", "b_o"))
        d, n = arrays["h_0"].shape
        assert arrays["G"].shape == (d, P)
        assert arrays["H"].shape == (d, 2 * n, P)
    assert small


def test_identity_and_first_order_have_the_same_arrays() -> None:
    arrays = ARRAYS[0]
    assert (str(arrays["preprocess"]), str(arrays["estimator"])) == ("identity", "first_order")
    assert arrays["p"] == 10.0
    assert arrays["directions"].size == 0


@pytest.mark.parametrize("count", [0, -1])
def test_no_cases_are_refused(tmp_path: Path, count: int) -> None:
    result = lft("make", "--out", tmp_path / "new", "--count", count)
    assert result.exit_code == 2
    assert f"--count must be at least 1, found {count}" in result.output
    assert not (tmp_path / "new").exists()


def test_a_negative_seed_is_refused(tmp_path: Path) -> None:
    result = lft("make", "--out", tmp_path / "new", "--seed", -1)
    assert (result.exit_code, "--seed" in result.output) == (2, True)


def test_existing_cases_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "case-007.npz").write_bytes(b"mine")
    result = lft("make", "--out", tmp_path, "--count", 1)
    assert result.exit_code == 2
    assert "already holds case-007.npz" in result.output
    assert [file.name for file in tmp_path.iterdir()] == ["case-007.npz"]
    assert (tmp_path / "case-007.npz").read_bytes() == b"mine"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = lft("make", "--out", tmp_path / "file" / "below", "--count", 1)
    assert result.exit_code == 2
    assert "cannot be written" in result.output


def test_a_case_too_large_for_jacobians_leaves_them_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "LARGEST_JACOBIAN", 1)
    assert not {"G", "H"} & vectors.results(random_case(3, 0)).keys()


@pytest.mark.parametrize(
    "name", ["theta", "val_loss", "meta_loss", "grad_W_x", "grad_W_h", "grad_b", "grad_w_o", "H"]
)
def test_a_planted_error_is_found_and_named(tmp_path: Path, name: str) -> None:
    wrong = dict(ARRAYS[4])
    wrong[name] = wrong[name].copy()
    largest = np.unravel_index(np.argmax(np.abs(wrong[name])), wrong[name].shape)
    wrong[name][largest] *= 1.0 + 1e-8
    result = lft("check", save(tmp_path / "wrong.npz", wrong))
    assert result.exit_code == 1
    assert f"wrong.npz: {name} differs from" in result.output
    assert "0 of 1 agree" in result.output


def test_a_wrong_engine_is_told_apart_from_a_wrong_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*arguments: Any) -> Any:
        got = vectors.adjoint(*arguments)
        return got._replace(grad=got.grad._replace(b=-got.grad.b))

    monkeypatch.setattr(vectors, "forward_mode", wrong)
    result = lft("check", save(tmp_path / "case.npz", ARRAYS[0]))
    assert result.exit_code == 1
    assert "grad_b differs from forward_mode by 2.0e+00" in result.output


def test_a_dropped_second_order_term_is_found(tmp_path: Path) -> None:
    index = next(i for i in range(12, 24) if random_case(3, i).K > 2)
    arrays = case_arrays(index)
    assert arrays["second_order"]
    arrays["second_order"] = np.asarray(False)
    result = lft("check", save(tmp_path / "dropped.npz", arrays))
    assert result.exit_code == 1
    assert "dropped.npz: grad_" in result.output


def test_bad_files_do_not_keep_others_from_being_checked(tmp_path: Path) -> None:
    good = save(tmp_path / "good.npz", ARRAYS[0])
    wrong = save(tmp_path / "wrong.npz", ARRAYS[1] | {"meta_loss": np.asarray(1e9)})
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"PK\x03\x04 and nothing more")
    result = lft("check", bad, wrong, good, tmp_path / "missing.npz")
    assert result.exit_code == 2
    for words in ("1 of 4 agree, 2 unreadable", "wrong.npz: meta_loss differs", "No such file"):
        assert words in result.output


def test_a_file_near_a_kink_says_so(tmp_path: Path) -> None:
    arrays = ARRAYS[1] | {"theta_0": np.zeros_like(ARRAYS[1]["theta_0"])}
    assert str(arrays["activation"]) == "relu"
    result = lft("check", save(tmp_path / "kink.npz", arrays))
    assert result.exit_code == 1
    assert "close to a kink" in result.output


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
    with zipfile.ZipFile(tmp_path / "plain.zip", "w") as archive:
        archive.writestr("notes.txt", "no array")
    refused(tmp_path / "plain.zip", "no array")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "cannot be read")


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


def test_no_files_are_wrong_usage() -> None:
    result = lft("check")
    assert result.exit_code == 2
    assert "Missing argument" in result.output
