"""What is measured: unrolls of one fine-tuner on four kinds of tasks, as float64 on the host.

Every contestant gets these numbers, and no other. Gradients stay away from the log/sign threshold
e^-p on quadratics, where float32 would say more about the problem than about the program.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lft_backends.backend import Backend, get_backend
from lft_backends.draws import Stage, stream
from lft_ref import (
    AttackLoss,
    CrossEntropy,
    Data,
    LSTMParams,
    NetworkLoss,
    Objective,
    Task,
    cnn,
    from_draws,
    network_from_draws,
    size,
    weights_every_step,
    weights_last_step,
)
from lft_ref._array import Array, namespace

HUGE = 10_000_000  # coordinates, of which a GPU alone has the memory and the time
SEED = 100  # not one of the reported seeds
FEATURES = 2  # log/sign
UNITS = 10
STEPS = 20
TRAINING_STEPS = 200  # of the task that Φ is trained on
LEARNING_RATE, CLIP = 1e-3, 1.0  # of Adam on Φ, as in Table 1


class Diagonal(NamedTuple):
    """f(θ; a, b) = ½ Σ a (θ − b)², the cheapest task there is: the cell takes all the time."""

    def value(self, theta: Array, data: Data) -> Array:
        """Return f (...,)."""
        r = theta - data.y
        return 0.5 * namespace(theta).sum(data.x * r * r, axis=-1)

    def grad(self, theta: Array, data: Data) -> Array:
        """Return a (θ − b)."""
        return data.x * (theta - data.y)

    def hvp(self, theta: Array, data: Data, v: Array) -> Array:
        """Return a v."""
        return data.x * v


class Problem(NamedTuple):
    """Φ and a batch of tasks, with w_1 … w_K; all arrays float64 (classes: integer)."""

    kind: str  # quadratic, sine, cnn or attack
    params: LSTMParams
    task: Task
    weights: tuple[float, ...]
    updates: int = 1  # of Φ, one after each unroll, where Φ is trained

    @property
    def d(self) -> int:
        """Number of coordinates of one task."""
        return int(self.task.theta_0.shape[-1])

    @property
    def tasks(self) -> int:
        """Number of tasks in the batch."""
        return int(np.prod(self.task.theta_0.shape[:-1], dtype=int))

    @property
    def coordinate_steps(self) -> int:
        """Coordinates times steps, the unit of work."""
        return self.d * self.tasks * len(self.weights)


def quadratic(d: int, K: int = STEPS, n: int = UNITS, tasks: int = 1) -> Problem:
    """Diagonal quadratics, whose gradients keep a distance from 0 during the unroll."""
    rng = stream(SEED, Stage.BENCH, task=0)
    shape = (d,) if tasks == 1 else (tasks, d)
    train, val = (Data(rng.uniform(0.5, 2.0, shape), rng.normal(0.0, 0.1, shape)) for _ in "tv")
    theta_0 = rng.choice([-1.0, 1.0], shape) * rng.uniform(2.0, 4.0, shape)
    return Problem(
        "quadratic", draw_params(n), Task(Diagonal(), train, val, theta_0), weights_every_step(K)
    )


def sine(tasks: int = 8, K: int = STEPS, hidden: tuple[int, ...] = (40, 40)) -> Problem:
    """Regressors of Figure 4 on several sine waves at once."""
    from lft_validation.experiments.sine import SineProblem

    waves = SineProblem(get_backend("numpy", "float64"), hidden, shots=10, val_shots=10)
    numbers = range(tasks)
    train, val = waves.data(SEED, Stage.META_TASK, numbers)
    theta_0 = waves.theta_0(SEED, Stage.META_INIT, numbers)
    task = Task(waves.sum_loss, train, val, theta_0)
    return Problem("sine", draw_params(UNITS), task, weights_every_step(K))


def attack(source: str, K: int = STEPS, updates: int = 1) -> Problem:
    """One universal perturbation, 2 classes × 2 images, against the victim of that source.

    Raises:
        UserError: if the images are not on this machine.
    """
    from lft_validation.experiments.uap.config import make_config
    from lft_validation.experiments.uap.tasks import make_problem

    config = make_config("quick", {"training": source, "testing": source})
    tasks = make_problem(config, get_backend("numpy", "float64"), source)
    train, val = tasks.data(SEED, Stage.UAP_META_TASK, [0])
    theta_0 = tasks.theta_0(SEED, Stage.UAP_META_INIT, [0])
    task = Task(tasks.loss, train, val, theta_0)
    return Problem("attack", draw_params(UNITS), task, weights_last_step(K), updates)


def cnn_task(
    K: int = STEPS, shape: tuple[int, int, int] = (3, 32, 32), blocks: int = 4, filters: int = 16
) -> Problem:
    """A CNN of Table 2 that learns 2 classes of 5 images, and D_val of 15: noise for images."""
    network, (low, high) = cnn(shape, blocks, filters, ways=2), (-0.5, 0.5)
    rng = stream(SEED, Stage.BENCH, task=2)

    def data(each: int) -> Data:
        x = rng.uniform(low, high, (1, 2 * each, *shape))
        return Data(x, np.repeat(np.arange(2), each)[None])

    theta_0 = network_from_draws(network, rng.uniform(-1.0, 1.0, (1, network.size)))
    task = Task(NetworkLoss(network, CrossEntropy("mean")), data(5), data(15), theta_0)
    return Problem("cnn", draw_params(UNITS), task, weights_every_step(K))


def draw_params(n: int) -> LSTMParams:
    """A usual initial Φ."""
    draws = stream(SEED, Stage.PHI).uniform(-1.0, 1.0, size(FEATURES, n))
    return from_draws(draws, FEATURES, n)


def send(problem: Problem, backend: Backend) -> Problem:
    """The same problem as arrays of a backend, in its precision, with its twins of networks."""
    task = problem.task
    train, val = (Data(*(backend.asarray(a) for a in data)) for data in (task.train, task.val))
    objective: Objective = task.objective
    network: Any = getattr(objective, "network", None)
    if isinstance(objective, AttackLoss):
        weights = backend.asarray(np.asarray(objective.weights))
        objective = backend.fuse_attack(objective._replace(weights=weights))
    elif isinstance(objective, NetworkLoss):
        objective = objective._replace(network=backend.fuse_optimizee(network))
    return problem._replace(
        params=LSTMParams(*(backend.asarray(np.asarray(a)) for a in problem.params)),
        task=Task(objective, train, val, backend.asarray(task.theta_0)),
    )
