"""Universal adversarial perturbations, section 4: one θ that is added to every image, eq. (12)."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple, Protocol

from lft_ref._array import Array, device, namespace
from lft_ref.objectives import Data


class Victim(Protocol):
    """The passes of :class:`~lft_ref.networks.Network` that an attack asks for.

    Nothing here looks at the activations between the images and the logits: a fused twin may keep
    in their place whatever its way back needs.
    """

    @property
    def size(self) -> int:
        """Number of its weights P."""

    @property
    def curved(self) -> bool:
        """Whether its logits are anything but piecewise linear in the image."""

    def activations(self, theta: Array, x: Array) -> list[Array]:
        """Return the images first and their logits last."""

    def x_vjp(self, theta: Array, xs: list[Array], y_bar: Array) -> Array:
        """Pull the logits' cotangent back to the images."""

    def x_jvp(self, theta: Array, xs: list[Array], x_dot: Array) -> list[Array]:
        """Push the images' tangent forwards."""

    def x_vjp_dot(
        self, theta: Array, xs: list[Array], y_bar: Array, xs_dot: list[Array], y_bar_dot: Array
    ) -> Array:
        """Return the tangent of :meth:`x_vjp`."""


class AttackLoss(NamedTuple):
    """f(θ; D) = Σ_(x,y) ℓ(x + θ, y) + λ ‖θ‖₁, eq. (12).

    ℓ(x', y) = max(log p(x')_y − max_{c≠y} log p(x')_c, −κ) is the C&W loss. For κ = 0 it is 0 as
    soon as another class than y is the most probable. log p and the logits z differ by a number
    that is the same for all classes, so the margin is one of logits. ‖θ‖₁ is the sum of |θ_i| over
    all pixels. Data are images (..., N, C, H, W) in ``box`` with integer classes (..., N); θ is
    (..., d), d = C H W. The victim's weights (P,) are shared by all tasks.

    With ``clip``, x' = x + θ is cut off at the ends of the box, as an attacker must do in the end;
    a pixel beyond the box then pushes no more on its θ_i. Without it the loss sees x + θ as it is.

    Kinks take one side: the slope of max(m, −κ) is 0 at m = −κ, of |θ_i| at 0 it is 0, of clipping
    at the ends of the box it is 1 (many pixels of real images lie there, and θ often starts at 0),
    and of several best other classes the first counts. A victim without curvature (ReLU, pooling)
    makes f piecewise linear: its Hessian is 0, and then :meth:`hvp` does no work.

    Source: Carlini & Wagner 2017, the sixth of their losses, untargeted.

    Example:
        >>> import numpy as np
        >>> from lft_ref import digits_network
        >>> network = digits_network()
        >>> f = AttackLoss(network, np.ones(network.size), l1=0.5)
        >>> images = Data(np.zeros((4, 1, 8, 8)), np.asarray([0, 1, 2, 3]))
        >>> round(float(f.value(np.full(64, 0.1), images)), 12)  # all logits are equal
        3.2
    """

    network: Victim
    weights: Array  # (P,)
    kappa: float = 0.0
    l1: float = 0.0  # λ
    box: tuple[float, float] = (-0.5, 0.5)
    clip: bool = True

    def value(self, theta: Array, data: Data) -> Array:
        """Return f (...,)."""
        return self._value(theta, self.logits(theta, data), data.y, xp=namespace(theta))

    def grad(self, theta: Array, data: Data) -> Array:
        """Return ∇_θ f: Σ over images of their cotangents where not cut off, plus λ sign θ."""
        return self._slope(theta, data)[0]

    def value_and_grad(self, theta: Array, data: Data) -> tuple[Array, Array]:
        """Return f (...,) and ∇_θ f (..., d), of one pass forwards."""
        theta_bar, y = self._slope(theta, data)
        return self._value(theta, y, data.y, xp=namespace(theta)), theta_bar

    def hvp(self, theta: Array, data: Data, v: Array) -> Array:
        """Return ∇²_θ f v: the victim's curvature, where it has any."""
        xp = namespace(theta)
        if not self.network.curved:
            batch = xp.zeros((*data.x.shape[:-4], 1), dtype=v.dtype, device=device(v))
            return xp.zeros_like(v) + xp.zeros_like(theta) + batch
        x = self._moved(theta, data.x, xp=xp)
        xs = self.network.activations(self.weights, self._kept_in(x, xp=xp))
        x_dot = self._inside(self._as_image(v, data.x, xp=xp), x, xp=xp)
        xs_dot = self.network.x_jvp(self.weights, xs, x_dot)
        y_bar = self._y_bar(xs[-1], data.y, xp=xp)
        still = xp.zeros_like(xs_dot[-1])  # the loss is piecewise linear in the logits
        x_bar_dot = self.network.x_vjp_dot(self.weights, xs, y_bar, xs_dot, still)
        return self._theta_bar(x_bar_dot, x, xp=xp)

    def logits(self, theta: Array, data: Data) -> Array:
        """Return the victim's logits (..., N, classes) of the perturbed images."""
        return self.network.activations(self.weights, self.perturbed(theta, data.x))[-1]

    def perturbed(self, theta: Array, x: Array) -> Array:
        """Return x + θ (..., N, C, H, W), cut off at the ends of the box if ``clip``."""
        xp = namespace(theta)
        return self._kept_in(self._moved(theta, x, xp=xp), xp=xp)

    def _moved(self, theta: Array, x: Array, *, xp: Any) -> Array:
        """Return x + θ as it is."""
        return x + self._as_image(theta, x, xp=xp)

    def _kept_in(self, x: Array, *, xp: Any) -> Array:
        """Return x, cut off at the ends of the box if ``clip``."""
        if not self.clip:
            return x
        low, high = (xp.asarray(end, dtype=x.dtype, device=device(x)) for end in self.box)
        return xp.minimum(xp.maximum(x, low), high)

    def _slope(self, theta: Array, data: Data) -> tuple[Array, Array]:
        """∇_θ f, and the logits that were on the way."""
        xp = namespace(theta)
        x = self._moved(theta, data.x, xp=xp)
        xs = self.network.activations(self.weights, self._kept_in(x, xp=xp))
        x_bar = self.network.x_vjp(self.weights, xs, self._y_bar(xs[-1], data.y, xp=xp))
        return self._theta_bar(x_bar, x, xp=xp) + self.l1 * xp.sign(theta), xs[-1]

    def _value(self, theta: Array, y: Array, target: Array, *, xp: Any) -> Array:
        """(12) from the logits y (..., N, classes)."""
        margins, _ = self._margins(y, target, xp=xp)
        attack = xp.sum(xp.where(margins > -self.kappa, margins, -self.kappa), axis=-1)
        return attack + self.l1 * xp.sum(xp.abs(theta), axis=-1)

    def _margins(self, y: Array, target: Array, *, xp: Any) -> tuple[Array, tuple[Array, Array]]:
        """z_y − max_{c≠y} z_c (..., N), with one-hot masks of y and of the best other class."""
        classes = xp.arange(y.shape[-1], dtype=target.dtype, device=device(y))
        true = target[..., None] == classes
        others = xp.where(true, -xp.inf, y)
        best = xp.argmax(others, axis=-1)
        rival = best[..., None] == xp.astype(classes, best.dtype)
        margins = xp.sum(xp.where(true, y, 0.0), axis=-1) - xp.max(others, axis=-1)
        return margins, (true, rival)

    def _y_bar(self, y: Array, target: Array, *, xp: Any) -> Array:
        """∂Σℓ/∂z: +1 for y and −1 for the best other class, where the margin exceeds −κ."""
        margins, (true, rival) = self._margins(y, target, xp=xp)
        open_ones = xp.astype(margins > -self.kappa, y.dtype)
        return open_ones[..., None] * (xp.astype(true, y.dtype) - xp.astype(rival, y.dtype))

    def _as_image(self, theta: Array, x: Array, *, xp: Any) -> Array:
        """Return θ (..., d) as (..., 1, C, H, W)."""
        return xp.reshape(theta, (*theta.shape[:-1], 1, *x.shape[-3:]))

    def _inside(self, x_bar: Array, x: Array, *, xp: Any) -> Array:
        """Multiply by ∂x'/∂x of x' = clip(x): 0 for the pixels that are cut off."""
        low, high = self.box
        return x_bar * xp.astype((x >= low) & (x <= high), x_bar.dtype) if self.clip else x_bar

    def _theta_bar(self, x_bar: Array, x: Array, *, xp: Any) -> Array:
        """Σ over examples of the cotangents of x = x + θ, flat (..., d)."""
        total = xp.sum(self._inside(x_bar, x, xp=xp), axis=-4)
        return xp.reshape(total, (*total.shape[:-3], prod(x.shape[-3:])))
