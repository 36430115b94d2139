"""One job of Table 1: meta-train one method with one seed, and test it on every source it fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lft_backends.draws import Stage
from lft_ref import Data, size
from lft_validation.datasets import SPLITS
from lft_validation.experiments.learners import LEARNED, parts_of
from lft_validation.experiments.method_jobs import (
    RESULT,
    Part,
    fine_tuned,
    finish,
    folder_name,
    is_finished,
    is_of,
    longest_first,
    read_flat,
    restore_phi,
    run_parts,
)
from lft_validation.experiments.training import train
from lft_validation.experiments.uap.config import HAND, MAML, ZEROTH, Config, applicable
from lft_validation.experiments.uap.methods import (
    Setup,
    fine_tuner,
    learner,
    make_setup,
    training_batches,
    tuned_loss,
)
from lft_validation.experiments.uap.metrics import NAMES, make_meter
from lft_validation.experiments.uap.tasks import AttackProblem, pool, victim_of
from lft_validation.experiments.unions import NONE, parts
from lft_validation.files import fingerprint
from lft_validation.jobs import Job, Monitor
from lft_validation.runs import versions
from lft_validation.victims import identity

CHUNK = 25  # test tasks fine-tuned at once
CURVES = "lft-uap-curves-1"


class JobKey(NamedTuple):
    """What tells one job from another."""

    setting: str
    training: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """Return the name of the job's folder."""
        return folder_name(self.setting, self.method, self.training, f"seed{self.seed}")


RATES = {
    "PGD": ("pgd_rate", "pgd_radius"),
    "SGD": ("sgd_rate", "sgd_zo_rate"),
    "Adam": ("adam_rate", "adam_zo_rate"),
    MAML: ("maml_batch", "maml_inner_steps", "maml_learning_rate", "maml_alpha", "maml_zo_alpha"),
}
CELL = ("meta_batch", "chunk", "unroll", "weighting", "lstm_units", "preprocess", "p",
        "output_scale", "learning_rate", "task_clip")  # fmt: skip
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
    unused = {"seeds", "settings", "methods", "training", "testing", "victims", "victim_sums",
              "table_step", "long_steps"}  # fmt: skip
    unused.update(FIRST_ONLY if key.setting == ZEROTH else ZEROTH_ONLY)
    unused.update(name for method, names in RATES.items() if method != key.method for name in names)
    if key.method not in LEARNED:
        unused.update(CELL)
    if key.method in HAND:
        unused.update(("meta_tasks", "clip_norm"))
    used = {name: value for name, value in config.to_json().items() if name not in unused}
    sources = dict.fromkeys((*_trained_on(key), *tested_on(config, key)))
    checks = [record(config, name) for name in sources]
    return fingerprint([used, key, tested_on(config, key), checks, versions("uap")])


def _trained_on(key: JobKey) -> list[str]:
    return [] if key.training == NONE else parts(key.training)


def record(config: Config, name: str) -> dict[str, Any]:
    """Return what config.json says of a source and its victim."""
    victim = victim_of(config, name)
    accuracy = victim.about["accuracy"]
    return {**_images(name), **identity(victim), "victim_accuracy": accuracy}


@cache
def _images(name: str) -> dict[str, Any]:
    """Look at all images of a source; once in each process."""
    return {split: pool(name, split).dataset.record() for split in SPLITS}


def make_jobs(config: Config, folder: Path, others: Sequence[Path] = ()) -> list[Job]:
    """Return all jobs, the longest first.

    Args:
        config: of the run.
        folder: of its jobs.
        others: jobs folders of other runs: what is finished there is taken over.
    """
    keys = [
        JobKey(setting, training, method, seed)
        for seed in config.seeds
        for setting in config.settings
        for method in config.methods
        for training in ((NONE,) if method in HAND else config.training)
    ]
    keys = [key for key in keys if tested_on(config, key)]
    return longest_first(_job(config, key, folder, others) for key in keys)


def _job(config: Config, key: JobKey, folder: Path, others: Sequence[Path]) -> Job:
    owner = job_key(config, key)
    found = (place for place in others if is_of(place / key.name / RESULT, owner))
    arguments = (config, key, owner, folder, next(found, None))
    return Job(key.name, run_job, arguments, job_units(config, key))


def job_units(config: Config, key: JobKey) -> float:
    """Rough cost of a job, in fine-tuning steps of one task."""
    chunks = len(tested_on(config, key)) * config.test_tasks
    training = _train_units(config, key) * training_batches(config, key.method)
    return training + chunks * test_units(config, key)


def _train_units(config: Config, key: JobKey) -> float:
    """Rough cost of one meta-batch, in fine-tuning steps of one task."""
    steps = config.meta_batch * config.steps
    if key.method == MAML:
        steps = config.maml_batch * config.maml_inner_steps
    return steps * (config.directions if key.setting == ZEROTH else 1.0)


def test_units(config: Config, key: JobKey) -> float:
    """Rough cost of one test task."""
    return config.steps * (0.3 * config.directions if key.setting == ZEROTH else 0.4)


def run_job(
    config: Config, key: JobKey, owner: str, jobs: Path, reuse: Path | None, monitor: Monitor
) -> None:
    """Meta-train, then test; go on from whatever the folder holds already."""
    folder = jobs / key.name
    about = {"experiment": "uap", "job": key._asdict(), "config": config.to_json()}
    if is_finished(folder, CURVES, owner, None if reuse is None else reuse / key.name):
        if key.method in LEARNED:
            tuner = make_setup(config, key.setting, key.seed, key.training).tuner
            restore_phi(folder, CURVES, owner, tuner, config.lstm_units, about)
        else:
            learned_flat(config, key, folder, owner)  # MAML's θ is there, and fits
        monitor.report(job_units(config, key))
        return
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # judged by their results
        setup = make_setup(config, key.setting, key.seed, key.training)
        flat = None
        if batches := training_batches(config, key.method):
            method, units = learner(setup, key.method), _train_units(config, key)
            flat = train(method, batches, folder, owner, setup.backend, monitor, units)
        curves = _test(setup, key, folder, owner, flat, monitor)
    learned = setup.tuner if key.method in LEARNED else None
    finish(folder, CURVES, owner, curves, flat, learned, config.lstm_units, about)


def learned_flat(config: Config, key: JobKey, folder: Path, owner: str) -> np.ndarray | None:
    """Return what a finished job learned, Φ or MAML's θ, as one flat array; None if nothing.

    Raises:
        UserError: if the job's result does not hold it.
    """
    if key.method in HAND:
        return None
    setup = make_setup(config, key.setting, key.seed, key.training)
    if key.method == MAML:
        number = setup.problems[key.training].d
    else:
        number = size(setup.tuner.cell.preprocess.m, config.lstm_units)
    return read_flat(folder / RESULT, CURVES, owner, number)


def _test(
    setup: Setup, key: JobKey, folder: Path, owner: str, flat: Any, monitor: Monitor
) -> dict[str, np.ndarray]:
    """Return the curves by source, each chunk by chunk."""
    config, curves = setup.config, dict[str, np.ndarray]()
    done = training_batches(config, key.method) * _train_units(config, key)
    for name in tested_on(config, key):
        compute = partial(_test_part, config, key, flat, name)
        shape = (len(NAMES), -1, config.steps + 1)
        pieces = test_parts(name, config.test_tasks, test_units(config, key), compute, shape)
        found = run_parts(pieces, folder, CURVES, owner, monitor, done)
        curves[name] = np.concatenate(found, axis=1)
        done += config.test_tasks * test_units(config, key)
    return curves


def test_parts(
    name: str,
    tasks: int,
    units: float,
    compute: Callable[[range], np.ndarray],
    shape: tuple[int, ...],
) -> list[Part]:
    """Cut test tasks into parts, each with a name of its own.

    Args:
        name: of all of them.
        tasks: how many.
        units: the cost of a task.
        compute: gives the curves of some tasks.
        shape: of these, with −1 for how many tasks they are.
    """
    return [
        Part(
            f"{name}-{some[0]:04d}",
            len(some) * units,
            partial(compute, some),
            tuple(len(some) if length == -1 else length for length in shape),
        )
        for some in parts_of(range(tasks), CHUNK)
    ]


def _test_part(config: Config, key: JobKey, flat: Any, name: str, tasks: range) -> np.ndarray:
    """Test from plain settings, here or on a worker."""
    setup = make_setup(config, key.setting, key.seed, key.training)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # judged by their results
        return test_curves(setup, key.method, flat, name, tasks)


def test_curves(setup: Setup, method: str, flat: Any, name: str, tasks: range) -> np.ndarray:
    """Fine-tune on D_tr of each task and measure at every step: (6, tasks, steps + 1) float64.

    ``flat`` is Φ, or the θ^(0) that MAML learned, or None.
    """
    problem = setup.problems[name]
    sets = problem.data(setup.seed, Stage.UAP_TEST_TASK, tasks)
    meter, curve = None, []
    for theta in perturbations(setup, method, flat, name, tasks, setup.config.steps):
        meter = meter or make_meter(setup.backend, problem.loss, sets, theta)
        curve.append(meter.measure(theta))
    return np.stack(curve, axis=-1)


def perturbations(
    setup: Setup, method: str, flat: Any, name: str, tasks: range, steps: int
) -> Iterator[Any]:
    """Fine-tune on D_tr of test tasks: yield θ^(0) … θ^(steps), each (tasks, d)."""
    seed, problem = setup.seed, setup.problems[name]
    train, _ = problem.data(seed, Stage.UAP_TEST_TASK, tasks)
    theta = problem.theta_0(seed, Stage.UAP_TEST_INIT, tasks)
    if method == MAML:
        theta = setup.backend.xp.broadcast_to(setup.backend.asarray(flat), theta.shape)
    gradient = partial(_gradient, setup, problem, method, train, tasks)
    return fine_tuned(fine_tuner(setup, method, flat), gradient, theta, steps)


def _gradient(
    setup: Setup, problem: AttackProblem, method: str, train: Data, tasks: range, theta: Any, k: int
) -> Any:
    u = None
    if setup.zeroth:
        u = problem.directions(setup.seed, Stage.UAP_TEST_DIRECTIONS, tasks, [k])[0, ...]
    return setup.tuner.estimator.estimate(tuned_loss(problem, method), theta, train, u)
