"""Beyond the paper: five times the horizon, another victim, and a source never seen in training.

A job of Table 1 is run, or taken over from a run beside this one; then its perturbations are
followed for ``long_steps`` steps on every source that there is, and measured at every tenth step on
the victim that they are made against (``own``) and on one of another architecture (``other``): a
perceptron that they have not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lft_backends.draws import Stage
from lft_ref import AttackLoss
from lft_validation.datasets import SOURCES, find
from lft_validation.experiments.method_jobs import PARTS, longest_first, run_parts
from lft_validation.experiments.uap.config import HAND, Config, applicable
from lft_validation.experiments.uap.methods import Setup, make_setup
from lft_validation.experiments.uap.metrics import NAMES, make_meter
from lft_validation.experiments.uap.run import (
    JobKey,
    job_key,
    job_units,
    learned_flat,
    perturbations,
    record,
    run_job,
    test_parts,
    test_units,
)
from lft_validation.experiments.uap.tasks import AttackProblem, victim_of
from lft_validation.experiments.unions import parts
from lft_validation.files import (
    fingerprint,
    read_arrays,
    require,
    require_numbers,
    write_arrays,
)
from lft_validation.jobs import Job, Monitor
from lft_validation.runs import versions
from lft_validation.victims import OTHER, checksum, shipped

KIND = "lft-uap-beyond-1"
FILE = "beyond.npz"
EVERY = 10  # steps between two measurements


class Measured(NamedTuple):
    """What is measured of one source: metrics.NAMES of each task at every tenth step."""

    own: np.ndarray  # (6, tasks, 1 + long_steps / 10): on the victim that θ is made against
    other: np.ndarray  # the same θ on the other victim


def steps(config: Config) -> range:
    """Return the steps that are measured."""
    return range(0, config.long_steps + 1, EVERY)


def present(config: Config) -> list[str]:
    """Return the sources of the run, and all others whose data and victims are here.

    A source for which a victim of one's own is given counts as here: its data are then asked for.
    """
    victims = {*shipped(), *config.victim_files}
    known = [s for s in SOURCES if {s, s + OTHER} <= victims]
    own = {name.removesuffix(OTHER) for name in config.victim_files}
    here = [s for s in known if s == "digits" or s in own or find(SOURCES[s])]
    return list(dict.fromkeys([*config.sources, *here]))


def followed_on(config: Config, key: JobKey) -> list[str]:
    """The sources on which a job's perturbations are followed."""
    return [s for s in present(config) if applicable(key.training, key.method, s)]


def seen(training: str, source: str) -> bool:
    """Say whether a source was seen in meta-training."""
    return source in parts(training)


def beyond_key(config: Config, key: JobKey) -> str:
    """Fingerprint of all that the result of one job depends on."""
    names = followed_on(config, key)
    others = [checksum(victim_of(config, name + OTHER)) for name in names]
    own = [record(config, name) for name in names]
    return fingerprint([job_key(config, key), config.long_steps, names, own, others,
                        versions("uap")])  # fmt: skip


def make_beyond_jobs(jobs: Sequence[Job], config: Config) -> list[Job]:
    """Return the jobs of Table 1, each followed by its measurements."""
    return longest_first(
        Job(job.name, run_beyond, job.args, job.units + _units(config, job.args[1])) for job in jobs
    )


def _units(config: Config, key: JobKey) -> float:
    return len(followed_on(config, key)) * config.test_tasks * _task_units(config, key)


def _task_units(config: Config, key: JobKey) -> float:
    return config.long_steps / config.steps * test_units(config, key)


def run_beyond(
    config: Config, key: JobKey, owner: str, jobs: Path, reuse: Path | None, monitor: Monitor
) -> None:
    """Train and test as Table 1 does, unless that is done; then follow the perturbations."""
    run_job(config, key, owner, jobs, reuse, monitor)
    folder, mine = jobs / key.name, beyond_key(config, key)
    if (folder / FILE).exists():
        _measured(config, key, folder / FILE, mine)
        return
    flat = learned_flat(config, key, folder, owner)
    result, done = dict[str, np.ndarray](), job_units(config, key)
    for name in followed_on(config, key):
        compute, units = partial(_follow, config, key, flat, name), _task_units(config, key)
        shape = (len(Measured._fields), len(NAMES), -1, len(steps(config)))
        pieces = test_parts(f"beyond-{name}", config.test_tasks, units, compute, shape)
        found = run_parts(pieces, folder, KIND, mine, monitor, done)
        curves = Measured(*np.concatenate(found, axis=2))
        result |= {f"{name}-{which}": curve for which, curve in curves._asdict().items()}
        done += config.test_tasks * units
    write_arrays(folder / FILE, KIND, mine, result)
    for part in folder.glob(PARTS):
        part.unlink()


def _measured(config: Config, key: JobKey, file: Path, owner: str) -> dict[str, Measured]:
    """Read what was measured on each source; refuse a file that lacks some of it."""
    arrays, sources = read_arrays(file, KIND, owner), followed_on(config, key)
    names = {source: [f"{source}-{which}" for which in Measured._fields] for source in sources}
    for both in names.values():
        require(
            file, arrays, dict.fromkeys(both, (len(NAMES), config.test_tasks, len(steps(config))))
        )
        require_numbers(file, arrays, both)
    return {source: Measured(*(arrays[n] for n in both)) for source, both in names.items()}


def _follow(config: Config, key: JobKey, flat: Any, name: str, tasks: range) -> np.ndarray:
    """Follow from plain settings, here or on a worker."""
    setup = make_setup(config, key.setting, key.seed, key.training, (name,))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # judged by their results
        return np.stack(follow(setup, key.method, flat, name, tasks))


def follow(setup: Setup, method: str, flat: Any, name: str, tasks: range) -> Measured:
    """Follow the perturbations of test tasks of a source, and measure them on both victims."""
    config, problem = setup.config, setup.problems[name]
    sets = problem.data(setup.seed, Stage.UAP_TEST_TASK, tasks)
    losses = (problem.loss, _other_loss(problem))
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    meters = None
    for k, theta in enumerate(perturbations(setup, method, flat, name, tasks, config.long_steps)):
        meters = meters or [make_meter(setup.backend, loss, sets, theta) for loss in losses]
        if k % EVERY == 0:
            for meter, curve in zip(meters, found, strict=True):
                curve.append(meter.measure(theta))
    return Measured(*(np.stack(curve, axis=-1) for curve in found))


def _other_loss(problem: AttackProblem) -> AttackLoss:
    """(12) with the victim of another architecture."""
    victim, loss = victim_of(problem.config, problem.name + OTHER), problem.loss
    weights = problem.backend.asarray(victim.weights)
    return problem.backend.fuse_attack(
        AttackLoss(victim.network, weights, loss.kappa, loss.l1, loss.box, loss.clip)
    )


def collect_beyond(config: Config, jobs: Path) -> dict[tuple[str, str, str, str], list[Measured]]:
    """Read all results: (setting, training, method, source) to what each seed measured."""
    found: dict[tuple[str, str, str, str], list[Measured]] = {}
    for setting in config.settings:
        for method in config.methods:
            for training in ("none",) if method in HAND else config.training:
                for seed in config.seeds:
                    key = JobKey(setting, training, method, seed)
                    if not (jobs / key.name / FILE).exists():
                        continue
                    mine = beyond_key(config, key)
                    measured = _measured(config, key, jobs / key.name / FILE, mine)
                    for name, pair in measured.items():
                        found.setdefault((setting, training, method, name), []).append(pair)
    return found
