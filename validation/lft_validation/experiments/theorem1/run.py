"""The jobs: one for each family and seed. A job goes through its Φ and |D_tr|, file by file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lft_backends.draws import Stage
from lft_ref import LSTMParams
from lft_validation.experiments.theorem1.config import TRAINED, Config
from lft_validation.experiments.theorem1.estimate import Length
from lft_validation.experiments.theorem1.gap import reference
from lft_validation.experiments.theorem1.phi import make_phi, tuner_of
from lft_validation.experiments.theorem1.point import Point, measure_point
from lft_validation.experiments.theorem1.problems import make_tasks
from lft_validation.files import fingerprint, read_arrays, write_arrays
from lft_validation.jobs import Job, Monitor
from lft_validation.runs import versions
from lft_validation.stopping import Stopped
from lft_validation.tuners import load_tuner, save_tuner

KIND = "lft-theorem1-point-1"
WIDE = 64  # |D_tr| from which the examples, and not the steps, take the time


class JobKey(NamedTuple):
    """What tells one job from another."""

    family: str
    seed: int

    @property
    def name(self) -> str:
        """Return the name of the job's folder."""
        return f"{self.family}-seed{self.seed}"


def job_key(config: Config, key: JobKey) -> str:
    """Fingerprint of all that one job's result depends on."""
    used = {k: v for k, v in config.to_json().items() if k not in ("seeds", "families")}
    return fingerprint([used, key, versions("theorem1")])


def make_jobs(config: Config, folder: Path) -> list[Job]:
    """Return all jobs."""
    keys = [JobKey(family, seed) for seed in config.seeds for family in config.families]
    return [Job(key.name, run_job, (config, key, folder), _units(config, key)) for key in keys]


def _units(config: Config, key: JobKey) -> float:
    return sum(_point_units(D) for _ in config.phis_of(key.family) for D in config.train_sizes)


def _point_units(D_tr: int) -> float:
    """Rough cost of one point."""
    return 1.0 + D_tr / WIDE


def point_file(folder: Path, key: JobKey, phi: str, D_tr: int) -> Path:
    """Return where a point's result lies."""
    return folder / key.name / f"{phi.replace(' ', '-')}-{D_tr}.npz"


def run_job(config: Config, key: JobKey, folder: Path, monitor: Monitor) -> None:
    """Measure every Φ at every |D_tr|; what is there already is kept."""
    owner, done = job_key(config, key), 0.0
    numbers = range(config.tasks)
    stages = (Stage.THEOREM1_TASK, Stage.THEOREM1_INIT)
    tasks = make_tasks(config, key.family, key.seed, stages, numbers)
    for phi in config.phis_of(key.family):
        params = _phi(config, key, phi, folder / key.name, owner, monitor)
        tuner = tuner_of(config, phi)
        at = None
        for D_tr in config.train_sizes:
            file = point_file(folder, key, phi, D_tr)
            if not file.exists():
                at = at or reference(params, tuner, tasks, config.unroll)
                point = measure_point(config, params, tuner, tasks, at, key.seed, D_tr)
                write_arrays(file, KIND, owner, _pack(point))
            done += _point_units(D_tr)
            monitor.report(done)
            if monitor.check():
                raise Stopped


def _phi(
    config: Config, key: JobKey, phi: str, folder: Path, owner: str, monitor: Monitor
) -> LSTMParams:
    """Return Φ, from its file once it is there: by then the training may have gone on."""
    file = folder / f"phi-{phi}.npz"
    if phi in TRAINED and file.exists():
        return load_tuner(file)[0]
    params = make_phi(config, key.family, key.seed, phi, folder, owner, monitor)
    if phi in TRAINED:
        save_tuner(file, params, tuner_of(config, phi).cell, owner)
    return params


def _pack(point: Point) -> dict[str, np.ndarray]:
    arrays = {f"numbers/{name}": np.asarray(value) for name, value in point.numbers.items()}
    for name, length in point.lengths.items():
        arrays |= {f"lengths/{name}/{k}": np.asarray(v) for k, v in length._asdict().items()}
    return arrays


def read_point(config: Config, folder: Path, key: JobKey, phi: str, D_tr: int) -> Point:
    """Return a finished point.

    Raises:
        UserError: if its file is missing, damaged or of another run.
    """
    arrays = read_arrays(point_file(folder, key, phi, D_tr), KIND, job_key(config, key))
    numbers = {k.partition("/")[2]: float(v) for k, v in arrays.items() if k.startswith("numbers/")}
    names = {k.split("/", 1)[1].rpartition("/")[0] for k in arrays if k.startswith("lengths/")}
    lengths = {
        name: Length(
            float(arrays[f"lengths/{name}/square"]),
            arrays[f"lengths/{name}/errors"],
            float(arrays[f"lengths/{name}/top"]),
        )
        for name in names
    }
    return Point(lengths, numbers)
