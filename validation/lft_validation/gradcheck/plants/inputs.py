"""Mistakes in what the cell is fed: the preprocessing, and the estimator with its Jacobian."""

from __future__ import annotations

from typing import Any

import numpy as np

from lft_ref import FirstOrder, LogSign, ZerothOrder
from lft_ref.preprocess import Preprocess
from lft_ref.zeroth_order import Estimator, _outer_product
from lft_validation.gradcheck.plants.plant import ZEROTH, Change, Plant, with_task, with_tuner
from lft_validation.gradcheck.problem import Problem


class DerivativeWithoutP(LogSign):
    """The log's derivative lacks 1/p."""

    def derivative(self, g: Any) -> Any:  # noqa: D102 - as in the class that it spoils
        right = super().derivative(g)
        return np.stack([self.p * right[..., 0], right[..., 1]], axis=-1)


class DerivativeOfLogOfAbsolute(LogSign):
    """The log's derivative is 1/|g|."""

    def derivative(self, g: Any) -> Any:  # noqa: D102
        right = super().derivative(g)
        return np.stack([np.abs(right[..., 0]), right[..., 1]], axis=-1)


class LinearBranchForgotten(LogSign):
    """The second feature is taken for constant below the threshold too."""

    def derivative(self, g: Any) -> Any:  # noqa: D102
        right = super().derivative(g)
        return np.stack([right[..., 0], 0.0 * right[..., 1]], axis=-1)


class DecimalLogarithm(LogSign):
    """The logarithm to base 10."""

    def features(self, g: Any) -> Any:  # noqa: D102
        right = super().features(g)
        return np.stack([right[..., 0] / np.log(10.0), right[..., 1]], axis=-1)


class SwappedProducts(ZerothOrder):
    """Jvp and vjp of (6) are exchanged."""

    def jvp(self, f: Any, theta: Any, data: Any, u: Any, v: Any) -> Any:  # noqa: D102
        return ZerothOrder.vjp(self, f, theta, data, u, v)

    def vjp(self, f: Any, theta: Any, data: Any, u: Any, v: Any) -> Any:  # noqa: D102
        return ZerothOrder.jvp(self, f, theta, data, u, v)


class TakenForSymmetric(ZerothOrder):
    """The Jacobian of (6) is taken for symmetric on the way back."""

    def vjp(self, f: Any, theta: Any, data: Any, u: Any, v: Any) -> Any:  # noqa: D102
        return ZerothOrder.jvp(self, f, theta, data, u, v)


class HessianInstead(ZerothOrder):
    """The Hessian stands in for the Jacobian of (6)."""

    def jvp(self, f: Any, theta: Any, data: Any, u: Any, v: Any) -> Any:  # noqa: D102
        return f.hvp(theta, data, v)

    vjp = jvp


class NoGradientAtTheta(ZerothOrder):
    """∇f(θ) is not subtracted in ∂g/∂θ."""

    def jvp(self, f: Any, theta: Any, data: Any, u: Any, v: Any) -> Any:  # noqa: D102
        return self._factor(u) * _outer_product(u, f.grad(theta + self.mu * u, data) / self.mu, v)

    def vjp(self, f: Any, theta: Any, data: Any, u: Any, v: Any) -> Any:  # noqa: D102
        return self._factor(u) * _outer_product(f.grad(theta + self.mu * u, data) / self.mu, u, v)


class SumNotMean(ZerothOrder):
    """∂g/∂θ sums over directions instead of averaging."""

    def jvp(self, f: Any, theta: Any, data: Any, u: Any, v: Any) -> Any:  # noqa: D102
        return len(u) * super().jvp(f, theta, data, u, v)

    def vjp(self, f: Any, theta: Any, data: Any, u: Any, v: Any) -> Any:  # noqa: D102
        return len(u) * super().vjp(f, theta, data, u, v)


class NotDividedByMu(ZerothOrder):
    """The difference of (6) is not divided by μ."""

    def estimate(self, f: Any, theta: Any, data: Any, u: Any) -> Any:  # noqa: D102
        return self.mu * super().estimate(f, theta, data, u)


class HalfHessian(FirstOrder):
    """The Hessian is halved."""

    def jvp(self, f: Any, theta: Any, data: Any, u: Any, v: Any) -> Any:  # noqa: D102
        return 0.5 * f.hvp(theta, data, v)

    vjp = jvp


def _preprocess(wrong: Preprocess) -> Change:
    return lambda problem: with_tuner(problem, cell=problem.tuner.cell._replace(preprocess=wrong))


def _estimator(wrong: Any) -> Change:
    def change(problem: Problem) -> Problem:
        settings: Estimator = problem.tuner.estimator
        return with_tuner(problem, estimator=wrong(*settings))  # type: ignore[misc]

    return change


def _first_directions(problem: Problem) -> Problem:
    u = problem.task.directions
    assert u is not None
    return with_task(problem, directions=np.broadcast_to(u[:1], u.shape))


def _next_to_a_minimum(problem: Problem) -> Problem:
    """A task whose start fits D_tr but for 1e-6, so that g lies below e^−10."""
    objective, task = problem.task.objective, problem.task
    y = objective.network.activations(task.theta_0, task.train.x)[-1]  # type: ignore[attr-defined]
    problem = with_task(problem, train=task.train._replace(y=y + 1e-6))
    small = problem.tuner.cell._replace(output_scale=1e-8)
    return with_tuner(problem, cell=small)


_PLANTS = (
    Plant("no-1-over-p", "the log's derivative lacks 1/p", "x'", _preprocess(DerivativeWithoutP())),
    Plant(
        "log-of-absolute",
        "the log's derivative loses its sign",
        "x'",
        _preprocess(DerivativeOfLogOfAbsolute()),
    ),
    Plant(
        "linear-branch",
        "the derivative of the linear branch is forgotten",
        "x'",
        _preprocess(LinearBranchForgotten()),
        prepare=_next_to_a_minimum,
    ),
    Plant("log-10", "the logarithm is to base 10", "x", _preprocess(DecimalLogarithm())),
    Plant("half-hessian", "the Hessian is halved", "∂g/∂θ", _estimator(HalfHessian)),
    Plant(
        "first-order-only",
        "the second-order term ∂g/∂θ is dropped",
        "∂g/∂θ",
        lambda problem: with_tuner(problem, second_order=False),
    ),
    Plant(
        "swapped-products",
        "jvp and vjp of (6) are exchanged",
        "∂g/∂θ",
        _estimator(SwappedProducts),
        ZEROTH,
    ),
    Plant(
        "symmetric-jacobian",
        "the Jacobian of (6) is taken for symmetric",
        "(∂g/∂θ)ᵀ",
        _estimator(TakenForSymmetric),
        ZEROTH,
    ),
    Plant(
        "hessian-instead",
        "the Hessian stands in for the Jacobian of (6)",
        "∂g/∂θ",
        _estimator(HessianInstead),
        ZEROTH,
    ),
    Plant(
        "no-gradient-at-theta",
        "∇f(θ) is not subtracted in ∂g/∂θ of (6)",
        "∂g/∂θ",
        _estimator(NoGradientAtTheta),
        ZEROTH,
    ),
    Plant(
        "directions-not-averaged",
        "∂g/∂θ of (6) is a sum over directions, not a mean",
        "∂g/∂θ",
        _estimator(SumNotMean),
        ZEROTH,
    ),
    Plant(
        "not-over-mu",
        "the difference of (6) is not divided by μ",
        "g",
        _estimator(NotDividedByMu),
        ZEROTH,
    ),
    Plant(
        "factor-d",
        "the factor d of the unit sphere with Gaussian directions",
        "g",
        lambda problem: with_tuner(
            problem,
            estimator=problem.tuner.estimator._replace(scaling="sphere"),  # type: ignore[attr-defined]
        ),
        ZEROTH,
    ),
    Plant(
        "same-directions",
        "every step uses the directions of the first",
        "g",
        _first_directions,
        ZEROTH,
    ),
)

# x and x' need log/sign; dropping ∂g/∂θ is possible everywhere; the rest is about one estimator.
_ANYWHERE = ("x", "x'", "first-order-only")
PLANTS = tuple(
    plant if {plant.term, plant.name} & set(_ANYWHERE) else plant._replace(needs="estimator")
    for plant in _PLANTS
)
