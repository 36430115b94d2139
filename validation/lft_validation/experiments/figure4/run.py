"""One job of Figure 4: meta-train one method in one setting with one seed, and test it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lft_backends.draws import Stage
from lft_ref import Data, Optimizer, unflatten
from lft_validation.experiments.figure4.config import LEARNED, MAML, ZEROTH, Config
from lft_validation.experiments.figure4.methods import (
    Setup,
    fine_tuner,
    learner,
    make_setup,
    training_batches,
)
from lft_validation.experiments.training import train
from lft_validation.files import belongs_to, fingerprint, read_arrays, write_arrays, write_bytes
from lft_validation.jobs import Job, Monitor, Stopped
from lft_validation.runs import versions
from lft_validation.tuners import save_tuner

CHUNK = 50  # test tasks fine-tuned at once
CURVES = "lft-figure4-curves-1"
RESULT, PHI = "result.npz", "phi.npz"


class JobKey(NamedTuple):
    """What tells one job from another."""

    setting: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """Return the name of the job's folder."""
        return f"{self.setting}-{self.method}-seed{self.seed}".replace(" ", "-").lower()


RATES = {"SGD": ("sgd_rate", "sgd_zo_rate"), "Adam": ("adam_rate", "adam_zo_rate")}
FIRST_ONLY = ("sgd_rate", "adam_rate")
ZEROTH_ONLY = ("sgd_zo_rate", "adam_zo_rate", "directions", "mu")


def job_key(config: Config, key: JobKey) -> str:
    """Fingerprint of all that one job's result depends on.

    Not of which other jobs run beside it: a job done in one run is known again in another that adds
    seeds, methods or a setting.
    """
    settings = config.to_json()
    unused = {"seeds", "settings", "methods", "maml", "maml_tuned"}
    unused.update(FIRST_ONLY if key.setting == ZEROTH else ZEROTH_ONLY)
    unused.update(name for method, names in RATES.items() if method != key.method for name in names)
    used = {name: value for name, value in settings.items() if name not in unused}
    if key.method in MAML:
        used["maml"] = asdict(config.maml_of(key.method))
    return fingerprint([used, key, versions("figure4")])


def make_jobs(config: Config, folder: Path, reuse: Path | None = None) -> list[Job]:
    """Return all jobs, the longest first so that no worker is left alone with one at the end.

    Args:
        config: the run's settings.
        folder: where each job gets a folder.
        reuse: such a folder of another run; jobs finished there are taken over.
    """
    keys = [
        JobKey(setting, method, seed)
        for seed in config.seeds
        for setting in config.settings
        for method in config.methods
    ]
    jobs = [
        Job(key.name, run_job, (config, key, folder, reuse), _units(config, key)) for key in keys
    ]
    return sorted(jobs, key=lambda job: -job.units)


def _units(config: Config, key: JobKey) -> float:
    return _train_units(config, key) * training_batches(config, key.method) + sum(
        _test_units(key, len(tasks), steps) for tasks, steps in chunks(config)
    )


def _train_units(config: Config, key: JobKey) -> float:
    """Rough cost of one meta-batch, in fine-tuning steps of one task."""
    if key.method in MAML:
        maml = config.maml_of(key.method)
        steps = maml.batch * maml.inner_steps
    else:
        steps = config.meta_batch * config.steps
    return steps * (2.0 if key.setting == ZEROTH else 1.0)


def _test_units(key: JobKey, tasks: int, steps: int) -> float:
    return tasks * steps * (0.5 if key.setting == ZEROTH else 0.1)


def chunks(config: Config) -> list[tuple[range, int]]:
    """Cut the test tasks into chunks, each with the number of steps that it is followed for."""
    parts = []
    for start, stop, steps in (
        (0, config.long_tasks, config.long_steps),
        (config.long_tasks, config.test_tasks, config.steps),
    ):
        for first in range(start, stop, CHUNK):
            parts.append((range(first, min(first + CHUNK, stop)), steps))
    return parts


def run_job(config: Config, key: JobKey, jobs: Path, reuse: Path | None, monitor: Monitor) -> None:
    """Meta-train, then test; go on from whatever the folder holds already."""
    folder, owner = jobs / key.name, job_key(config, key)
    if (
        not (folder / RESULT).exists()
        and reuse is not None
        and (reuse / key.name / RESULT).exists()
    ):
        _take_over(reuse / key.name / RESULT, folder / RESULT, owner)
    if (folder / RESULT).exists():
        read_arrays(folder / RESULT, CURVES, owner)
        monitor.report(_units(config, key))
        return
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # judged by their results
        flat = _train(config, key, folder, owner, monitor)
        curves = _test(config, key, folder, owner, flat, monitor)
    _finish(config, key, folder, owner, flat, curves)


def _take_over(source: Path, target: Path, owner: str) -> None:
    """Copy a finished job of another run, if it is the same job; otherwise compute it anew."""
    if belongs_to(source) != owner:
        return
    phi = source.with_name(PHI)
    if phi.exists():
        write_bytes(target.with_name(PHI), phi.read_bytes())
    write_arrays(target, CURVES, owner, read_arrays(source, CURVES, owner))


def _train(config: Config, key: JobKey, folder: Path, owner: str, monitor: Monitor) -> Any:
    """Meta-train: return Φ or θ as one flat array, or None where nothing is learned."""
    batches = training_batches(config, key.method)
    if not batches:
        return None
    setup = make_setup(config, key.setting, key.seed)
    method = learner(setup, key.method)
    units = _train_units(config, key)
    return train(method, batches, folder, owner, setup.backend, monitor, units)


def _test(
    config: Config, key: JobKey, folder: Path, owner: str, flat: Any, monitor: Monitor
) -> list[np.ndarray]:
    """Return the test curves, chunk by chunk; chunks that are there already are read."""
    setup = make_setup(config, key.setting, key.seed)
    optimizer = fine_tuner(setup, key.method, flat)
    start = flat if key.method in MAML else None
    done = training_batches(config, key.method) * _train_units(config, key)
    curves = []
    for index, (tasks, steps) in enumerate(chunks(config)):
        file = folder / f"curves-{index:03d}.npz"
        if not file.exists():
            curve = test_curve(setup, optimizer, start, tasks, steps)
            write_arrays(file, CURVES, owner, {"mse": curve})
        curves.append(read_arrays(file, CURVES, owner)["mse"])
        done += _test_units(key, len(tasks), steps)
        monitor.report(done)
        if monitor.check():
            raise Stopped
    return curves


def test_curve(
    setup: Setup, optimizer: Optimizer, start: Any, tasks: range, steps: int
) -> np.ndarray:
    """Fine-tune on D_tr of each task and return the test MSE at every step (tasks, steps + 1).

    ``start`` is a shared initialisation; None for a random one per task.
    """
    config, seed, backend = setup.config, setup.seed, setup.backend
    problem = setup.problem._replace(val_shots=config.test_points)
    train_data, test_data = problem.data(seed, Stage.TEST_TASK, tasks)
    theta = problem.theta_0(seed, Stage.TEST_INIT, tasks)
    if start is not None:
        theta = backend.xp.broadcast_to(backend.asarray(start), theta.shape)
    state, curve = optimizer.init(theta), []
    for k in range(steps + 1):
        curve.append(problem.mean_loss.value(theta, test_data))
        if k < steps:
            g = _gradient(setup, problem, theta, train_data, tasks, k)
            delta, state = optimizer.update(g, state)
            theta = theta - delta
    host = backend.to_host(backend.xp.stack(curve, axis=-1))
    return np.asarray(host, dtype=np.float64)


def _gradient(setup: Setup, problem: Any, theta: Any, train: Data, tasks: range, k: int) -> Any:
    u = None
    if setup.zeroth:
        q = setup.config.directions
        u = problem.directions(setup.seed, Stage.TEST_DIRECTIONS, tasks, [k], q)[0]
    return setup.tuner.estimator.estimate(problem.sum_loss, theta, train, u)


def _finish(
    config: Config, key: JobKey, folder: Path, owner: str, flat: Any, curves: list[np.ndarray]
) -> None:
    """Join the chunks into one result; then they and the checkpoint are no longer needed."""
    result = {
        "short": np.concatenate([curve[:, : config.steps + 1] for curve in curves]),
        "long": np.concatenate([c for c in curves if c.shape[1] == config.long_steps + 1]),
    }
    if flat is not None:
        checkpoint = read_arrays(folder / "checkpoint.npz", "lft-checkpoint-1", owner)
        result |= {"flat": flat, "losses": checkpoint["losses"]}
    if key.method in LEARNED:
        setup = make_setup(config, key.setting, key.seed)
        m = setup.tuner.cell.preprocess.m
        save_tuner(folder / PHI, unflatten(flat, m, config.lstm_units), setup.tuner.cell, owner)
    write_arrays(folder / RESULT, CURVES, owner, result)
    for file in [*folder.glob("curves-*.npz"), *folder.glob("checkpoint.npz")]:
        file.unlink()
