"""Programs written from the format's description alone agree with the vectors that we publish.

The two programs beside this file share no code with the project: one differentiates with HIPS
autograd, the other with PyTorch and its own LSTM cell.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lft_validation.cli import main

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    out = tmp_path_factory.mktemp("vectors")
    arguments = ["vectors", "make", "--out", str(out), "--count", "40", "--seed", "11"]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return sorted(out.glob("*.npz"))


def run(program: str, files: list[Path]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / program), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("library", ["autograd", "torch"])
def test_an_independent_program_agrees_with_forty_vectors(vectors, library):
    pytest.importorskip(library)
    assert len(vectors) == 40
    result = run(f"check_with_{library}.py", vectors)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("name", ["grad_W_h", "theta", "meta_loss"])
def test_the_independent_program_can_fail(vectors, tmp_path, name):
    with np.load(vectors[0], allow_pickle=False) as file:
        arrays = dict(file)
    arrays[name] = arrays[name] * (1 + 1e-7)
    np.savez(tmp_path / "wrong.npz", **arrays)
    assert run("check_with_autograd.py", [tmp_path / "wrong.npz"]).returncode == 1
