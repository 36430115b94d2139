"""The methods that are compared, as learners (meta-training) and as fine-tuners (testing)."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from lft_backends.backend import Backend, get_backend
from lft_backends.draws import Stage
from lft_ref import FineTuner, Optimizer, Task, adam, sgd, size
from lft_validation.experiments.fewshot.config import MAML, Config
from lft_validation.experiments.fewshot.tasks import FewShotProblem, make_problem
from lft_validation.experiments.groups import ENGINE, Group
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
from lft_validation.experiments.training import Learner
from lft_validation.experiments.unions import NONE, parts

AT_ONCE = 4  # classifiers that are judged together: the adjoint's result is the same


class Setup(NamedTuple):
    """One choice of training sources and shots with one seed, ready to compute."""

    config: Config
    seed: int
    shots: int
    backend: Backend
    problems: dict[str, FewShotProblem]  # by source
    training: tuple[str, ...]  # the sources that tasks of meta-training alternate between
    tuner: FineTuner
    segment: int | None  # of the unroll, where memory is short


def make_setup(
    config: Config, training: str, shots: int, seed: int, segment: int | None = None
) -> Setup:
    """Build what a job needs from plain settings."""
    backend = get_backend(config.backend, config.dtype, config.device)
    tuner = make_tuner(
        backend,
        config.preprocess,
        config.output_scale,
        p=config.p,
        second_order=config.second_order,
    )
    trained_on = () if training == NONE else tuple(parts(training))
    problems = {name: make_problem(config, backend, name) for name in config.sources}
    return Setup(config, seed, shots, backend, problems, trained_on, tuner, segment)


def training_batches(config: Config, method: str) -> int:
    """Return how many batches of tasks a method's meta-training consists of; 0 for none."""
    tasks = config.passes * config.meta_tasks
    if method in MAML:
        return tasks // config.maml_batch
    return tasks // config.meta_batch if method in LEARNED else 0


def learned_size(setup: Setup, method: str) -> int:
    """Return how many numbers a method learns: those of Φ, or of MAML's θ."""
    if method in MAML:
        (name,) = setup.training
        return setup.problems[name].network.size
    return size(setup.tuner.cell.preprocess.m, setup.config.lstm_units)


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
        clip=config.clip_norm,
        task_clip=config.task_clip,
    )
    return learned_learner(
        settings,
        setup.tuner,
        setup.backend,
        setup.seed,
        lambda batch: meta_groups(setup, method, batch),
        partial(ENGINE, segment=setup.segment, at_once=AT_ONCE),
    )


def meta_groups(setup: Setup, method: str, batch: int) -> list[Group]:
    """The tasks of one meta-batch, source after source.

    Task i < meta_tasks belongs to source i mod S, in every pass over them.
    """
    config, S = setup.config, len(setup.training)
    start, stop = batch * config.meta_batch, (batch + 1) * config.meta_batch
    groups = []
    for index, name in enumerate(setup.training):
        mine = range(start + (index - start % config.meta_tasks) % S, stop, S)
        plain = (config, name, setup.shots, setup.seed, method)
        groups += [Group(meta_task, (*plain, part)) for part in parts_of(mine, config.chunk)]
    return groups


def meta_task(
    config: Config, name: str, shots: int, seed: int, method: str, numbers: range
) -> Task:
    """Return the tasks of those numbers, on one source."""
    backend = get_backend(config.backend, config.dtype, config.device)
    problem = make_problem(config, backend, name)
    tasks = [i % config.meta_tasks for i in numbers]  # one met again starts from another θ^(0)
    train, val = DATA[method](*problem.data(seed, Stage.FEWSHOT_META_TASK, tasks, shots, "train"))
    theta_0 = problem.theta_0(seed, Stage.FEWSHOT_META_INIT, numbers)
    return Task(problem.loss, train, val, theta_0)


def _maml(setup: Setup, method: str) -> Learner:
    """MAML, exact or first-order, on the parameters of the one network."""
    config, seed = setup.config, setup.seed
    settings = MAMLSettings(
        batches=training_batches(config, method),
        inner_steps=config.maml_inner_steps,
        alpha=config.maml_alpha,
        learning_rate=config.maml_learning_rate,
        decay=True,
        clip=config.clip_norm,
        second_order=method == "MAML",
    )
    (name,) = setup.training
    problem = setup.problems[name]
    return maml_learner(
        settings,
        setup.tuner.estimator,
        setup.backend,
        lambda: problem.theta_0(seed, Stage.FEWSHOT_MAML_INIT, [0])[0, ...],
        lambda batch, theta: [_maml_task(setup, problem, theta, batch)],
    )


def _maml_task(setup: Setup, problem: FewShotProblem, theta: Any, batch: int) -> Task:
    """The tasks of one meta-batch, from the shared θ."""
    config = setup.config
    numbers = range(batch * config.maml_batch, (batch + 1) * config.maml_batch)
    tasks = [i % config.meta_tasks for i in numbers]
    train, val = problem.data(setup.seed, Stage.FEWSHOT_META_TASK, tasks, setup.shots, "train")
    return Task(problem.loss, train, val, shared(theta, len(tasks), setup.backend))


def fine_tuner(setup: Setup, method: str, flat: Any) -> Optimizer:
    """Return the update rule that a method uses on a test task."""
    config = setup.config
    if method in MAML:
        return sgd(config.maml_alpha)
    if method == "SGD":
        return sgd(config.sgd_rate)
    if method == "Adam":
        return adam(config.adam_rate)
    return learned_rule(setup.tuner, setup.backend, config.lstm_units, flat)
