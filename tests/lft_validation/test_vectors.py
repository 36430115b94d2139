"""Test vectors: what is written is read back, agrees, and a wrong number is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lft_validation import vectors
from lft_validation.cases import random_case
from lft_validation.vector_format import Vector, read, to_arrays, write
from tests.lft_validation.vector_files import ARRAYS, INDICES, case_arrays, lft, save


def test_made_files_agree_with_three_engines(tmp_path: Path) -> None:
    result = lft("make", "--out", tmp_path / "new" / "folder", "--count", 3, "--seed", 3)
    assert result.exit_code == 0, result.output
    files = sorted((tmp_path / "new" / "folder").iterdir())
    assert [file.name for file in files] == [f"case-{i:03d}.npz" for i in range(3)]
    result = lft("check", *files)
    assert result.exit_code == 0, result.output
    assert "3 of 3 agree" in result.output
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


@pytest.mark.parametrize("count", [0, -1, 10**10])
def test_no_cases_are_refused(tmp_path: Path, count: int) -> None:
    result = lft("make", "--out", tmp_path / "new", "--count", count)
    assert result.exit_code == 2
    assert f"--count must be from 1 to 10000, found {count}" in result.output
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


def test_no_files_are_wrong_usage() -> None:
    result = lft("check")
    assert result.exit_code == 2
    assert "Missing argument" in result.output
