"""Task losses f(θ; D) with gradient and Hessian-vector product.

Every method broadcasts over leading axes: θ (..., d) against data with the same batch axes or none,
and a direction v (..., d), or many directions v (P, ..., d), against both.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, cast

from lft_ref._array import Array, device, namespace
from lft_ref.networks import Optimizee


class Data(NamedTuple):
    """A data set D of N examples; batch axes in front."""

    x: Array  # (..., N, inputs), or images (..., N, C, H, W)
    y: Array  # (..., N, outputs), or (..., N) for classes and the quadratic


class Objective(Protocol):
    """f(θ; D), its gradient and its Hessian-vector product."""

    def value(self, theta: Array, data: Data) -> Array:
        """Return f (...,)."""

    def grad(self, theta: Array, data: Data) -> Array:
        """Return ∇_θ f (..., d)."""

    def hvp(self, theta: Array, data: Data, v: Array) -> Array:
        """Return ∇²_θ f v (..., d)."""


class OnePass(Objective, Protocol):
    """An objective that gets value and gradient of one pass forwards."""

    def value_and_grad(self, theta: Array, data: Data) -> tuple[Array, Array]:
        """Return f (...,) and ∇_θ f (..., d)."""


class Quadratic(NamedTuple):
    """f(θ; A, b) = ‖A θ − b‖² / (2N), the smallest test task; A is ``x`` (N, d), b is ``y`` (N)."""

    def _residual(self, theta: Array, data: Data) -> Array:
        return (data.x @ theta[..., None])[..., 0] - data.y

    def value(self, theta: Array, data: Data) -> Array:
        """Return f (...,)."""
        r = self._residual(theta, data)
        return namespace(theta).sum(r * r, axis=-1) / (2.0 * r.shape[-1])

    def grad(self, theta: Array, data: Data) -> Array:
        """Return Aᵀ(A θ − b) / N."""
        return self._transposed(data, self._residual(theta, data))

    def hvp(self, theta: Array, data: Data, v: Array) -> Array:
        """Return Aᵀ A v / N."""
        return self._transposed(data, (data.x @ v[..., None])[..., 0])

    def _transposed(self, data: Data, r: Array) -> Array:
        return (r[..., None, :] @ data.x)[..., 0, :] / r.shape[-1]


class Loss(Protocol):
    """A loss of the network's output y (..., N, C) against targets."""

    def value(self, y: Array, target: Array) -> Array:
        """Return the loss (...,)."""

    def grad(self, y: Array, target: Array) -> Array:
        """Return its gradient (..., N, C)."""

    def hvp(self, y: Array, target: Array, y_dot: Array) -> Array:
        """Return its Hessian times ẏ (..., N, C)."""


def _reduction(name: str, terms: int) -> float:
    """Return the factor in front of a sum of so many terms."""
    if name not in ("sum", "mean"):
        raise ValueError(f"reduction must be 'sum' or 'mean', found {name!r}")
    return 1.0 / terms if name == "mean" else 1.0


class SquaredError(NamedTuple):
    """Σ (y − z)² over examples and outputs, eq. (S29), or its mean with ``reduction="mean"``.

    Another reduction raises ``ValueError`` at its first use.
    """

    reduction: str = "sum"

    def _scale(self, y: Array) -> float:
        return _reduction(self.reduction, y.shape[-2] * y.shape[-1])

    def value(self, y: Array, target: Array) -> Array:
        """Return the loss (...,)."""
        r = y - target
        return self._scale(y) * namespace(y).sum(r * r, axis=(-2, -1))

    def grad(self, y: Array, target: Array) -> Array:
        """Return 2 (y − z) (..., N, C), divided by N C if it is the mean."""
        return 2.0 * self._scale(y) * (y - target)

    def hvp(self, y: Array, target: Array, y_dot: Array) -> Array:
        """Return 2 ẏ (..., N, C), divided by N C if it is the mean."""
        return 2.0 * self._scale(y) * y_dot


class CrossEntropy(NamedTuple):
    """−Σ log softmax(y)_class over examples, or its mean; targets are integer classes (..., N).

    Classes lie in 0 … C − 1. The engines look whether NumPy's do; a look at those of other
    libraries would hold up a GPU. Nothing here checks it. Another reduction than ``sum`` or
    ``mean`` raises ``ValueError`` at its first use.
    """

    reduction: str = "sum"

    def _scale(self, y: Array) -> float:
        return _reduction(self.reduction, y.shape[-2])

    def _softmax(self, y: Array, *, xp: Any) -> tuple[Array, Array]:
        """Return softmax(y) and log Σ exp(y) (..., N, 1)."""
        top = xp.max(y, axis=-1, keepdims=True)
        e = xp.exp(y - top)
        total = xp.sum(e, axis=-1, keepdims=True)
        return e / total, top + xp.log(total)

    def _one_hot(self, y: Array, target: Array, *, xp: Any) -> Array:
        classes = xp.arange(y.shape[-1], dtype=target.dtype, device=device(y))
        return xp.astype(target[..., None] == classes, y.dtype)

    def value(self, y: Array, target: Array) -> Array:
        """Return the loss (...,)."""
        xp = namespace(y)
        _, log_sum = self._softmax(y, xp=xp)
        return self._scale(y) * xp.sum(
            (log_sum - y) * self._one_hot(y, target, xp=xp), axis=(-2, -1)
        )

    def grad(self, y: Array, target: Array) -> Array:
        """Return softmax(y) − one-hot (..., N, C), divided by N if it is the mean."""
        xp = namespace(y)
        return self._scale(y) * (self._softmax(y, xp=xp)[0] - self._one_hot(y, target, xp=xp))

    def hvp(self, y: Array, target: Array, y_dot: Array) -> Array:
        """Return (diag(s) − s sᵀ) ẏ with s = softmax(y), divided by N if it is the mean."""
        xp = namespace(y)
        s, _ = self._softmax(y, xp=xp)
        return self._scale(y) * s * (y_dot - xp.sum(s * y_dot, axis=-1, keepdims=True))


def value_and_grad(f: Objective, theta: Array, data: Data) -> tuple[Array, Array]:
    """Return f (...,) and ∇_θ f (..., d), with one pass forwards for both where f has a way."""
    owners = {_owner(f, name) for name in ("value", "grad", "value_and_grad")}
    if len(owners) > 1:  # a derived class may have another gradient than the way it inherits
        return f.value(theta, data), f.grad(theta, data)
    return cast("OnePass", f).value_and_grad(theta, data)


def _owner(f: Objective, name: str) -> type | None:
    """Return the class that defines a method of f."""
    return next((c for c in type(f).__mro__ if name in vars(c)), None)


class NetworkLoss(NamedTuple):
    """f(θ; D) = loss(network(θ; x), y): the optimizee is the network's parameter vector."""

    network: Optimizee
    loss: Loss

    def value(self, theta: Array, data: Data) -> Array:
        """Return f (...,)."""
        return self.loss.value(self.network.activations(theta, data.x)[-1], data.y)

    def grad(self, theta: Array, data: Data) -> Array:
        """Return ∇_θ f by backpropagation."""
        return self._slope(theta, data)[0]

    def value_and_grad(self, theta: Array, data: Data) -> tuple[Array, Array]:
        """Return f (...,) and ∇_θ f (..., d), of one pass forwards."""
        theta_bar, y = self._slope(theta, data)
        return self.loss.value(y, data.y), theta_bar

    def _slope(self, theta: Array, data: Data) -> tuple[Array, Array]:
        """∇_θ f, and the network's output that was on the way."""
        xs = self.network.activations(theta, data.x, keep=True)
        return self.network.vjp(theta, xs, self.loss.grad(xs[-1], data.y)), xs[-1]

    def hvp(self, theta: Array, data: Data, v: Array) -> Array:
        """Return ∇²_θ f v: the tangent of backpropagation along v (Pearlmutter 1994)."""
        xs = self.network.activations(theta, data.x, keep=True)
        xs_dot = self.network.jvp(theta, xs, v)
        y_bar = self.loss.grad(xs[-1], data.y)
        y_bar_dot = self.loss.hvp(xs[-1], data.y, xs_dot[-1])
        return self.network.vjp_dot(theta, xs, y_bar, v, xs_dot, y_bar_dot)
