"""The methods that Figure 4 compares, as learners (meta-training) and as fine-tuners (testing)."""

from __future__ import annotations

from typing import Any, NamedTuple

from lft_backends.backend import Backend, get_backend
from lft_backends.draws import Stage
from lft_ref import FineTuner, Optimizer, Task, adam, sgd
from lft_validation.experiments.figure4.config import FIRST, MAML, ZEROTH, Config, MAMLConfig
from lft_validation.experiments.groups import Group
from lft_validation.experiments.learners import (
    DATA,
    LEARNED,
    Algorithm1,
    MAMLSettings,
    learned_learner,
    learned_rule,
    make_tuner,
    maml_learner,
    parts_of,
    shared,
)
from lft_validation.experiments.sine import SineProblem
from lft_validation.experiments.training import Learner


class Setup(NamedTuple):
    """One setting (first or zeroth order) with one seed, ready to compute."""

    config: Config
    zeroth: bool
    seed: int
    backend: Backend
    problem: SineProblem
    tuner: FineTuner


def make_setup(config: Config, setting: str, seed: int) -> Setup:
    """Build what a job needs from plain settings."""
    backend = get_backend(config.backend, config.dtype, config.device)
    zeroth = setting == ZEROTH
    problem = SineProblem(backend, config.hidden, config.shots, config.val_shots)
    tuner = make_tuner(
        backend,
        config.preprocess,
        config.output_scale,
        config.mu if zeroth else None,
        config.p,
        config.second_order,
    )
    return Setup(config, zeroth, seed, backend, problem, tuner)


def training_batches(config: Config, method: str) -> int:
    """Return how many batches of tasks a method's meta-training consists of; 0 for none."""
    if method in MAML:
        maml = config.maml_of(method)
        return maml.passes * config.meta_tasks // maml.batch
    return config.passes * config.meta_tasks // config.meta_batch if method in LEARNED else 0


def learner(setup: Setup, method: str) -> Learner:
    """Return the meta-training of one method."""
    return _maml(setup, method) if method in MAML else _learned(setup, method)


def _learned(setup: Setup, method: str) -> Learner:
    """LFT, L2O and L2O-train: Algorithm 1 with one or the other choice of data."""
    config = setup.config
    settings = Algorithm1(
        batches=training_batches(config, method),
        steps=config.steps,
        unroll=config.unroll,
        weighting=config.weighting,
        lstm_units=config.lstm_units,
        learning_rate=config.learning_rate,
        clip=config.clip,
        task_clip=config.task_clip,
    )
    return learned_learner(
        settings,
        setup.tuner,
        setup.backend,
        setup.seed,
        lambda batch: meta_groups(setup, method, batch),
    )


def meta_groups(setup: Setup, method: str, batch: int) -> list[Group]:
    """Return the tasks of one meta-update of LFT, L2O or L2O-train."""
    config = setup.config
    numbers = range(batch * config.meta_batch, (batch + 1) * config.meta_batch)
    plain = (config, ZEROTH if setup.zeroth else FIRST, setup.seed, method)
    directions = meta_directions if setup.zeroth else None
    return [
        Group(meta_task, (*plain, part), directions) for part in parts_of(numbers, config.chunk)
    ]


def meta_task(config: Config, setting: str, seed: int, method: str, numbers: range) -> Task:
    """Return the tasks of those numbers; one met again starts from another θ^(0)."""
    problem = make_setup(config, setting, seed).problem
    tasks = [i % config.meta_tasks for i in numbers]
    train, val = DATA[method](*problem.data(seed, Stage.META_TASK, tasks))
    return Task(problem.sum_loss, train, val, problem.theta_0(seed, Stage.META_INIT, numbers))


def meta_directions(
    config: Config, setting: str, seed: int, _method: str, numbers: range, steps: range
) -> Any:
    """Return the directions of (6) of the same tasks (steps, q, tasks, d)."""
    problem, q = make_setup(config, setting, seed).problem, config.directions
    return problem.directions(seed, Stage.META_DIRECTIONS, numbers, steps, q)


def _maml(setup: Setup, method: str) -> Learner:
    """MAML, exact."""
    config, maml = setup.config, setup.config.maml_of(method)
    settings = MAMLSettings(
        batches=training_batches(config, method),
        inner_steps=maml.inner_steps,
        alpha=maml.zo_alpha if setup.zeroth else maml.alpha,
        learning_rate=maml.learning_rate,
        decay=maml.decay,
        clip=config.clip,
    )
    return maml_learner(
        settings,
        setup.tuner.estimator,
        setup.backend,
        lambda: setup.problem.theta_0(setup.seed, Stage.PHI, [0])[0, ...],
        lambda batch, theta: [_maml_task(setup, maml, theta, batch)],
    )


def _maml_task(setup: Setup, maml: MAMLConfig, theta: Any, batch: int) -> Task:
    """The tasks of one meta-update; a task met again gets fresh directions."""
    problem, seed, tasks = setup.problem, setup.seed, setup.config.meta_tasks
    numbers = range(batch * maml.batch, (batch + 1) * maml.batch)
    train, val = problem.data(seed, Stage.META_TASK, [i % tasks for i in numbers])
    u = None
    if setup.zeroth:
        steps, q = range(maml.inner_steps), setup.config.directions
        u = problem.directions(seed, Stage.META_DIRECTIONS, numbers, steps, q)
    start = shared(theta, len(numbers), setup.backend)
    return Task(problem.sum_loss, train, val, start, u)


def fine_tuner(setup: Setup, method: str, flat: Any) -> Optimizer:
    """Return the update rule that a method uses on a test task."""
    config = setup.config
    if method in MAML:
        maml = config.maml_of(method)
        return sgd(maml.zo_test_alpha if setup.zeroth else maml.test_alpha)
    if method == "SGD":
        return sgd(config.sgd_zo_rate if setup.zeroth else config.sgd_rate)
    if method == "Adam":
        return adam(config.adam_zo_rate if setup.zeroth else config.adam_rate)
    return learned_rule(setup.tuner, setup.backend, config.lstm_units, flat)
