"""One job of Figure 4: meta-train one method in one setting with one seed, and test it."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lft_backends.draws import Stage
from lft_ref import Data, Optimizer
from lft_validation.experiments.figure4.config import MAML, ZEROTH, Config
from lft_validation.experiments.figure4.methods import (
    Setup,
    fine_tuner,
    learner,
    make_setup,
    training_batches,
)
from lft_validation.experiments.learners import LEARNED
from lft_validation.experiments.method_jobs import (
    Part,
    fine_tuned,
    finish,
    folder_name,
    is_finished,
    longest_first,
    restore_phi,
    run_parts,
)
from lft_validation.experiments.training import train
from lft_validation.files import fingerprint
from lft_validation.jobs import Job, Monitor
from lft_validation.runs import versions

CHUNK = 50  # test tasks fine-tuned at once
CURVES = "lft-figure4-curves-1"


class Stages(NamedTuple):
    """What the draws of some tasks are keyed by."""

    task: Stage
    start: Stage  # θ^(0)
    directions: Stage  # of (6)


TEST = Stages(Stage.TEST_TASK, Stage.TEST_INIT, Stage.TEST_DIRECTIONS)
VALIDATION = Stages(Stage.VALIDATION_TASK, Stage.VALIDATION_INIT, Stage.VALIDATION_DIRECTIONS)


class JobKey(NamedTuple):
    """What tells one job from another."""

    setting: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """Return the name of the job's folder."""
        return folder_name(self.setting, self.method, f"seed{self.seed}")


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
    """Return all jobs, the longest first.

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
    return longest_first(
        Job(key.name, run_job, (config, key, folder, reuse), _units(config, key)) for key in keys
    )


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
    tuner = make_setup(config, key.setting, key.seed).tuner if key.method in LEARNED else None
    about = {"experiment": "figure4", "job": key._asdict(), "config": config.to_json()}
    if is_finished(folder, CURVES, owner, None if reuse is None else reuse / key.name):
        if tuner is not None:
            restore_phi(folder, CURVES, owner, tuner, config.lstm_units, about)
        monitor.report(_units(config, key))
        return
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # judged by their results
        flat = _train(config, key, folder, owner, monitor)
        curves = _test(config, key, folder, owner, flat, monitor)
    finish(folder, CURVES, owner, _joined(config, curves), flat, tuner, config.lstm_units, about)


def _train(config: Config, key: JobKey, folder: Path, owner: str, monitor: Monitor) -> Any:
    """Meta-train: return Φ or θ as one flat array, or None where nothing is learned."""
    batches = training_batches(config, key.method)
    if not batches:
        return None
    setup = make_setup(config, key.setting, key.seed)
    method, units = learner(setup, key.method), _train_units(config, key)
    if config.validation_tasks:
        method = method._replace(judge=partial(validation_error, setup, key.method))
    return train(method, batches, folder, owner, setup.backend, monitor, units)


def validation_error(setup: Setup, method: str, flat: np.ndarray) -> float:
    """Return the mean MSE after the last step, over tasks of meta-validation."""
    config, rule = setup.config, fine_tuner(setup, method, flat)
    start, tasks = flat if method in MAML else None, range(config.validation_tasks)
    curves = [
        test_curve(setup, rule, start, tasks[a : a + CHUNK], config.steps, VALIDATION)
        for a in range(0, len(tasks), CHUNK)
    ]
    return float(np.concatenate(curves)[:, -1].mean())


def _test(
    config: Config, key: JobKey, folder: Path, owner: str, flat: Any, monitor: Monitor
) -> list[np.ndarray]:
    """Return the test curves, chunk by chunk."""
    parts = [
        Part(
            f"{index:03d}",
            _test_units(key, len(tasks), steps),
            partial(_test_part, config, key, flat, tasks, steps),
            (len(tasks), steps + 1),
        )
        for index, (tasks, steps) in enumerate(chunks(config))
    ]
    done = training_batches(config, key.method) * _train_units(config, key)
    return run_parts(parts, folder, CURVES, owner, monitor, done)


def _test_part(config: Config, key: JobKey, flat: Any, tasks: range, steps: int) -> np.ndarray:
    """Test from plain settings, here or on a worker."""
    setup = make_setup(config, key.setting, key.seed)
    start = flat if key.method in MAML else None
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # judged by their results
        return test_curve(setup, fine_tuner(setup, key.method, flat), start, tasks, steps, TEST)


def test_curve(
    setup: Setup,
    optimizer: Optimizer,
    start: Any,
    tasks: range,
    steps: int,
    stages: Stages,
) -> np.ndarray:
    """Fine-tune on D_tr of each task and return the test MSE at every step (tasks, steps + 1).

    ``start`` is a shared initialisation; None for a random one per task.
    """
    config, seed, backend = setup.config, setup.seed, setup.backend
    problem = setup.problem._replace(val_shots=config.test_points)
    train_data, test_data = problem.data(seed, stages.task, tasks)
    theta = problem.theta_0(seed, stages.start, tasks)
    if start is not None:
        theta = backend.xp.broadcast_to(backend.asarray(start), theta.shape)
    gradient = partial(_gradient, setup, problem, train_data, tasks, stages.directions)
    path = fine_tuned(optimizer, gradient, theta, steps)
    curve = [problem.mean_loss.value(theta, test_data) for theta in path]
    host = backend.to_host(backend.xp.stack(curve, axis=-1))
    return np.asarray(host, dtype=np.float64)


def _gradient(
    setup: Setup, problem: Any, train: Data, tasks: range, stage: Stage, theta: Any, k: int
) -> Any:
    u = None
    if setup.zeroth:
        q = setup.config.directions
        u = problem.directions(setup.seed, stage, tasks, [k], q)[0, ...]
    return setup.tuner.estimator.estimate(problem.sum_loss, theta, train, u)


def _joined(config: Config, curves: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Join the chunks: all tasks to the last trained step, the first ones beyond it."""
    followed = [
        curve
        for curve, (tasks, _) in zip(curves, chunks(config), strict=True)
        if tasks.stop <= config.long_tasks
    ]
    return {
        "short": np.concatenate([curve[:, : config.steps + 1] for curve in curves]),
        "long": np.concatenate(followed),
    }
