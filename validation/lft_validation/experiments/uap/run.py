"""One job of Table 1: meta-train one method with one seed, and test it on every source it fits."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lft_backends.draws import Stage
from lft_ref import Data, unflatten
from lft_validation.datasets import SPLITS
from lft_validation.experiments.training import train
from lft_validation.experiments.uap.config import (
    HAND,
    LEARNED,
    MAML,
    NONE,
    ZEROTH,
    Config,
    applicable,
    parts,
)
from lft_validation.experiments.uap.methods import (
    Setup,
    fine_tuner,
    learner,
    make_setup,
    training_batches,
    tuned_loss,
)
from lft_validation.experiments.uap.metrics import make_meter
from lft_validation.experiments.uap.tasks import AttackProblem, pool, victim_of
from lft_validation.files import belongs_to, fingerprint, read_arrays, write_arrays, write_bytes
from lft_validation.jobs import Job, Monitor, Stopped
from lft_validation.runs import versions
from lft_validation.tuners import save_tuner

CHUNK = 25  # test tasks fine-tuned at once
CURVES = "lft-uap-curves-1"
RESULT, PHI = "result.npz", "phi.npz"


class JobKey(NamedTuple):
    """What tells one job from another."""

    setting: str
    training: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """Return the name of the job's folder."""
        name = f"{self.setting}-{self.method}-{self.training}-seed{self.seed}"
        return name.replace(" ", "-").replace("+", "-and-").lower()


RATES = {
    "PGD": ("pgd_rate", "pgd_radius"),
    "SGD": ("sgd_rate", "sgd_zo_rate"),
    "Adam": ("adam_rate", "adam_zo_rate"),
    MAML: ("maml_batch", "maml_inner_steps", "maml_learning_rate", "maml_alpha", "maml_zo_alpha"),
}
CELL = ("meta_batch", "unroll", "weighting", "lstm_units", "preprocess", "output_scale",
        "learning_rate")  # fmt: skip
FIRST_ONLY = ("sgd_rate", "adam_rate", "maml_alpha")
ZEROTH_ONLY = ("sgd_zo_rate", "adam_zo_rate", "maml_zo_alpha", "directions", "mu")


def tested_on(config: Config, key: JobKey) -> list[str]:
    """The sources that a job's method is tested on. A union's tasks are those of its sources."""
    wanted = {source for union in config.testing for source in parts(union)}
    return [s for s in config.sources if s in wanted and applicable(key.training, key.method, s)]


def job_key(config: Config, key: JobKey) -> str:
    """Fingerprint of all that one job's result depends on, data and victims included.

    Not of which other jobs run beside it: a job done in one run is known again in another that adds
    seeds, methods or a setting.
    """
    unused = {"seeds", "settings", "methods", "training", "testing", "table_step"}
    unused.update(FIRST_ONLY if key.setting == ZEROTH else ZEROTH_ONLY)
    unused.update(name for method, names in RATES.items() if method != key.method for name in names)
    if key.method not in LEARNED:
        unused.update(CELL)
    if key.method in HAND:
        unused.update(("meta_tasks", "clip_norm"))
    used = {name: value for name, value in config.to_json().items() if name not in unused}
    sources = dict.fromkeys((*_trained_on(key), *tested_on(config, key)))
    checks = [record(name) for name in sources]
    return fingerprint([used, key, tested_on(config, key), checks, versions("uap")])


def _trained_on(key: JobKey) -> list[str]:
    return [] if key.training == NONE else parts(key.training)


@cache
def record(name: str) -> dict[str, Any]:
    """Return what config.json says of a source and its victim."""
    victim = victim_of(name)
    data: dict[str, Any] = {split: pool(name, split).dataset.record() for split in SPLITS}
    weights = hashlib.sha256(victim.weights.tobytes()).hexdigest()
    return {**data, "victim_sha256": weights, "victim_accuracy": victim.about["accuracy"]}


def make_jobs(config: Config, folder: Path, reuse: Path | None = None) -> list[Job]:
    """Return all jobs, the longest first so that no worker is left alone with one at the end."""
    keys = [
        JobKey(setting, training, method, seed)
        for seed in config.seeds
        for setting in config.settings
        for method in config.methods
        for training in ((NONE,) if method in HAND else config.training)
    ]
    keys = [key for key in keys if tested_on(config, key)]
    jobs = [
        Job(key.name, run_job, (config, key, job_key(config, key), folder, reuse),
            _units(config, key))
        for key in keys
    ]  # fmt: skip
    return sorted(jobs, key=lambda job: -job.units)


def _units(config: Config, key: JobKey) -> float:
    chunks = len(tested_on(config, key)) * config.test_tasks
    training = _train_units(config, key) * training_batches(config, key.method)
    return training + chunks * _test_units(config, key)


def _train_units(config: Config, key: JobKey) -> float:
    """Rough cost of one meta-batch, in fine-tuning steps of one task."""
    steps = config.meta_batch * config.steps
    if key.method == MAML:
        steps = config.maml_batch * config.maml_inner_steps
    return steps * (config.directions if key.setting == ZEROTH else 1.0)


def _test_units(config: Config, key: JobKey) -> float:
    return config.steps * (0.3 * config.directions if key.setting == ZEROTH else 0.4)


def run_job(
    config: Config, key: JobKey, owner: str, jobs: Path, reuse: Path | None, monitor: Monitor
) -> None:
    """Meta-train, then test; go on from whatever the folder holds already."""
    folder = jobs / key.name
    if reuse is not None and not (folder / RESULT).exists():
        _take_over(reuse / key.name, folder, owner)
    if (folder / RESULT).exists():
        read_arrays(folder / RESULT, CURVES, owner)
        monitor.report(_units(config, key))
        return
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # judged by their results
        setup = make_setup(config, key.setting, key.seed, key.training)
        flat = None
        if batches := training_batches(config, key.method):
            method, units = learner(setup, key.method), _train_units(config, key)
            flat = train(method, batches, folder, owner, setup.backend, monitor, units)
        curves = _test(setup, key, folder, owner, flat, monitor)
    _finish(setup, key, folder, owner, flat, curves)


def _take_over(source: Path, target: Path, owner: str) -> None:
    """Copy a finished job of another run, if it is the same job; otherwise compute it anew."""
    if not (source / RESULT).exists() or belongs_to(source / RESULT) != owner:
        return
    if (source / PHI).exists():
        write_bytes(target / PHI, (source / PHI).read_bytes())
    write_arrays(target / RESULT, CURVES, owner, read_arrays(source / RESULT, CURVES, owner))


def _test(
    setup: Setup, key: JobKey, folder: Path, owner: str, flat: Any, monitor: Monitor
) -> dict[str, np.ndarray]:
    """Return the curves by source; chunks that are there already are read."""
    config, curves = setup.config, dict[str, np.ndarray]()
    done = training_batches(config, key.method) * _train_units(config, key)
    for name in tested_on(config, key):
        chunks = []
        for first in range(0, config.test_tasks, CHUNK):
            tasks = range(first, min(first + CHUNK, config.test_tasks))
            file = folder / f"curves-{name}-{first:04d}.npz"
            if not file.exists():
                curve = test_curves(setup, key.method, flat, name, tasks)
                write_arrays(file, CURVES, owner, {"curves": curve})
            chunks.append(read_arrays(file, CURVES, owner)["curves"])
            done += len(tasks) * _test_units(config, key)
            monitor.report(done)
            if monitor.check():
                raise Stopped
        curves[name] = np.concatenate(chunks, axis=1)
    return curves


def test_curves(setup: Setup, method: str, flat: Any, name: str, tasks: range) -> np.ndarray:
    """Fine-tune on D_tr of each task and measure at every step: (6, tasks, steps + 1) float64.

    ``flat`` is Φ, or the θ^(0) that MAML learned, or None.
    """
    config, seed, problem = setup.config, setup.seed, setup.problems[name]
    sets = problem.data(seed, Stage.UAP_TEST_TASK, tasks)
    theta = problem.theta_0(seed, Stage.UAP_TEST_INIT, tasks)
    if method == MAML:
        theta = setup.backend.xp.broadcast_to(setup.backend.asarray(flat), theta.shape)
    optimizer = fine_tuner(setup, method, flat)
    state, curve = optimizer.init(theta), []
    meter = make_meter(setup.backend, problem.loss, sets, theta)
    for k in range(config.steps + 1):
        curve.append(meter.measure(theta))
        if k < config.steps:
            g = _gradient(setup, problem, method, theta, sets[0], tasks, k)
            delta, state = optimizer.update(g, state)
            theta = theta - delta
    return np.stack(curve, axis=-1)


def _gradient(
    setup: Setup, problem: AttackProblem, method: str, theta: Any, train: Data, tasks: range, k: int
) -> Any:
    u = None
    if setup.zeroth:
        u = problem.directions(setup.seed, Stage.UAP_TEST_DIRECTIONS, tasks, [k])[0, ...]
    return setup.tuner.estimator.estimate(tuned_loss(problem, method), theta, train, u)


def _finish(
    setup: Setup, key: JobKey, folder: Path, owner: str, flat: Any, curves: dict[str, np.ndarray]
) -> None:
    """Join the chunks into one result; then they and the checkpoint are no longer needed."""
    result = dict(curves)
    if flat is not None:
        checkpoint = read_arrays(folder / "checkpoint.npz", "lft-checkpoint-1", owner)
        result |= {"flat": flat, "losses": checkpoint["losses"]}
    if key.method in LEARNED:
        cell = setup.tuner.cell
        params = unflatten(flat, cell.preprocess.m, setup.config.lstm_units)
        save_tuner(folder / PHI, params, cell, owner)
    write_arrays(folder / RESULT, CURVES, owner, result)
    for file in [*folder.glob("curves-*.npz"), *folder.glob("checkpoint.npz")]:
        file.unlink()
