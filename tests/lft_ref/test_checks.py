"""What the checks of arguments let pass: losses, layers and optimizees of other people, and NaN."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from lft_ref import (
    CrossEntropy,
    Data,
    Dense,
    FineTuner,
    Network,
    NetworkLoss,
    Quadratic,
    SquaredError,
    Task,
    adjoint,
    forward_mode,
    from_draws,
    maml_gradient,
    mlp,
    size,
    unroll,
)
from lft_ref.checks_data import check_data
from tests.device_array import to_device
from tests.random_cases import random_case

PHI = from_draws(np.random.default_rng(0).uniform(-1, 1, size(2, 2)), 2, 2)
X = np.random.default_rng(1).normal(size=(5, 2))
NETWORK = mlp((2, 3, 2), "tanh")
THETA = 0.1 * np.arange(17.0)


class Soft(CrossEntropy):
    """Somebody's cross-entropy: y are shares of the classes, which CrossEntropy itself refuses."""

    def _one_hot(self, y: Any, target: Any, *, xp: Any) -> Any:
        return target


class First(NamedTuple):
    """Somebody's loss that looks at θ alone; y says anything."""

    def value(self, theta: Any, data: Data) -> Any:
        return theta[..., 0] ** 2

    def grad(self, theta: Any, data: Data) -> Any:
        return 2.0 * theta * (np.arange(theta.shape[-1]) == 0)

    def hvp(self, theta: Any, data: Data, v: Any) -> Any:
        return 2.0 * v * (np.arange(theta.shape[-1]) == 0)


class Narrowed(Dense):
    """Somebody's layer, which takes the first columns of wider examples."""

    def forward(self, p: Any, x: Any) -> Any:
        return super().forward(p, x[..., : self.n_in])

    def p_bar(self, x: Any, y_bar: Any) -> Any:
        return super().p_bar(x[..., : self.n_in], y_bar)


class Weighted(NetworkLoss):
    """Somebody's loss on networks: the last column of x are weights of the examples."""

    def value(self, theta: Any, data: Data) -> Any:
        return super().value(theta, Data(data.x[..., :-1], data.y))

    def grad(self, theta: Any, data: Data) -> Any:
        return super().grad(theta, Data(data.x[..., :-1], data.y))

    def hvp(self, theta: Any, data: Data, v: Any) -> Any:
        return super().hvp(theta, Data(data.x[..., :-1], data.y), v)


class Optimizee:
    """Somebody's optimizee, which has no layers to look at."""

    size = NETWORK.size
    activations, vjp, jvp, vjp_dot = (
        NETWORK.activations,
        NETWORK.vjp,
        NETWORK.jvp,
        NETWORK.vjp_dot,
    )


SHARES = np.full((5, 2), 0.5)
WIDER = np.concatenate([X, np.ones((5, 1))], axis=-1)
TASKS = {
    "a loss": (First(), Data(X, np.asarray(["a", "b"])), np.ones(3)),
    "a loss that asks for no examples": (First(), Data(X[:0], X[:0]), np.ones(3)),
    "a loss of outputs": (NetworkLoss(NETWORK, Soft()), Data(X, SHARES), THETA),
    "a loss on networks": (Weighted(NETWORK, SquaredError()), Data(WIDER, SHARES), THETA),
    "a layer": (
        NetworkLoss(Network((Narrowed(2, 2),)), SquaredError()),
        Data(WIDER, SHARES),
        np.ones(6),
    ),
    "an optimizee": (NetworkLoss(Optimizee(), SquaredError()), Data(X, SHARES), THETA),
}


@pytest.mark.parametrize("whose", TASKS)
def test_what_other_people_wrote_may_ask_for_other_data(whose):
    f, data, theta = TASKS[whose]
    task = Task(f, data, data, theta)
    for engine in (adjoint, forward_mode):
        found = engine(PHI, FineTuner(), task, (1.0, 1.0))
        assert np.isfinite(found.meta_loss)
    assert np.isfinite(maml_gradient(task, 0.1, 2).meta_loss)


def test_nothing_is_computed_to_check_a_loss_of_ours():
    class Silent(NamedTuple):
        layers: Any = NETWORK.layers
        size: int = NETWORK.size

    loss, data = NetworkLoss(Silent(), SquaredError()), Data(X, SHARES)
    assert check_data(loss, THETA, "train", data, batch=None) == ()


def test_nan_passes_so_that_a_training_can_say_where_it_diverged():
    task = random_case(0).task
    nan = task._replace(train=Data(task.train.x * np.nan, task.train.y))
    assert np.all(np.isnan(unroll(PHI, FineTuner(), nan, 2).theta[-1]))


def test_classes_on_a_device_are_not_looked_at():
    loss = NetworkLoss(NETWORK, CrossEntropy())
    classes = to_device(np.asarray([0, 1, 9, 0, 1]))
    assert check_data(loss, THETA, "train", Data(to_device(X), classes), batch=None) == ()


def test_whole_numbers_of_numpy_count_as_such():
    case = random_case(0)
    found = adjoint(*case[:4], truncate=np.int64(2), segment=np.int32(2))
    wanted = adjoint(*case[:4], truncate=2, segment=2)
    np.testing.assert_array_equal(found.meta_loss, wanted.meta_loss)


@pytest.mark.parametrize("batch", [(2,), (2, 1), (2, 3)])
def test_data_may_lack_any_of_the_batch_axes(batch):
    rng = np.random.default_rng(0)
    theta = rng.normal(size=(*batch, 3))
    for own in [batch[i:] for i in range(len(batch) + 1)] + [(1,) * len(batch)]:
        for x_axes, y_axes in ((own, ()), ((), own), (own, own)):
            data = Data(rng.normal(size=(*x_axes, 4, 3)), rng.normal(size=(*y_axes, 4)))
            assert check_data(Quadratic(), theta, "train", data, batch=None) == batch
            shared = check_data(Quadratic(), theta[0], "train", data, batch=batch[1:])
            value = Quadratic().value(np.zeros((*batch[1:], 3)), data)
            assert shared == value.shape
