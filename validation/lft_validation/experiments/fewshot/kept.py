"""What a job leaves in its files, and what these must hold to be gone on with or reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lft_validation.errors import UserError
from lft_validation.experiments.fewshot.config import Config, measured_steps
from lft_validation.experiments.fewshot.metrics import NAMES, RAN_AWAY
from lft_validation.files import OURS, require, require_finite

CURVES, LEARNT = "lft-fewshot-curves-1", "lft-fewshot-learned-1"  # kinds of file


def test_file(folder: Path, source: str) -> Path:
    """Return where a job's curves on a source are."""
    return folder / f"test-{source.replace(':', '-')}.npz"


def check_learned(size: int, batches: int, path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Check Φ or θ as one flat array, and the losses of the batches on the way.

    Raises:
        UserError: if they are damaged.
    """
    require(path, arrays, {"flat": (size,), "losses": (batches,)})
    for name in ("flat", "losses"):
        require_finite(path, name, arrays[name], OURS)


def check_tested(config: Config, path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Check the curves of all test tasks on a source.

    Raises:
        UserError: if they are damaged.
    """
    require(path, arrays, {"curves": (len(NAMES), config.test_tasks, len(measured_steps(config)))})
    check_curves(path, arrays)


def check_curves(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Check that ``curves``, (3, tasks, steps), are what was measured of any tasks.

    Raises:
        UserError: if a number is not finite, or a share of images is none.
    """
    curves = arrays["curves"]
    require_finite(path, "curves", curves, OURS)
    for name, values in zip(NAMES, curves, strict=True):
        most = RAN_AWAY if name == "loss" else 1.0
        bad = values[(values < 0.0) | (values > most)]
        if bad.size:
            raise UserError(
                f"{path}: {name} must be from 0 to {most:g} in its curves, found {bad[0]:g}; {OURS}"
            )
