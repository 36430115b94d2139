"""What the jobs add up to: numbers, the paper beside them, claims with verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lft_validation.experiments.fewshot.claims import Cell, Results, claims, metric
from lft_validation.experiments.fewshot.config import Config, applicable, measured_steps, without
from lft_validation.experiments.fewshot.kept import CURVES, check_tested, test_file
from lft_validation.experiments.fewshot.metrics import NAMES
from lft_validation.experiments.fewshot.printed import (
    cells,
    difference,
    of_the_same_tasks,
    row_of,
)
from lft_validation.experiments.fewshot.run import JobKey, job_keys, owners
from lft_validation.experiments.unions import NONE, parts, union
from lft_validation.files import read_arrays
from lft_validation.report import read_paper
from lft_validation.stats import mean_interval, pooled, seeds_interval


def collect(config: Config, folder: Path) -> Results:
    """Read the results of all jobs; a union's tasks are equal numbers of its sources' first."""
    results: Results = {}
    for key in job_keys(config):
        arrays = _read(config, folder / key.name, key)
        for testing in config.testing:
            if applicable(key.training, key.method, testing):
                cell = Cell(key.training, key.method, testing, key.shots)
                curves = union(config, arrays, parts(testing))
                results.setdefault(cell, []).append(curves)
    return results


def _read(config: Config, folder: Path, key: JobKey) -> dict[str, np.ndarray]:
    found = {}
    for source, owner in owners(config, key).tests.items():
        file = test_file(folder, source)
        arrays = read_arrays(file, CURVES, owner)
        check_tested(config, file, arrays)
        found[source] = arrays["curves"]
    return found


def summarise(
    config: Config,
    results: Results,
    stand_in: dict[str, str],
    data: dict[str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Return everything that goes into results.json.

    Args:
        config: the run's settings.
        results: its curves.
        stand_in: sources that were not there, and what took their place.
        data: of each source, by split, what config.json says of its images.
    """
    paper = of_the_same_tasks(read_paper(config.table), config.ways)
    in_order = sorted(results, key=lambda cell: _place(config, cell))
    judged = claims(config, results, cells(paper, stand_in))
    return {
        "rows": [_row(config, cell, results[cell], paper, stand_in) for cell in in_order],
        "not_applicable": without(config),
        "claims": [c | {"paper": difference(c, paper, stand_in)} for c in judged],
        "paper": paper,
        "stand_in": stand_in,
        "not_official": [
            (source, split, record["images"])
            for source, splits in (data or {}).items()
            for split, record in splits.items()
            if not record["official"]
        ],
    }


def _place(config: Config, cell: Cell) -> tuple[int, ...]:
    """Where a row stands: those of one cell of the paper's table are together."""
    return (
        (*config.training, NONE).index(cell.training),
        config.testing.index(cell.testing),
        config.shots.index(cell.shots),
        config.methods.index(cell.method),
    )


def _row(
    config: Config,
    cell: Cell,
    curves: list[np.ndarray],
    paper: dict[str, Any],
    stand_in: dict[str, str],
) -> dict[str, Any]:
    """Means over the tasks of all seeds at the measured steps, and how sure they are."""
    at = metric(config, curves, config.table_step, "accuracy")
    by_seed = [float(a.mean()) for a in at]
    every = np.concatenate(curves, axis=1)
    return {
        **cell._asdict(),
        "tasks": sum(a.size for a in at),
        "at": {str(s): _at(every[..., i]) for i, s in enumerate(measured_steps(config))},
        "interval_tasks": mean_interval(*pooled(at, len(parts(cell.testing)))),
        "interval_seeds": seeds_interval(by_seed),
        "by_seed": by_seed,
        "paper": row_of(cell, paper, stand_in),
    }


def _at(values: np.ndarray) -> dict[str, float]:
    """Means over tasks, and the standard deviation of the accuracy."""
    means = {name: float(values[i].mean()) for i, name in enumerate(NAMES)}
    return means | {"sd": float(values[NAMES.index("accuracy")].std())}
