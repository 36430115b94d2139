"""The methods that Table 1 compares, as learners (meta-training) and as fine-tuners (testing)."""

from __future__ import annotations

from typing import Any, NamedTuple

from lft_backends.backend import Backend, get_backend
from lft_backends.draws import Stage, stream
from lft_ref import (
    AttackLoss,
    Cell,
    Estimator,
    FineTuner,
    FirstOrder,
    Identity,
    LogSign,
    MetaState,
    Optimizer,
    Task,
    ZerothOrder,
    adam,
    clip_by_norm,
    flatten,
    from_draws,
    l2o_data,
    l2o_train_data,
    learned,
    lft_data,
    maml_gradient,
    meta_gradient,
    sgd,
    size,
    train_on,
    unflatten,
)
from lft_validation.experiments.training import Learner, LearnerState, decaying
from lft_validation.experiments.uap.config import (
    LEARNED,
    MAML,
    NONE,
    ZEROTH,
    Config,
    parts,
)
from lft_validation.experiments.uap.pgd import pgd
from lft_validation.experiments.uap.tasks import AttackProblem, make_problem

DATA = {"LFT": lft_data, "L2O": l2o_data, "L2O-train": l2o_train_data}
WEIGHTS = {
    "every": meta_gradient.weights_every_step,
    "linear": meta_gradient.weights_linear,
    "last": meta_gradient.weights_last_step,
    "mean": meta_gradient.weights_mean,
}


class Setup(NamedTuple):
    """One setting (first or zeroth order) with one seed, ready to compute."""

    config: Config
    zeroth: bool
    seed: int
    backend: Backend
    problems: dict[str, AttackProblem]  # by source
    training: tuple[str, ...]  # the sources that meta-batches alternate between
    tuner: FineTuner


def make_setup(config: Config, setting: str, seed: int, training: str) -> Setup:
    """Build what a job needs from plain settings."""
    backend = get_backend(config.backend, config.dtype, config.device)
    zeroth = setting == ZEROTH
    estimator: Estimator = ZerothOrder(config.mu) if zeroth else FirstOrder()
    preprocess = LogSign() if config.preprocess == "log_sign" else Identity()
    tuner = FineTuner(Cell(preprocess, config.output_scale), estimator, ops=backend.ops)
    trained_on = () if training == NONE else tuple(parts(training))
    problems = {name: make_problem(config, backend, name) for name in config.sources}
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
    config, m, n = setup.config, setup.tuner.cell.preprocess.m, setup.config.lstm_units
    updates = training_batches(config, method) * (config.steps // config.unroll)
    optimizer = decaying(adam(config.learning_rate), updates)
    weights = WEIGHTS[config.weighting](config.unroll)

    def init() -> LearnerState:
        draws = stream(setup.seed, Stage.PHI).uniform(-1, 1, size(m, n))
        flat = flatten(from_draws(setup.backend.asarray(draws), m, n))
        return LearnerState(flat, optimizer.init(flat))

    def update(state: LearnerState, batch: int) -> tuple[LearnerState, Any]:
        task = meta_task(setup, method, batch)
        meta = MetaState(unflatten(state.flat, m, n), state.adam, 0)
        meta, infos = train_on(
            meta, setup.tuner, [task], weights, config.steps, optimizer, config.clip_norm
        )
        return LearnerState(flatten(meta.params), meta.optimizer), infos[-1].meta_loss

    return Learner(init, update)


def meta_task(setup: Setup, method: str, batch: int) -> Task:
    """The tasks of one meta-batch. Those of a union alternate between its sources."""
    config, seed = setup.config, setup.seed
    problem = setup.problems[setup.training[batch % len(setup.training)]]
    numbers = range(batch * config.meta_batch, (batch + 1) * config.meta_batch)
    train, val = DATA[method](*problem.data(seed, Stage.UAP_META_TASK, numbers))
    theta_0 = problem.theta_0(seed, Stage.UAP_META_INIT, numbers)
    u = None
    if setup.zeroth:
        u = problem.directions(seed, Stage.UAP_META_DIRECTIONS, numbers, range(config.steps))
    return Task(problem.loss, train, val, theta_0, u)


def _maml(setup: Setup) -> Learner:
    """MAML, exact: the shared θ is updated with Adam on the mean of ∇_θ f(θ^(K); D_val)."""
    config, seed, xp = setup.config, setup.seed, setup.backend.xp
    optimizer = decaying(adam(config.maml_learning_rate), training_batches(config, MAML))
    alpha = config.maml_zo_alpha if setup.zeroth else config.maml_alpha
    (name,) = setup.training
    problem = setup.problems[name]

    def init() -> LearnerState:
        flat = problem.theta_0(seed, Stage.UAP_MAML_INIT, [0])[0, ...]
        return LearnerState(flat, optimizer.init(flat))

    def update(state: LearnerState, batch: int) -> tuple[LearnerState, Any]:
        numbers = range(batch * config.maml_batch, (batch + 1) * config.maml_batch)
        train, val = problem.data(seed, Stage.UAP_META_TASK, numbers)
        start, K = xp.broadcast_to(state.flat, (len(numbers), problem.d)), config.maml_inner_steps
        u = None
        if setup.zeroth:
            u = problem.directions(seed, Stage.UAP_META_DIRECTIONS, numbers, range(K))
        task = Task(problem.loss, train, val, start, u)
        result = maml_gradient(task, alpha, K, setup.tuner.estimator)
        gradient = clip_by_norm(xp.mean(result.grad, axis=0), config.clip_norm)
        step, adam_state = optimizer.update(gradient, state.adam)
        return LearnerState(state.flat - step, adam_state), xp.mean(result.meta_loss)

    return Learner(init, update)


def fine_tuner(setup: Setup, method: str, flat: Any) -> Optimizer:
    """Return the update rule that a method uses on a test task."""
    config, cell, zeroth = setup.config, setup.tuner.cell, setup.zeroth
    if method == MAML:
        return sgd(config.maml_zo_alpha if zeroth else config.maml_alpha)
    if method == "PGD":
        return pgd(config.pgd_rate, config.pgd_radius, setup.backend.xp)
    if method == "SGD":
        return sgd(config.sgd_zo_rate if zeroth else config.sgd_rate)
    if method == "Adam":
        return adam(config.adam_zo_rate if zeroth else config.adam_rate)
    params = unflatten(setup.backend.asarray(flat), cell.preprocess.m, config.lstm_units)
    return learned(params, cell, setup.backend.ops)


def tuned_loss(problem: AttackProblem, method: str) -> AttackLoss:
    """What a method descends on: (12); PGD without its λ ‖θ‖₁, since it projects instead."""
    return problem.loss._replace(l1=0.0) if method == "PGD" else problem.loss
