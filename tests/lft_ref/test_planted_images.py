"""Easily made mistakes in the layers for images and in (12), planted: each is caught."""

from __future__ import annotations

import numpy as np
import pytest
from autograd import grad

from lft_ref import (
    Activation,
    AttackLoss,
    Conv2d,
    CrossEntropy,
    Data,
    Dense,
    Flatten,
    Network,
    NetworkLoss,
    Pool2d,
)
from lft_validation.autodiff_restatement import loss
from tests.helpers import norm

TANH = Activation("tanh")
# 1 × 4 × 4 to 2 × 5 × 5, then with stride 2 to 2 × 3 × 3, pooled to 2 × 1 × 1; three classes.
LAYERS = (
    Conv2d(1, 2, 2, padding=1),
    TANH,
    Conv2d(2, 2, 3, stride=2, padding=1),
    Pool2d("max"),
    Flatten(),
    Dense(2, 3),
)


def weights_objective(layers=LAYERS):
    return NetworkLoss(Network(layers), CrossEntropy())


def attack(layers=LAYERS, kind=AttackLoss):
    weights = np.random.default_rng(1).normal(size=Network(layers).size)
    return kind(Network(layers), weights, 0.3, 0.2, (-1.0, 1.0))


def apart(f) -> float:
    """Largest relative difference of value, gradient and Hessian product from autograd's."""
    rng = np.random.default_rng(2)
    data = Data(rng.uniform(-1.0, 1.0, (8, 1, 4, 4)), rng.integers(3, size=8))
    d = 16 if isinstance(f, AttackLoss) else f.network.size
    theta, v = 0.4 * rng.normal(size=d), rng.normal(size=d)

    def value(at):
        return loss(f, at, data)

    slope = grad(value)(theta)
    curvature = grad(lambda at: np.dot(grad(value)(at), v))(theta)
    pairs = [
        (f.value(theta, data), value(theta)),
        (f.grad(theta, data), slope),
        (f.hvp(theta, data, v), curvature),
    ]
    return max(norm(got - want) / norm(want) for got, want in pairs)


class TransposedKernel(Conv2d):
    def weight(self, p):
        k = self.kernel
        W = super().weight(p)
        kernels = W.reshape(*W.shape[:-1], self.channels, k, k)
        return np.swapaxes(kernels, -1, -2).reshape(W.shape)


class StrideOne(Conv2d):
    """Patches that lie side by side, whatever the stride."""

    def _shifts(self, height, width):
        k = self.kernel
        return [(slice(a, a + height), slice(e, e + width)) for a in range(k) for e in range(k)]


class MirroredScatter(Conv2d):
    def _add_patches(self, X_bar, y, side, *, xp):
        flipped = X_bar.reshape(*X_bar.shape[:-2], self.channels, -1, X_bar.shape[-1])[..., ::-1, :]
        return super()._add_patches(flipped.reshape(X_bar.shape), y, side, xp=xp)


class FrameCutAtTheCorner(Conv2d):
    def _add_patches(self, X_bar, y, side, *, xp):
        right = super()._add_patches(X_bar, y, side, xp=xp)
        return np.roll(right, 1, axis=-1)


class NoBiasCotangent(Conv2d):
    def _p_bar(self, products, y_bar):
        right = super()._p_bar(products, y_bar)
        return np.concatenate(
            [right[..., : -self.filters], 0.0 * right[..., -self.filters :]], axis=-1
        )


class OneProductOfTwo(Conv2d):
    def p_bar_dot(self, x, y_bar, x_dot, y_bar_dot):
        return self._p_bar([(x, y_bar_dot)], y_bar_dot)


class NoMixedTerm(Conv2d):
    def x_bar_dot(self, p, x, y_bar, p_dot, x_dot, y_bar_dot):
        return self.x_bar(p, x, y_bar_dot)


class CotangentToAll(Pool2d):
    def _shares(self, x):
        return [0.25] * 4


class LargestByAbsoluteValue(Pool2d):
    def _shares(self, x):
        return super()._shares(np.abs(x))


class KeepsAnotherImage(Conv2d):
    def keep(self, p, x):
        return super().keep(p, x[..., ::-1])


class KeepsTheWrongWinners(Pool2d):
    def keep(self, p, x):
        kept = super().keep(p, x)
        return kept._replace(made=(kept.made[0], kept.made[1][::-1]))


def with_layer(old, new):
    return tuple(new(*layer) if isinstance(layer, old) else layer for layer in LAYERS)


IN_LAYERS = {
    "the kernel is transposed": (Conv2d, TransposedKernel),
    "the stride is forgotten": (Conv2d, StrideOne),
    "x̄ is scattered with the kernel mirrored": (Conv2d, MirroredScatter),
    "the frame is cut at the wrong place": (Conv2d, FrameCutAtTheCorner),
    "b̄ is dropped": (Conv2d, NoBiasCotangent),
    "ȳ Ẋᵀ is dropped from the Hessian": (Conv2d, OneProductOfTwo),
    "Ẇᵀ ȳ is dropped from the Hessian": (Conv2d, NoMixedTerm),
    "every entry of a window gets the cotangent": (Pool2d, CotangentToAll),
    "the window's largest is taken by absolute value": (Pool2d, LargestByAbsoluteValue),
    "patches are kept of another image": (Conv2d, KeepsAnotherImage),
    "winners are kept in the wrong order": (Pool2d, KeepsTheWrongWinners),
}


class NoClipMask(AttackLoss):
    def _inside(self, x_bar, x, *, xp):
        return x_bar


class MaskForgottenInTheHessian(AttackLoss):
    def hvp(self, theta, data, v):
        return NoClipMask(*self).hvp(theta, data, v)


class RivalMayBeTheClassItself(AttackLoss):
    def _margins(self, y, target, *, xp):
        right, (true, _) = super()._margins(y, target, xp=xp)
        rival = y == np.max(y, axis=-1, keepdims=True)
        return right, (true, rival)


class NoGate(AttackLoss):
    def _y_bar(self, y, target, *, xp):
        return super(NoGate, self._replace(kappa=1e9))._y_bar(y, target, xp=xp)


class NoPenalty(AttackLoss):
    def grad(self, theta, data):
        return AttackLoss(*self._replace(l1=0.0)).grad(theta, data)


class KappaUpsideDown(AttackLoss):
    def value(self, theta, data):
        return AttackLoss(*self._replace(kappa=-self.kappa)).value(theta, data)


class MeanNotSum(AttackLoss):
    def _theta_bar(self, x_bar, x, *, xp):
        return super()._theta_bar(x_bar, x, xp=xp) / x.shape[-4]


class TakenForFlat(AttackLoss):
    def hvp(self, theta, data, v):
        return 0.0 * v


IN_THE_LOSS = {
    "the mask of clipping is forgotten": NoClipMask,
    "the mask of clipping is forgotten in the Hessian": MaskForgottenInTheHessian,
    "the best other class may be the class itself": RivalMayBeTheClassItself,
    "images that are fooled still pull": NoGate,
    "λ sign θ is dropped": NoPenalty,
    "κ has the wrong sign": KappaUpsideDown,
    "the sum over images is a mean": MeanNotSum,
    "the victim's curvature is dropped": TakenForFlat,
}


@pytest.mark.parametrize("objective", [weights_objective, attack])
def test_nothing_is_caught_where_nothing_is_planted(objective):
    assert apart(objective()) < 1e-10


@pytest.mark.parametrize("mistake", IN_LAYERS)
def test_a_mistake_in_a_layer_is_caught(mistake):
    layers = with_layer(*IN_LAYERS[mistake])
    assert max(apart(weights_objective(layers)), apart(attack(layers))) > 1e-4


@pytest.mark.parametrize("mistake", IN_THE_LOSS)
def test_a_mistake_in_the_attack_loss_is_caught(mistake):
    assert apart(attack(kind=IN_THE_LOSS[mistake])) > 1e-4
