"""The methods that Figure 4 compares, as learners (meta-training) and as fine-tuners (testing)."""

from __future__ import annotations

from typing import Any, NamedTuple

from lft_backends.backend import Backend, get_backend
from lft_backends.draws import Stage, stream
from lft_ref import (
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
from lft_validation.experiments.figure4.config import LEARNED, MAML, ZEROTH, Config, MAMLConfig
from lft_validation.experiments.sine import SineProblem
from lft_validation.experiments.training import Learner, LearnerState, decaying

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
    problem: SineProblem
    tuner: FineTuner


def make_setup(config: Config, setting: str, seed: int) -> Setup:
    """Build what a job needs from plain settings."""
    backend = get_backend(config.backend, config.dtype, config.device)
    zeroth = setting == ZEROTH
    estimator: Estimator = ZerothOrder(config.mu) if zeroth else FirstOrder()
    preprocess = LogSign(config.p) if config.preprocess == "log_sign" else Identity()
    cell = Cell(preprocess, config.output_scale)
    problem = SineProblem(backend, config.hidden, config.shots, config.val_shots)
    tuner = FineTuner(cell, estimator, config.second_order, backend.ops)
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
            meta, setup.tuner, [task], weights, config.steps, optimizer, config.clip
        )
        return LearnerState(flatten(meta.params), meta.optimizer), infos[-1].meta_loss

    return Learner(init, update)


def meta_task(setup: Setup, method: str, batch: int) -> Task:
    """Return the tasks of one meta-update of LFT, L2O or L2O-train."""
    config, problem, seed = setup.config, setup.problem, setup.seed
    numbers = range(batch * config.meta_batch, (batch + 1) * config.meta_batch)
    tasks = [i % config.meta_tasks for i in numbers]  # one met again starts from another θ^(0)
    train, val = DATA[method](*problem.data(seed, Stage.META_TASK, tasks))
    theta_0 = problem.theta_0(seed, Stage.META_INIT, numbers)
    u = None
    if setup.zeroth:
        steps = range(config.steps)
        u = problem.directions(seed, Stage.META_DIRECTIONS, numbers, steps, config.directions)
    return Task(problem.sum_loss, train, val, theta_0, u)


def _maml(setup: Setup, method: str) -> Learner:
    """MAML, exact: the shared θ is updated with Adam on the mean of ∇_θ f(θ^(K); D_val)."""
    config, maml, problem = setup.config, setup.config.maml_of(method), setup.problem
    optimizer = adam(maml.learning_rate)
    if maml.decay:
        optimizer = decaying(optimizer, training_batches(config, method))
    alpha = maml.zo_alpha if setup.zeroth else maml.alpha

    def init() -> LearnerState:
        flat = problem.theta_0(setup.seed, Stage.PHI, [0])[0]
        return LearnerState(flat, optimizer.init(flat))

    def update(state: LearnerState, batch: int) -> tuple[LearnerState, Any]:
        xp = setup.backend.xp
        task = _maml_task(setup, maml, state.flat, batch)
        result = maml_gradient(task, alpha, maml.inner_steps, setup.tuner.estimator)
        gradient = clip_by_norm(xp.mean(result.grad, axis=0), config.clip)
        step, adam_state = optimizer.update(gradient, state.adam)
        return LearnerState(state.flat - step, adam_state), xp.mean(result.meta_loss)

    return Learner(init, update)


def _maml_task(setup: Setup, maml: MAMLConfig, theta: Any, batch: int) -> Task:
    """The tasks of one meta-update; a task met again gets fresh directions."""
    problem, seed, tasks = setup.problem, setup.seed, setup.config.meta_tasks
    numbers = range(batch * maml.batch, (batch + 1) * maml.batch)
    train, val = problem.data(seed, Stage.META_TASK, [i % tasks for i in numbers])
    u = None
    if setup.zeroth:
        steps, q = range(maml.inner_steps), setup.config.directions
        u = problem.directions(seed, Stage.META_DIRECTIONS, numbers, steps, q)
    start = setup.backend.xp.broadcast_to(theta, (len(numbers), problem.d))
    return Task(problem.sum_loss, train, val, start, u)


def fine_tuner(setup: Setup, method: str, flat: Any) -> Optimizer:
    """Return the update rule that a method uses on a test task."""
    config, cell = setup.config, setup.tuner.cell
    if method in MAML:
        maml = config.maml_of(method)
        return sgd(maml.zo_test_alpha if setup.zeroth else maml.test_alpha)
    if method == "SGD":
        return sgd(config.sgd_zo_rate if setup.zeroth else config.sgd_rate)
    if method == "Adam":
        return adam(config.adam_zo_rate if setup.zeroth else config.adam_rate)
    params = unflatten(setup.backend.asarray(flat), cell.preprocess.m, config.lstm_units)
    return learned(params, cell, setup.backend.ops)
