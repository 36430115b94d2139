"""Random cases: arguments of an engine, and what draws them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from lft_ref import (
    Activation,
    AttackLoss,
    Cell,
    Conv2d,
    CrossEntropy,
    Data,
    Dense,
    FineTuner,
    FirstOrder,
    Flatten,
    Identity,
    LogSign,
    LSTMParams,
    LSTMState,
    Network,
    NetworkLoss,
    Objective,
    Pool2d,
    Quadratic,
    SquaredError,
    Task,
    ZerothOrder,
    mlp,
    size,
    unflatten,
    weights_every_step,
    weights_last_step,
    weights_linear,
    weights_mean,
)

OBJECTIVES = (
    "quadratic",
    "squared_sum_relu",
    "squared_mean_tanh",
    "squared_sum_tanh_deep",
    "linear",
    "cross_entropy_sum_tanh",
    "cross_entropy_mean_relu",
    "convolution",
    "attack_tanh",
    "attack_relu",
)
WEIGHTS = {
    "every_step": weights_every_step,
    "linear": weights_linear,
    "last_step": weights_last_step,
    "mean": weights_mean,
}
ESTIMATORS = ("first_order", "gaussian", "sphere", "coordinate")


class Case(NamedTuple):
    """Arguments of an engine."""

    params: LSTMParams
    tuner: FineTuner
    task: Task
    weights: tuple[float, ...]
    state_0: LSTMState | None = None
    truncate: int | None = None


def random_params(rng: np.random.Generator, m: int, n: int) -> LSTMParams:
    """Φ of order 1, b_o included, so that every term counts.

    Fed raw gradients (m = 1), W_x is smaller: gates that are all open or shut would hide mistakes.
    """
    params = unflatten(rng.uniform(-1.0, 1.0, size(m, n)), m, n)
    return params._replace(W_x=params.W_x * (0.2 if m == 1 else 1.0))


def random_state(rng: np.random.Generator, shape: tuple[int, ...], n: int) -> LSTMState:
    return LSTMState(*rng.uniform(-0.9, 0.9, (2, *shape, n)))


def random_objective(
    rng: np.random.Generator, name: str, batch: tuple[int, ...] = (), d: int = 3
) -> tuple[Objective, int, Callable[[int], Data]]:
    """An objective, the number of its parameters, and what draws N examples for it."""
    if name == "quadratic":
        return (
            Quadratic(),
            d,
            lambda N: Data(rng.normal(size=(*batch, N, d)), rng.normal(size=(*batch, N))),
        )
    sizes = {"squared_sum_tanh_deep": (2, 2, 3, 1), "linear": (2, 2)}.get(name, (2, 3, 2))
    network = mlp(sizes, "relu" if name.endswith("relu") else "tanh")
    if name in ("convolution", "attack_tanh", "attack_relu"):
        return _image_objective(rng, name, batch)
    reduction = "mean" if "_mean_" in name else "sum"
    if name.startswith("cross_entropy"):
        return (
            NetworkLoss(network, CrossEntropy(reduction)),
            network.size,
            lambda N: Data(
                rng.normal(size=(*batch, N, 2)), rng.integers(sizes[-1], size=(*batch, N))
            ),
        )
    return (
        NetworkLoss(network, SquaredError(reduction)),
        network.size,
        lambda N: Data(
            rng.normal(size=(*batch, N, 2)), 0.5 * rng.normal(size=(*batch, N, sizes[-1]))
        ),
    )


def image_network(activation: str) -> Network:
    """A small network with a convolution, pooling and a dense layer: 1 × 4 × 4 to 3 classes."""
    phi = Activation("relu" if activation == "relu" else "tanh")
    pool = Pool2d("max" if activation == "relu" else "average")
    return Network((Conv2d(1, 2, 2, padding=1), pool, phi, Flatten(), Dense(8, 3)))


def _image_objective(
    rng: np.random.Generator, name: str, batch: tuple[int, ...]
) -> tuple[Objective, int, Callable[[int], Data]]:
    """Cross-entropy of a network for images, or the attack (12) on one, images in [-2, 2]."""
    network = image_network("relu" if name.endswith("relu") else "tanh")

    def draw(N: int) -> Data:
        images = rng.uniform(-2.0, 2.0, size=(*batch, N, 1, 4, 4))
        return Data(images, rng.integers(3, size=(*batch, N)))

    if name == "convolution":
        return NetworkLoss(network, CrossEntropy()), network.size, draw
    weights = rng.normal(size=network.size)
    clip = name.endswith("tanh")
    return AttackLoss(network, weights, 0.5, 0.1, (-2.0, 2.0), clip), 16, draw


def random_directions(
    rng: np.random.Generator, scaling: str, K: int, q: int, shape: tuple[int, ...]
) -> np.ndarray:
    """Directions (K, q, *shape) of eq. (6) as ``scaling`` wants them."""
    d = shape[-1]
    if scaling == "coordinate":
        eye = np.eye(d).reshape(d, *(1,) * (len(shape) - 1), d)
        return np.broadcast_to(eye, (K, d, *shape)).copy()
    u = rng.normal(size=(K, q, *shape))
    return u / np.linalg.norm(u, axis=-1, keepdims=True) if scaling == "sphere" else u


def random_case(
    seed: int,
    objective: str = "quadratic",
    estimator: str = "first_order",
    *,
    n: int = 2,
    K: int = 3,
    d: int = 3,
    m: int = 2,
    batch: tuple[int, ...] = (),
    shared_data: bool = False,
    antithetic: bool = False,
    mu: float = 0.1,
    second_order: bool = True,
    output_scale: float = 0.5,
    with_state: bool = False,
    truncate: int | None = None,
    weights: str = "random",
) -> Case:
    """Asymmetric random arguments in general position; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    f, d, draw = random_objective(rng, objective, () if shared_data else batch, d)
    train, val = draw(3), draw(4)
    preprocess = LogSign() if m == 2 else Identity()
    theta_0 = 0.7 * rng.normal(size=(*batch, d))
    how, directions = FirstOrder(), None
    if estimator != "first_order":
        how = ZerothOrder(mu, estimator, antithetic)
        directions = random_directions(rng, estimator, K, 2, theta_0.shape)
    tuner = FineTuner(Cell(preprocess, output_scale), how, second_order)
    state_0 = random_state(rng, theta_0.shape, n) if with_state else None
    task = Task(f, train, val, theta_0, directions)
    w = WEIGHTS[weights](K) if weights in WEIGHTS else tuple(rng.normal(size=K).tolist())
    return Case(random_params(rng, m, n), tuner, task, w, state_0, truncate)


def settings_of_cases() -> st.SearchStrategy[dict[str, Any]]:
    """Keyword arguments of :func:`random_case`: all that an engine's answer may depend on."""
    return st.fixed_dictionaries(
        {
            "seed": st.integers(0, 2**32 - 1),
            "estimator": st.sampled_from(ESTIMATORS),
            "n": st.integers(1, 4),
            "K": st.integers(1, 5),
            "d": st.integers(1, 5),
            "m": st.sampled_from([1, 2]),
            "batch": st.sampled_from([(), (2,), (2, 1)]),
            "shared_data": st.booleans(),
            "antithetic": st.booleans(),
            "mu": st.sampled_from([0.5, 0.1, 0.02]),
            "second_order": st.booleans(),
            "output_scale": st.sampled_from([0.1, 0.7]),
            "with_state": st.booleans(),
            "truncate": st.sampled_from([None, 1, 2, 3]),
            "weights": st.sampled_from([*WEIGHTS, "random"]),
        }
    )
