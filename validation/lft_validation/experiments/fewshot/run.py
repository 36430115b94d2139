"""One job: meta-train one method with one seed, and test it on every source that it fits.

What was learned and what came out on each source are files of their own, each with the fingerprint
of what it depends on. So tables that share a training share it, whatever else they test.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lft_validation.datasets import Split
from lft_validation.episodes import pool
from lft_validation.experiments.fewshot.config import (
    HAND,
    MAML,
    Config,
    applicable,
    images_of,
    measured_steps,
    network_of,
)
from lft_validation.experiments.fewshot.kept import (
    CURVES,
    LEARNT,
    check_curves,
    check_learned,
    check_tested,
    test_file,
)
from lft_validation.experiments.fewshot.methods import (
    Setup,
    learned_size,
    learner,
    make_setup,
    training_batches,
)
from lft_validation.experiments.fewshot.metrics import NAMES
from lft_validation.experiments.fewshot.tasks import splits_of
from lft_validation.experiments.fewshot.trial import CHUNK, test_curves, validation_error
from lft_validation.experiments.learners import LEARNED, parts_of
from lft_validation.experiments.method_jobs import (
    PHI,
    Part,
    folder_name,
    is_there,
    learned_arrays,
    longest_first,
    part_file,
    run_parts,
    save_phi,
)
from lft_validation.experiments.training import CHECKPOINT, train
from lft_validation.experiments.unions import NONE, parts
from lft_validation.files import fingerprint, read_arrays, write_arrays
from lft_validation.jobs import Job, Monitor
from lft_validation.runs import versions

COST = {"mlp": 1.0, "cnn2": 4.0, "cnn4": 6.0}  # of a step of one task, roughly


class JobKey(NamedTuple):
    """What tells one job from another."""

    training: str
    method: str
    shots: int
    seed: int

    @property
    def name(self) -> str:
        """Return the name of the job's folder."""
        name = folder_name(self.method, self.training, f"{self.shots}shot", f"seed{self.seed}")
        return name.replace(":", "-")


class Owners(NamedTuple):
    """The fingerprints of a job's files: of what is learned, and of each source tested on."""

    learned: str
    tests: dict[str, str]


# What a method's training depends on, beside the tasks and the networks.
CELL: tuple[str, ...] = (
    "meta_tasks", "passes", "clip_norm", "task_clip", "query", "meta_batch", "chunk", "steps",
    "unroll", "weighting", "lstm_units", "preprocess", "p", "second_order", "output_scale",
    "learning_rate",
)  # fmt: skip
MAML_SETTINGS: tuple[str, ...] = (
    "meta_tasks", "passes", "clip_norm", "query", "maml_batch", "maml_inner_steps",
    "maml_alpha", "maml_learning_rate",
)  # fmt: skip
JUDGE = ("validation_tasks", "table_step")  # where something judges on the way
RATES = {"SGD": ("sgd_rate",), "Adam": ("adam_rate",)}
EVERYWHERE = ("backend", "device", "dtype", "ways")


def tested_on(config: Config, key: JobKey) -> list[str]:
    """The sources that a job's method is tested on. A union's tasks are those of its sources."""
    unions = [u for u in config.testing if applicable(key.training, key.method, u)]
    return [s for s in config.sources if any(s in parts(u) for u in unions)]


def owners(config: Config, key: JobKey) -> Owners:
    """Fingerprints of all that a job's files depend on, data included, and of nothing else."""
    sources = [] if key.training == NONE else parts(key.training)
    splits = [(name, split) for name in sources for split in splits_of(config, name)]
    checks = [record(name, split) for name, split in splits if split != "test"]
    learned = fingerprint([_of_training(config, key), key, checks, versions("fewshot")])
    names = ("test_tasks", "test_query", *RATES.get(key.method, ()))
    steps = measured_steps(config)
    tests = {
        source: fingerprint(
            [learned, source, _some(config, names, [source]), steps, record(source, "test")]
        )
        for source in tested_on(config, key)
    }
    return Owners(learned, tests)


def _of_training(config: Config, key: JobKey) -> dict[str, Any]:
    """The settings that a method's training depends on."""
    names = CELL if key.method in LEARNED else MAML_SETTINGS if key.method in MAML else ()
    names += JUDGE if names and config.validation_tasks else ()
    return _some(config, names, [] if key.training == NONE else parts(key.training))


def _some(config: Config, names: Sequence[str], sources: Sequence[str]) -> dict[str, Any]:
    """Settings of these names, and those of the sources' images and networks."""
    settings, nets = config.to_json(), {network_of(source) for source in sources}
    more = ["hidden"] * ("mlp" in nets) + ["filters"] * bool(nets - {"mlp"})
    more += ["rotations"] * ("omniglot" in map(images_of, sources))
    return {name: settings[name] for name in (*EVERYWHERE, *names, *more)}


@cache
def record(source: str, split: Split) -> dict[str, Any]:
    """Return what config.json says of a source's images."""
    return pool(images_of(source), split).dataset.record()


def job_keys(config: Config) -> list[JobKey]:
    """Return the jobs that have something to be tested on."""
    keys = [
        JobKey(training, method, shots, seed)
        for seed in config.seeds
        for shots in config.shots
        for method in config.methods
        for training in ((NONE,) if method in HAND else config.training)
    ]
    return [key for key in keys if tested_on(config, key)]


def make_jobs(
    config: Config, folder: Path, reuse: Sequence[Path] = (), segment: int | None = None
) -> list[Job]:
    """Return all jobs, the longest first.

    Args:
        config: the run's settings.
        folder: where each job gets a folder.
        reuse: such folders of other runs; what is finished there is taken over.
        segment: steps of the unroll that are kept at once; it changes no result.
    """
    return longest_first(
        Job(
            key.name,
            run_job,
            (config, key, owners(config, key), folder, tuple(reuse), segment),
            _units(config, key),
        )
        for key in job_keys(config)
    )


def _units(config: Config, key: JobKey) -> float:
    testing = sum(_test_units(config, source) for source in tested_on(config, key))
    return _train_units(config, key) * training_batches(config, key.method) + testing


def _train_units(config: Config, key: JobKey) -> float:
    """Rough cost of one meta-batch, in fine-tuning steps of one task with the MLP."""
    sources = [] if key.training == NONE else parts(key.training)
    cost = sum(COST[network_of(s)] for s in sources) / max(len(sources), 1)
    if key.method in MAML:
        return 3.0 * cost * config.maml_batch * config.maml_inner_steps
    return 5.0 * cost * config.meta_batch * config.steps


def _test_units(config: Config, source: str) -> float:
    return COST[network_of(source)] * config.steps * config.test_tasks


def run_job(
    config: Config,
    key: JobKey,
    owner: Owners,
    jobs: Path,
    reuse: tuple[Path, ...],
    segment: int | None,
    monitor: Monitor,
) -> None:
    """Meta-train, then test; go on from whatever the folder holds already."""
    folder, elsewhere = jobs / key.name, [other / key.name for other in reuse]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # judged by their results
        setup = make_setup(config, key.training, key.shots, key.seed, segment)
        flat = _learned(setup, key, folder, elsewhere, owner.learned, monitor)
        _test(config, key, folder, elsewhere, owner.tests, flat, monitor)


def _learned(
    setup: Setup, key: JobKey, folder: Path, elsewhere: list[Path], owner: str, monitor: Monitor
) -> Any:
    """Return Φ or θ as one flat array, trained here or in another run; None if nothing is."""
    config, file = setup.config, folder / "learned.npz"
    batches, units = training_batches(config, key.method), _train_units(config, key)
    if not batches:
        return None
    check = partial(check_learned, learned_size(setup, key.method), batches)
    if not is_there(file, LEARNT, owner, [other / file.name for other in elsewhere], check):
        method = learner(setup, key.method)
        if config.validation_tasks:
            method = method._replace(judge=partial(validation_error, setup, key.method))
        flat = train(method, batches, folder, owner, setup.backend, monitor, units)
        write_arrays(file, LEARNT, owner, learned_arrays(folder, owner, flat))
        (folder / CHECKPOINT).unlink()
    flat = read_arrays(file, LEARNT, owner)["flat"]
    if key.method in LEARNED:  # whatever became of its file
        used = _of_training(config, key)
        about = {"experiment": "fewshot", "job": key._asdict(), "config": used}
        save_phi(folder / PHI, owner, flat, setup.tuner, config.lstm_units, about)
    monitor.report(batches * units)
    return flat


def _test(
    config: Config,
    key: JobKey,
    folder: Path,
    elsewhere: list[Path],
    owner: dict[str, str],
    flat: Any,
    monitor: Monitor,
) -> None:
    """Leave the curves of each source, (3, tasks, measured steps)."""
    done = training_batches(config, key.method) * _train_units(config, key)
    for source in tested_on(config, key):
        file, units = test_file(folder, source), _test_units(config, source)
        others = [other / file.name for other in elsewhere]
        check = partial(check_tested, config)
        if not is_there(file, CURVES, owner[source], others, check):
            some = _test_parts(config, key, flat, source)
            found = run_parts(some, folder, CURVES, owner[source], monitor, done)
            write_arrays(file, CURVES, owner[source], {"curves": np.concatenate(found, axis=1)})
            for part in some:
                part_file(folder, part).unlink()
        done += units
        monitor.report(done)


def _test_parts(config: Config, key: JobKey, flat: Any, source: str) -> list[Part]:
    """Cut the test tasks on a source into parts."""
    name = test_file(Path(), source).stem
    return [
        Part(
            f"{name}-{tasks[0]:04d}",
            _test_units(config, source) * len(tasks) / config.test_tasks,
            partial(_test_part, config, key, flat, source, tasks),
            (len(NAMES), len(tasks), len(measured_steps(config))),
            check_curves,
        )
        for tasks in parts_of(range(config.test_tasks), CHUNK)
    ]


def _test_part(config: Config, key: JobKey, flat: Any, source: str, tasks: range) -> np.ndarray:
    """Test from plain settings, here or on a worker."""
    setup = make_setup(config, key.training, key.shots, key.seed)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # judged by their results
        return test_curves(setup, key.method, flat, source, tasks)
