"""Test vectors as arrays, to be spoiled and saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result

from lft_validation import vectors
from lft_validation.cases import random_case
from lft_validation.cli import main
from lft_validation.vector_format import to_arrays

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
