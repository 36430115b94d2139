"""Mistakes in networks for images and in the attack (12)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lft_ref import AttackLoss, Conv2d, Network, NetworkLoss, Pool2d
from lft_ref.layers import bare
from lft_validation.gradcheck.builtin import Setting
from lft_validation.gradcheck.plants.plant import Change, Plant, with_task
from lft_validation.gradcheck.problem import Problem

WEIGHTS = Setting("lenet-tanh", "first_order", "log_sign", True)
ATTACK = WEIGHTS._replace(task="attack-tanh")


class TransposedKernel(Conv2d):
    """W[o, c, e, a] in the place of W[o, c, a, e] on the way back."""

    def x_bar(self, p: Any, x: Any, y_bar: Any) -> Any:  # noqa: D102 - as in what it spoils
        return super().x_bar(_other_kernels(self, p, lambda W: W.swapaxes(-1, -2)), x, y_bar)


class MirroredScatter(Conv2d):
    """The cotangent is convolved with the kernel, not correlated: x̄ is mirrored within a patch."""

    def x_bar(self, p: Any, x: Any, y_bar: Any) -> Any:  # noqa: D102
        return super().x_bar(_other_kernels(self, p, lambda W: W[..., ::-1, ::-1]), x, y_bar)


class NoBiasCotangent(Conv2d):
    """The filters' biases have no gradient."""

    def p_bar(self, x: Any, y_bar: Any) -> Any:  # noqa: D102
        right = super().p_bar(x, y_bar)
        b_bar = 0.0 * right[..., -self.filters :]
        return np.concatenate([right[..., : -self.filters], b_bar], axis=-1)


class OneProductOfTwo(Conv2d):
    """ȳ Ẋᵀ is left out of the Hessian."""

    def p_bar_dot(self, x: Any, y_bar: Any, x_dot: Any, y_bar_dot: Any) -> Any:  # noqa: D102
        return super().p_bar_dot(x, y_bar, 0.0 * x_dot, y_bar_dot)


class NoMixedTerm(Conv2d):
    """Ẇᵀ ȳ is left out of the Hessian."""

    def x_bar_dot(  # noqa: D102
        self, p: Any, x: Any, y_bar: Any, p_dot: Any, x_dot: Any, y_bar_dot: Any
    ) -> Any:
        return self.x_bar(p, x, y_bar_dot)


class CotangentToAll(Pool2d):
    """Every entry of a window gets a share, as if the mean had been taken."""

    def x_bar(self, p: Any, x: Any, y_bar: Any) -> Any:  # noqa: D102
        return Pool2d("average", self.window).x_bar(p, bare(x), y_bar)


class LargestByAbsoluteValue(Pool2d):
    """The entry of the largest absolute value gets the cotangent of a maximum."""

    def x_bar(self, p: Any, x: Any, y_bar: Any) -> Any:  # noqa: D102
        return super().x_bar(p, np.abs(bare(x)) if self.kind == "max" else x, y_bar)


class SumForMean(Pool2d):
    """The cotangent of a mean is not divided by the size of the window."""

    def x_bar(self, p: Any, x: Any, y_bar: Any) -> Any:  # noqa: D102
        factor = self.window**2 if self.kind == "average" else 1
        return factor * super().x_bar(p, x, y_bar)


class NoClipMask(AttackLoss):
    """Pixels that are cut off push their θ_i all the same."""

    def grad(self, theta: Any, data: Any) -> Any:  # noqa: D102
        there = data._replace(x=self.perturbed(theta, data.x) - _image(theta, data))
        return AttackLoss(*self._replace(clip=False)).grad(theta, there)


class NoGate(AttackLoss):
    """Images whose margin is below −κ still pull."""

    def grad(self, theta: Any, data: Any) -> Any:  # noqa: D102
        return AttackLoss(*self._replace(kappa=1e9)).grad(theta, data)


class NoPenalty(AttackLoss):
    """λ sign θ is left out of the gradient."""

    def grad(self, theta: Any, data: Any) -> Any:  # noqa: D102
        return AttackLoss(*self._replace(l1=0.0)).grad(theta, data)


class KappaUpsideDown(AttackLoss):
    """max(margin, κ), in the value and in its gradient."""

    def value(self, theta: Any, data: Any) -> Any:  # noqa: D102
        return AttackLoss(*self._replace(kappa=-self.kappa)).value(theta, data)

    def grad(self, theta: Any, data: Any) -> Any:  # noqa: D102
        return AttackLoss(*self._replace(kappa=-self.kappa)).grad(theta, data)


class MeanPenalty(AttackLoss):
    """λ times the mean of |θ_i| in the place of their sum, in the value and in its gradient."""

    def value(self, theta: Any, data: Any) -> Any:  # noqa: D102
        return AttackLoss(*self._replace(l1=self.l1 / theta.shape[-1])).value(theta, data)

    def grad(self, theta: Any, data: Any) -> Any:  # noqa: D102
        return AttackLoss(*self._replace(l1=self.l1 / theta.shape[-1])).grad(theta, data)


class MeanNotSum(AttackLoss):
    """The gradient is averaged over images where (12) has a sum."""

    def grad(self, theta: Any, data: Any) -> Any:  # noqa: D102
        without = AttackLoss(*self._replace(l1=0.0)).grad(theta, data)
        return without / len(data.y) + self.l1 * np.sign(theta)


class TakenForFlat(AttackLoss):
    """The victim's curvature is left out: the Hessian of (12) is 0."""

    def hvp(self, theta: Any, data: Any, v: Any) -> Any:  # noqa: D102
        return 0.0 * super().hvp(theta, data, v)


def _other_kernels(layer: Conv2d, p: Any, change: Callable[[Any], Any]) -> Any:
    """Change the kernels (..., filters, channels, k, k) in p."""
    number, k = layer.filters * layer.fan_in, layer.kernel
    kernels = p[..., :number].reshape(*p.shape[:-1], layer.filters, layer.channels, k, k)
    changed = change(kernels).reshape(*p.shape[:-1], number)
    return np.concatenate([changed, p[..., number:]], axis=-1)


def _image(theta: Any, data: Any) -> Any:
    return theta.reshape(*theta.shape[:-1], 1, *data.x.shape[-3:])


def _layers(old: type, new: Any) -> Change:
    """Exchange every layer of a kind, in the network that is fine-tuned."""

    def change(problem: Problem) -> Problem:
        f = problem.task.objective
        assert isinstance(f, NetworkLoss)
        layers = (new(*a) if isinstance(a, old) else a for a in f.network.layers)  # type: ignore[misc]
        return with_task(problem, objective=f._replace(network=Network(tuple(layers))))

    return change


def _attack(new: Callable[..., Any]) -> Change:
    def change(problem: Problem) -> Problem:
        f = problem.task.objective
        assert isinstance(f, AttackLoss)
        return with_task(problem, objective=new(*f))

    return change


def _plant(name: str, says: str, term: str, change: Change) -> Plant:
    return Plant(name, says, term, change, WEIGHTS, needs="images")


def _in_attack(name: str, says: str, term: str, kind: Callable[..., Any]) -> Plant:
    return Plant(name, says, term, _attack(kind), ATTACK, needs="images")


PLANTS = (
    _plant("kernel-transposed", "the kernel is transposed on the way back", "g",
           _layers(Conv2d, TransposedKernel)),
    _plant("kernel-mirrored", "x̄ of a convolution is made with the mirrored kernel", "g",
           _layers(Conv2d, MirroredScatter)),
    _plant("no-filter-bias", "the filters' biases have no gradient", "g",
           _layers(Conv2d, NoBiasCotangent)),
    _plant("one-product", "ȳ Ẋᵀ of a convolution is left out of the Hessian", "∂g/∂θ",
           _layers(Conv2d, OneProductOfTwo)),
    _plant("no-mixed-filters", "Ẇᵀ ȳ of a convolution is left out of the Hessian", "∂g/∂θ",
           _layers(Conv2d, NoMixedTerm)),
    _plant("pool-to-all", "all of a window share the cotangent of its maximum", "g",
           _layers(Pool2d, CotangentToAll)),
    _plant("pool-absolute", "the largest absolute value gets the cotangent of the maximum", "g",
           _layers(Pool2d, LargestByAbsoluteValue)),
    _plant("pool-sum", "the cotangent of a mean lacks 1/k²", "g", _layers(Pool2d, SumForMean)),
    _in_attack("no-clip-mask", "pixels that are cut off still push", "g", NoClipMask),
    _in_attack("no-gate", "images that are fooled by more than κ still pull", "g", NoGate),
    _in_attack("no-penalty", "λ sign θ is left out of the gradient of (12)", "g", NoPenalty),
    _in_attack("kappa-sign", "max(margin, κ) in the place of max(margin, −κ)", "f",
               KappaUpsideDown),
    _in_attack("mean-penalty", "λ times the mean of abs θ, not its sum", "f", MeanPenalty),
    _in_attack("mean-attack", "the gradient of (12) is a mean over images", "g", MeanNotSum),
    _in_attack("flat-victim", "the victim's curvature is left out of the Hessian", "∂g/∂θ",
               TakenForFlat),
)  # fmt: skip
