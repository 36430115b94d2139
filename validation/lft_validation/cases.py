"""Small random complete problems: what test vectors hold and what gradient checks run on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lft_backends.draws import Stage, stream
from lft_ref import (
    Cell,
    CrossEntropy,
    Data,
    Estimator,
    FineTuner,
    FirstOrder,
    Identity,
    LogSign,
    LSTMParams,
    LSTMState,
    NetworkLoss,
    Preprocess,
    Quadratic,
    SquaredError,
    Task,
    Trajectory,
    ZerothOrder,
    mlp,
    network_from_draws,
    size,
    unflatten,
    unroll,
    weights_every_step,
    weights_last_step,
    weights_linear,
    weights_mean,
)
from lft_ref.layers import Activation

OBJECTIVES = ("quadratic", "mlp_mse", "mlp_cross_entropy")
ACTIVATIONS = ("relu", "tanh")
REDUCTIONS = ("sum", "mean")
LOG_SIGN_MARGIN = 1e-6  # relative distance of |g| from e^-p
RELU_MARGIN = 1e-7  # distance of a ReLU's input from 0
TINY = 1e-5  # brings one coordinate of g below e^-10, so that both branches of log/sign are used


class Case(NamedTuple):
    """One problem; the words and sizes say again what is in ``task.objective``."""

    params: LSTMParams
    tuner: FineTuner
    task: Task
    weights: tuple[float, ...]
    state_0: LSTMState
    objective: str
    layer_sizes: tuple[int, ...] = ()  # of networks
    activation: str = ""
    reduction: str = ""

    @property
    def K(self) -> int:
        """Number of fine-tuning steps."""
        return len(self.weights)

    @property
    def d(self) -> int:
        """Number of coordinates of θ."""
        return int(self.task.theta_0.shape[-1])

    @property
    def estimator(self) -> str:
        """``first_order`` or ``zeroth_order``."""
        return "first_order" if isinstance(self.tuner.estimator, FirstOrder) else "zeroth_order"

    @property
    def preprocess(self) -> str:
        """``identity`` or ``log_sign``."""
        return "identity" if isinstance(self.tuner.cell.preprocess, Identity) else "log_sign"


class Choices(NamedTuple):
    """What the index of a random case decides; everything else is drawn."""

    objective: str
    zeroth_order: bool
    log_sign: bool
    second_order: bool
    activation: str
    reduction: str
    weighting: int


class Margins(NamedTuple):
    """How far a case stays from its kinks; infinite where it has none."""

    log_sign: float  # smallest | |g| e^p - 1 |
    relu: float  # smallest |input of a ReLU|

    @property
    def near_kink(self) -> bool:
        """Whether rounding might put two computations on different sides of a kink."""
        return self.log_sign < LOG_SIGN_MARGIN or self.relu < RELU_MARGIN


def choices(index: int) -> Choices:
    """Return the options of case ``index``.

    Objective, estimator, preprocessing and second order run through all 24 combinations in 24
    consecutive indices, and with each objective every two of the other options meet in all ways.
    Weightings take turns of five.
    """
    a, b, c, turn = (index // 3 % 2, index // 6 % 2, index // 12 % 2, index // 24)
    return Choices(
        objective=OBJECTIVES[index % 3],
        zeroth_order=bool(a),
        log_sign=bool(b),
        second_order=bool(c),
        activation=ACTIVATIONS[(a + b + turn) % 2],
        reduction=REDUCTIONS[(a + c + turn // 2) % 2],
        weighting=index % 5,
    )


def random_case(seed: int, index: int) -> Case:
    """Return problem ``index`` of ``seed``, drawn again until it stays away from kinks.

    Raises:
        ValueError: if seed or index is negative.
    """
    streams = (stream(seed, Stage.CASE, task=index, step=t) for t in itertools.count())
    cases = (_draw(rng, index) for rng in streams)
    return next(case for case in cases if not margins(case).near_kink)


def margins(case: Case) -> Margins:
    """Return how near the trajectory of a case comes to e^-p and to the kinks of its ReLUs."""
    path = unroll(case.params, case.tuner, case.task, case.K, case.state_0)
    preprocess, log_sign = case.tuner.cell.preprocess, math.inf
    if isinstance(preprocess, LogSign):
        g = np.stack(path.g)
        log_sign = float(np.min(np.abs(np.abs(g) * math.exp(preprocess.p) - 1.0)))
    relu = min((float(np.min(np.abs(x))) for x in _relu_inputs(case, path)), default=math.inf)
    return Margins(log_sign, relu)


def _relu_inputs(case: Case, path: Trajectory) -> Iterator[np.ndarray]:
    """Inputs of every ReLU at every point at which the case's losses are computed."""
    if not isinstance(case.task.objective, NetworkLoss):
        return
    network, theta = case.task.objective.network, np.stack(path.theta)
    places = [(theta[:-1], case.task.train), (theta[1:], case.task.val)]
    if isinstance(case.tuner.estimator, ZerothOrder):
        u = case.task.directions[: case.K]  # type: ignore[index]
        at = theta[:-1, None] + case.tuner.estimator.mu * u  # (K, q, d)
        places.append((at, case.task.train))
    for at, data in places:
        xs = network.activations(at, data.x)
        for layer, x in zip(network.layers, xs[:-1], strict=True):
            if isinstance(layer, Activation) and layer.kind == "relu":
                yield x


def _draw(rng: np.random.Generator, index: int) -> Case:
    """Draw everything that the index does not decide."""
    option = choices(index)
    n = 10 if index % 8 == 7 else int(rng.integers(1, 7))
    K = int(rng.integers(1, 9))
    preprocess: Preprocess = LogSign() if option.log_sign else Identity()
    cell = Cell(preprocess, float(rng.uniform(0.05, 0.3)))
    flat = rng.normal(0.0, rng.uniform(0.2, 0.6), size(preprocess.m, n))
    tiny = option.log_sign and rng.random() < 0.5
    case = _quadratic(rng) if option.objective == "quadratic" else _network(rng, option)
    task, estimator = case.task, _estimator(rng, option)
    if option.zeroth_order:
        task = task._replace(directions=rng.standard_normal((K, int(rng.integers(1, 5)), case.d)))
    rest = not rng.integers(0, 3)
    state = (np.zeros((case.d, n)) if rest else rng.normal(0, 0.4, (case.d, n)) for _ in "hc")
    return case._replace(
        params=unflatten(flat, preprocess.m, n),
        tuner=FineTuner(cell, estimator, option.second_order),
        task=_with_tiny_gradient(task) if tiny else task,
        weights=_weights(rng, option.weighting, K),
        state_0=LSTMState(*state),
    )


def _estimator(rng: np.random.Generator, option: Choices) -> Estimator:
    mu = 10.0 ** rng.uniform(-3, -1)
    return ZerothOrder(float(mu)) if option.zeroth_order else FirstOrder()


def _weights(rng: np.random.Generator, weighting: int, K: int) -> tuple[float, ...]:
    """The three choices of eq. (4), Theorem 1's, or random ones."""
    named = (weights_every_step, weights_linear, weights_last_step, weights_mean)
    if weighting < len(named):
        return named[weighting](K)
    return tuple(float(w) for w in rng.uniform(0.1, 2.0, K))


def _incomplete(task: Task, objective: str) -> Case:
    """A case without a fine-tuner: :func:`_draw` puts it in."""
    none: list[object] = [np.zeros(0)] * 5
    return Case(LSTMParams(*none), FineTuner(), task, (), LSTMState(none[0], none[0]), objective)


def _quadratic(rng: np.random.Generator) -> Case:
    d = int(np.exp(rng.uniform(0.0, np.log(61.0))))
    sizes = rng.integers(1, 7, 2)
    train, val = (Data(rng.standard_normal((N, d)), rng.standard_normal(N)) for N in sizes)
    return _incomplete(Task(Quadratic(), train, val, rng.standard_normal(d)), "quadratic")


def _network(rng: np.random.Generator, option: Choices) -> Case:
    classes = option.objective == "mlp_cross_entropy"
    hidden = rng.integers(1, 6, int(rng.integers(1, 3)))
    out = rng.integers(2, 5) if classes else rng.integers(1, 4)
    layer_sizes = tuple(int(width) for width in (rng.integers(1, 4), *hidden, out))
    network = mlp(layer_sizes, option.activation)
    loss = (CrossEntropy if classes else SquaredError)(option.reduction)
    train, val = (
        Data(
            rng.standard_normal((N, layer_sizes[0])),
            rng.integers(0, out, N) if classes else rng.standard_normal((N, int(out))),
        )
        for N in rng.integers(1, 7, 2)
    )
    theta_0 = network_from_draws(network, rng.uniform(-1.5, 1.5, network.size))
    case = _incomplete(Task(NetworkLoss(network, loss), train, val, theta_0), option.objective)
    return case._replace(
        layer_sizes=layer_sizes, activation=option.activation, reduction=option.reduction
    )


def _with_tiny_gradient(task: Task) -> Task:
    """Scale one input, or one coordinate of the directions, so that coordinate 0 of g is tiny."""
    if task.directions is not None:
        scale = np.ones(task.directions.shape[-1])
        scale[0] = TINY
        return task._replace(directions=task.directions * scale)
    scale = np.ones(task.train.x.shape[-1])
    scale[0] = TINY
    train, val = (data._replace(x=data.x * scale) for data in (task.train, task.val))
    return task._replace(train=train, val=val)
