"""Mistakes in the task's loss: the layers of its network, and the loss of the network's output."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from lft_ref import CrossEntropy, NetworkLoss, SquaredError
from lft_ref.layers import Activation, Dense
from lft_ref.networks import Network
from lft_validation.gradcheck.plants.plant import (
    CLASSES,
    RELU,
    Change,
    Plant,
    network_loss,
    with_task,
)
from lft_validation.gradcheck.problem import Problem


class NoCurvature(Activation):
    """φ'' is left out of the Hessian."""

    def x_bar_dot(self, p: Any, x: Any, y_bar: Any, p_dot: Any, x_dot: Any, y_bar_dot: Any) -> Any:
        """Return φ'(x) ȳ̇ alone."""
        return self.slope(x) * y_bar_dot


class SlopeOfOutput(Activation):
    """1 − y² is computed from x, as if x were the activation's output."""

    def slope(self, x: Any) -> Any:
        """Return 1 − x²."""
        return 1.0 - x**2


class LeakySlope(Activation):
    """ReLU's derivative is 0.01 where it is off."""

    def slope(self, x: Any) -> Any:
        """Return 1 or 0.01."""
        return np.where(x > 0.0, 1.0, 0.01)


class NoMixedTerm(Dense):
    """ȳ Ẇᵀ is left out of the Hessian."""

    def x_bar_dot(self, p: Any, x: Any, y_bar: Any, p_dot: Any, x_dot: Any, y_bar_dot: Any) -> Any:
        """Return ȳ̇ Wᵀ alone."""
        return y_bar_dot @ self.weight(p).mT


class NoBias(Dense):
    """The bias has no gradient."""

    def p_bar(self, x: Any, y_bar: Any) -> Any:
        """Return W̄ and zeros."""
        return self.pack(x.mT @ y_bar, 0.0 * y_bar[..., 0, :])


class NoHessian(SquaredError):
    """The loss is taken for linear."""

    def hvp(self, y: Any, target: Any, y_dot: Any) -> Any:
        """Return 0."""
        return 0.0 * y_dot


class NoFactor2(SquaredError):
    """The gradient of a square without its 2."""

    def grad(self, y: Any, target: Any) -> Any:
        """Return y − z."""
        return 0.5 * super().grad(y, target)


class DiagonalSoftmax(CrossEntropy):
    """The Hessian of the softmax is taken for diagonal."""

    def hvp(self, y: Any, target: Any, y_dot: Any) -> Any:
        """Return s ẏ, without s sᵀ ẏ."""
        return self._scale(y) * self._softmax(y, xp=np)[0] * y_dot


class ShiftedClass(CrossEntropy):
    """Classes are counted from 1 in the gradient."""

    def grad(self, y: Any, target: Any) -> Any:
        """Return softmax − one-hot of the class before."""
        return super().grad(y, (target - 1) % y.shape[-1])


def _layers(old: type, new: Any) -> Change:
    def change(problem: Problem) -> Problem:
        f = network_loss(problem)
        layers = (new(*a) if isinstance(a, old) else a for a in f.network.layers)  # type: ignore[misc]
        return with_task(problem, objective=NetworkLoss(Network(tuple(layers)), f.loss))

    return change


def _loss(wrong: Any) -> Change:
    return lambda problem: with_task(problem, objective=network_loss(problem)._replace(loss=wrong))


_PLANTS = (
    Plant(
        "no-curvature",
        "the curvature of tanh is left out of the Hessian",
        "∂g/∂θ",
        _layers(Activation, NoCurvature),
    ),
    Plant("no-mixed-term", "ȳ Ẇᵀ is left out of the Hessian", "∂g/∂θ", _layers(Dense, NoMixedTerm)),
    Plant("no-bias-gradient", "the biases have no gradient", "g", _layers(Dense, NoBias)),
    Plant(
        "slope-of-output",
        "tanh' is 1 − x² instead of 1 − tanh² x",
        "g",
        _layers(Activation, SlopeOfOutput),
    ),
    Plant(
        "leaky-slope",
        "ReLU' is 0.01 where ReLU is 0",
        "g",
        _layers(Activation, LeakySlope),
        RELU,
    ),
    Plant("linear-loss", "the loss of the output is taken for linear", "∂g/∂θ", _loss(NoHessian())),
    Plant("no-factor-2", "the gradient of the square lacks its 2", "g", _loss(NoFactor2())),
    Plant("mean-for-sum", "a mean stands where (S29) has a sum", "f", _loss(SquaredError("mean"))),
    Plant(
        "diagonal-softmax",
        "s sᵀ is left out of the softmax's Hessian",
        "∂g/∂θ",
        _loss(DiagonalSoftmax("mean")),
        CLASSES,
    ),
    Plant(
        "shifted-class",
        "classes are counted from 1 in the gradient",
        "g",
        _loss(ShiftedClass("mean")),
        CLASSES,
    ),
)

_NEEDS: dict[str, Literal["squared", "classes"]] = {
    "linear-loss": "squared",
    "no-factor-2": "squared",
    "mean-for-sum": "squared",
    "diagonal-softmax": "classes",
    "shifted-class": "classes",
}
PLANTS = tuple(plant._replace(needs=_NEEDS.get(plant.name, "network")) for plant in _PLANTS)
