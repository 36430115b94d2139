"""The methods that Table 1 compares, as learners (meta-training) and as fine-tuners (testing)."""

from __future__ import annotations

from typing import Any, NamedTuple

from lft_backends.backend import Backend, get_backend
from lft_backends.draws import Stage
from lft_ref import AttackLoss, FineTuner, Optimizer, Task, adam, sgd
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
from lft_validation.experiments.training import Learner
from lft_validation.experiments.uap.config import MAML, ZEROTH, Config
from lft_validation.experiments.uap.pgd import pgd
from lft_validation.experiments.uap.tasks import AttackProblem, make_problem
from lft_validation.experiments.unions import NONE, parts


class Setup(NamedTuple):
    """One setting (first or zeroth order) with one seed, ready to compute."""

    config: Config
    zeroth: bool
    seed: int
    backend: Backend
    problems: dict[str, AttackProblem]  # by source
    training: tuple[str, ...]  # the sources that meta-batches alternate between
    tuner: FineTuner


def make_setup(
    config: Config, setting: str, seed: int, training: str, more: tuple[str, ...] = ()
) -> Setup:
    """Build what a job needs from plain settings; ``more`` are sources beside those of the run."""
    backend = get_backend(config.backend, config.dtype, config.device)
    zeroth = setting == ZEROTH
    mu = config.mu if zeroth else None
    tuner = make_tuner(backend, config.preprocess, config.output_scale, mu, config.p)
    trained_on = () if training == NONE else tuple(parts(training))
    problems = {name: make_problem(config, backend, name) for name in (*config.sources, *more)}
    return Setup(config, zeroth, seed, backend, problems, trained_on, tuner)


def training_batches(config: Config, method: str) -> int:
    """Return how many batches of tasks a method's meta-training consists of; 0 for none."""
    if method == MAML:
        return config.meta_tasks // config.maml_batch
    return config.meta_tasks // config.meta_batch if method in LEARNED else 0


def learner(setup: Setup, method: str) -> Learner:
    """Return the meta-training of one method."""
    return _maml(setup) if method == MAML else _learned(setup, method)


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
    )


def meta_groups(setup: Setup, method: str, batch: int) -> list[Group]:
    """The tasks of one meta-batch. Those of a union alternate between its sources."""
    config = setup.config
    name = setup.training[batch % len(setup.training)]
    numbers = range(batch * config.meta_batch, (batch + 1) * config.meta_batch)
    directions = meta_directions if setup.zeroth else None
    return [
        Group(meta_task, (config, name, setup.seed, method, part), directions)
        for part in parts_of(numbers, config.chunk)
    ]


def meta_task(config: Config, name: str, seed: int, method: str, numbers: range) -> Task:
    """Return the tasks of those numbers, on one source."""
    problem = _problem(config, name)
    train, val = DATA[method](*problem.data(seed, Stage.UAP_META_TASK, numbers))
    return Task(problem.loss, train, val, problem.theta_0(seed, Stage.UAP_META_INIT, numbers))


def meta_directions(
    config: Config, name: str, seed: int, _method: str, numbers: range, steps: range
) -> Any:
    """Return the directions of (6) of the same tasks (steps, q, tasks, d)."""
    return _problem(config, name).directions(seed, Stage.UAP_META_DIRECTIONS, numbers, steps)


def _problem(config: Config, name: str) -> AttackProblem:
    backend = get_backend(config.backend, config.dtype, config.device)
    return make_problem(config, backend, name)


def _maml(setup: Setup) -> Learner:
    """MAML, exact, on the perturbation."""
    config, seed = setup.config, setup.seed
    settings = MAMLSettings(
        batches=training_batches(config, MAML),
        inner_steps=config.maml_inner_steps,
        alpha=config.maml_zo_alpha if setup.zeroth else config.maml_alpha,
        learning_rate=config.maml_learning_rate,
        decay=True,
        clip=config.clip_norm,
    )
    (name,) = setup.training
    problem = setup.problems[name]
    return maml_learner(
        settings,
        setup.tuner.estimator,
        setup.backend,
        lambda: problem.theta_0(seed, Stage.UAP_MAML_INIT, [0])[0, ...],
        lambda batch, theta: [_maml_task(setup, problem, theta, batch)],
    )


def _maml_task(setup: Setup, problem: AttackProblem, theta: Any, batch: int) -> Task:
    """The tasks of one meta-batch, from the shared θ."""
    config, seed = setup.config, setup.seed
    numbers = range(batch * config.maml_batch, (batch + 1) * config.maml_batch)
    train, val = problem.data(seed, Stage.UAP_META_TASK, numbers)
    u = None
    if setup.zeroth:
        steps = range(config.maml_inner_steps)
        u = problem.directions(seed, Stage.UAP_META_DIRECTIONS, numbers, steps)
    return Task(problem.loss, train, val, shared(theta, len(numbers), setup.backend), u)


def fine_tuner(setup: Setup, method: str, flat: Any) -> Optimizer:
    """Return the update rule that a method uses on a test task."""
    config, zeroth = setup.config, setup.zeroth
    if method == MAML:
        return sgd(config.maml_zo_alpha if zeroth else config.maml_alpha)
    if method == "PGD":
        return pgd(config.pgd_rate, config.pgd_radius, setup.backend.xp)
    if method == "SGD":
        return sgd(config.sgd_zo_rate if zeroth else config.sgd_rate)
    if method == "Adam":
        return adam(config.adam_zo_rate if zeroth else config.adam_rate)
    return learned_rule(setup.tuner, setup.backend, config.lstm_units, flat)


def tuned_loss(problem: AttackProblem, method: str) -> AttackLoss:
    """What a method descends on: (12); PGD without its λ ‖θ‖₁, since it projects instead."""
    return problem.loss._replace(l1=0.0) if method == "PGD" else problem.loss
