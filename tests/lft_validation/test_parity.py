"""Experiments give NumPy's numbers on other backends, in float64: on a GPU, every smoke preset.

On the CPU the same test runs smaller settings on Numba and PyTorch, so that it is known to work.
theorem1, which runs on NumPy and Numba only, has its own there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lft_validation.cli import main
from tests.helpers import assert_close
from tests.libraries import usable

# Figures 2 and A1 to A4 are drawn from a run of Table 1, and table1-beyond starts from one.
EXPERIMENTS = ("figure4", "table1", "table2", "figure3", "tableA1", "tableA2")
SMALL = ("--test-tasks", "4", "--steps", "4", "--unroll", "2", "--lstm-units", "3")
SMALLER = {
    "figure4": (*SMALL, "--hidden", "5", "--long-steps", "6", "--methods", "LFT,MAML,Adam"),
    "figure3": (*SMALL, "--set", "table_step=4", "--methods", "LFT,SGD"),
    "table1": (*SMALL, "--set", "table_step=4", "--methods", "LFT,MAML,PGD"),
}
LEFT = ("result.npz", "learned.npz", "test-*.npz")  # of each job
# Rounding, which every step carries on, and which (6) divides by μ. On whole presets Numba and
# PyTorch differ from NumPy by 7e-11 in Table 1's zeroth order, and by less than 1e-13 in all else.
BOUND, WHOLE = 1e-11, 1e-8
CASES = [
    *(pytest.param("cupy", name, (), marks=pytest.mark.gpu) for name in EXPERIMENTS),
    *(pytest.param(backend, *case) for backend in ("numba", "torch") for case in SMALLER.items()),
]


def reproduce(experiment: str, backend: str, out: Path, options: tuple[str, ...]) -> None:
    settings = ("--preset", "smoke", "--dtype", "float64", "--executor", "local", *options)
    command = ["reproduce", experiment, *settings, "--backend", backend, "--out", str(out)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output


def compare(ours: Path, theirs: Path, bound: float = BOUND) -> None:
    """Compare every array of numbers that the jobs of two runs left."""
    files, others = (sorted(f for n in LEFT for f in r.glob(f"*/{n}")) for r in (ours, theirs))
    assert [f.relative_to(ours) for f in files] == [f.relative_to(theirs) for f in others]
    assert len(files) >= 3
    for file, other in zip(files, others, strict=True):
        with np.load(file) as one, np.load(other) as two:
            assert one.files == two.files
            for name in one.files:
                if one[name].dtype.kind == "f" and np.any(one[name]):
                    assert_close(two[name], one[name], bound)
                elif one[name].dtype.kind == "f":
                    np.testing.assert_array_equal(two[name], one[name])


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize(("backend", "experiment", "options"), CASES)
@pytest.mark.usefixtures("undrawn")
def test_an_experiment_gives_numpys_numbers(tmp_path, backend, experiment, options):
    usable(backend)
    for name in ("numpy", backend):
        reproduce(experiment, name, tmp_path / name, options)
    bound = BOUND if options else WHOLE
    compare(tmp_path / "numpy" / "jobs", tmp_path / backend / "jobs", bound)


def test_a_number_that_is_off_is_seen(tmp_path):
    arrays = {"curves": np.linspace(1.0, 2.0, 7), "zeros": np.zeros(3), "key": np.asarray("abc")}
    for run in ("one", "two"):
        for i in range(3):
            (tmp_path / run / f"job{i}").mkdir(parents=True)
            np.savez(tmp_path / run / f"job{i}" / "result.npz", **arrays)
    compare(tmp_path / "one", tmp_path / "two")
    for name, factor, term in (("curves", 1.0 + 1e-10, 0.0), ("zeros", 1.0, 1e-300)):
        off = arrays | {name: arrays[name] * factor + term}
        np.savez(tmp_path / "two" / "job2" / "result.npz", **off)
        with pytest.raises(AssertionError):
            compare(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two" / "job2" / "result.npz").unlink()
    with pytest.raises(AssertionError):
        compare(tmp_path / "one", tmp_path / "two")
