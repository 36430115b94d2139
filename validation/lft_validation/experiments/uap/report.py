"""What the jobs of Table 1 add up to: numbers, the paper beside them, claims with verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lft_validation.experiments.method_jobs import RESULT
from lft_validation.experiments.uap.claims import claims
from lft_validation.experiments.uap.config import HAND, ZEROTH, Config, applicable
from lft_validation.experiments.uap.metrics import NAMES, first_step, known_mean, known_sd
from lft_validation.experiments.uap.run import CURVES, JobKey, job_key, tested_on
from lft_validation.experiments.unions import NONE, not_applicable, parts, union
from lft_validation.files import read_arrays, require, require_numbers
from lft_validation.report import known, read_paper


class Cell(NamedTuple):
    """One cell of Table 1: what was trained, how, and where it is tested."""

    setting: str
    training: str
    method: str
    testing: str


Results = dict[Cell, list[np.ndarray]]  # of each seed (6, tasks, steps + 1): metrics.NAMES


def collect(config: Config, folder: Path) -> Results:
    """Read the results of all jobs; a union's tasks are equal numbers of its sources' first."""
    results: Results = {}
    for setting in config.settings:
        for method in config.methods:
            for training in (NONE,) if method in HAND else config.training:
                keys = [JobKey(setting, training, method, seed) for seed in config.seeds]
                if not tested_on(config, keys[0]):
                    continue
                seeds = [_result(config, folder / key.name / RESULT, key) for key in keys]
                for testing in config.testing:
                    if applicable(training, method, testing):
                        curves = [union(config, arrays, parts(testing)) for arrays in seeds]
                        results[Cell(setting, training, method, testing)] = curves
    return results


def _result(config: Config, path: Path, key: JobKey) -> dict[str, np.ndarray]:
    arrays = read_arrays(path, CURVES, job_key(config, key))
    shape = (len(NAMES), config.test_tasks, config.steps + 1)
    sources = tested_on(config, key)
    require(path, arrays, dict.fromkeys(sources, shape))
    require_numbers(path, arrays, sources)
    return arrays


def metric(curves: list[np.ndarray], name: str) -> list[np.ndarray]:
    """Return one of :data:`metrics.NAMES` for each seed, (tasks, steps + 1)."""
    return [c[NAMES.index(name)] for c in curves]


def summarise(config: Config, results: Results) -> dict[str, Any]:
    """Return everything that goes into results.json."""
    paper = read_paper("table1")
    return {
        "rows": [_row(config, cell, curves, paper) for cell, curves in results.items()],
        "not_applicable": not_applicable(config, HAND, applicable),
        "claims": claims(config, results),
        "paper": paper,
    }


def _row(
    config: Config, cell: Cell, curves: list[np.ndarray], paper: dict[str, Any]
) -> dict[str, Any]:
    """Means over tasks of all seeds at some steps, first step at 100 %, and means by seed."""
    wanted = {0, 10, 20, 50, 100, 150, config.table_step, config.steps}
    pooled = np.concatenate(curves, axis=1)
    val = metric(curves, "val")
    images = config.classes * config.shots * (config.directions + 1)
    same = [
        row for row in paper["rows"] if (row["training"], row["method"], row["testing"]) == cell[1:]
    ]
    return {
        **cell._asdict(),
        "tasks": int(pooled.shape[1]),
        "at": {str(s): _at(pooled, s) for s in sorted(wanted) if s <= config.steps},
        "first_step": first_step(np.concatenate(val)),
        "first_step_by_seed": [first_step(v) for v in val],
        "success_by_seed": [known(known_mean(v[:, config.table_step])) for v in val],
        "queries_per_step": images if cell.setting == ZEROTH else None,
        "paper": same[0] if same and cell.setting != ZEROTH else None,
    }


def _at(pooled: np.ndarray, step: int) -> dict[str, float | None]:
    """Means over tasks, and the standard deviation of the success rate on D_val.

    None where no image of any task counts.
    """
    means = {name: known(known_mean(pooled[index, :, step])) for index, name in enumerate(NAMES)}
    return means | {"val_sd": known(known_sd(pooled[NAMES.index("val"), :, step]))}
