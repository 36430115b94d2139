"""How the fine-tuner comes by g(θ; D): the gradient, or the estimate (6) from given directions.

Statement 1 needs ∂g/∂θ as well. For the gradient it is the Hessian; for (6) it is
(1/(μ q)) Σ_j u_j (∇f(θ + μ u_j) − ∇f(θ))ᵀ: first derivatives only, and not symmetric.

Two conventions of (6) live in the literature: Gaussian directions without a factor (the paper's),
and directions on the unit sphere with a factor d. Both are here by name and are never mixed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from lft_ref._array import Array, namespace
from lft_ref.objectives import Data, Objective


class Estimator(Protocol):
    """g(θ; D) with the two products of its Jacobian ∂g/∂θ.

    ``u`` are the directions of one step (q, ..., d); an estimator that needs none ignores them.
    """

    def estimate(self, f: Objective, theta: Array, data: Data, u: Array) -> Array:
        """Return g (..., d)."""

    def jvp(self, f: Objective, theta: Array, data: Data, u: Array, v: Array) -> Array:
        """Return (∂g/∂θ) v, for v (..., d) or many, (P, ..., d)."""

    def vjp(self, f: Objective, theta: Array, data: Data, u: Array, v: Array) -> Array:
        """Return (∂g/∂θ)ᵀ v."""


class FirstOrder(NamedTuple):
    """g = ∇_θ f, as in eq. (3); ∂g/∂θ is the Hessian, which is symmetric."""

    def estimate(self, f: Objective, theta: Array, data: Data, u: Array) -> Array:
        """Return ∇_θ f(θ; D)."""
        return f.grad(theta, data)

    def jvp(self, f: Objective, theta: Array, data: Data, u: Array, v: Array) -> Array:
        """Return ∇²_θ f v."""
        return f.hvp(theta, data, v)

    def vjp(self, f: Objective, theta: Array, data: Data, u: Array, v: Array) -> Array:
        """Return ∇²_θ f v: the Hessian is symmetric."""
        return f.hvp(theta, data, v)


class ZerothOrder(NamedTuple):
    """g = (1/(μ q)) Σ_j u_j (f(θ + μ u_j) − f(θ)), eq. (6), with q directions u (q, ..., d).

    ``scaling`` says what the directions are, hence the factor in front: ``gaussian`` (entries
    N(0, 1)) has 1; ``sphere`` (unit norm) has d; ``coordinate`` (u_j = e_j, all d of them) has q,
    which makes it the plain forward difference. With ``antithetic`` the difference in the bracket
    is (f(θ + μ u_j) − f(θ − μ u_j)) / 2. Source: Liu et al. 2020. Another scaling raises
    ``ValueError`` at its first use.

    Example:
        >>> import numpy as np
        >>> from lft_ref.objectives import Data, Quadratic
        >>> data = Data(np.eye(2), np.asarray([1.0, 2.0]))
        >>> exact = Quadratic().grad(np.zeros(2), data)
        >>> estimator = ZerothOrder(mu=1e-6, scaling="coordinate", antithetic=True)
        >>> bool(np.allclose(estimator.estimate(Quadratic(), np.zeros(2), data, np.eye(2)), exact))
        True
    """

    mu: float = 1e-3
    scaling: Literal["gaussian", "sphere", "coordinate"] = "gaussian"
    antithetic: bool = False

    def estimate(self, f: Objective, theta: Array, data: Data, u: Array) -> Array:
        """Return g: f is called q + 1 times, or 2 q times if antithetic, and not differentiated."""
        slopes = self._difference(lambda at: f.value(at, data), theta, u)  # (q, ...)
        return self._factor(u) * namespace(theta).sum(u * slopes[..., None], axis=0)

    def jvp(self, f: Objective, theta: Array, data: Data, u: Array, v: Array) -> Array:
        """Return factor · Σ_j u_j (∇_j · v) with ∇_j = (∇f(θ + μ u_j) − ∇f(θ)) / μ."""
        slopes = self._difference(lambda at: f.grad(at, data), theta, u)  # (q, ..., d)
        return self._factor(u) * _outer_product(u, slopes, v)

    def vjp(self, f: Objective, theta: Array, data: Data, u: Array, v: Array) -> Array:
        """Return factor · Σ_j ∇_j (u_j · v)."""
        slopes = self._difference(lambda at: f.grad(at, data), theta, u)  # (q, ..., d)
        return self._factor(u) * _outer_product(slopes, u, v)

    def _factor(self, u: Array) -> float:
        q, d = float(u.shape[0]), float(u.shape[-1])
        factors = {"gaussian": 1.0, "sphere": d, "coordinate": q}
        if self.scaling not in factors:
            raise ValueError(f"scaling must be one of {list(factors)}, found {self.scaling!r}")
        return factors[self.scaling] / q

    def _difference(self, call: Callable[[Array], Array], theta: Array, u: Array) -> Array:
        """(call(θ + μ u_j) − call(θ)) / μ for every j, or its two-sided form."""
        if self.antithetic:
            return (call(theta + self.mu * u) - call(theta - self.mu * u)) / (2.0 * self.mu)
        return (call(theta + self.mu * u) - call(theta)) / self.mu


def _outer_product(left: Array, right: Array, v: Array) -> Array:
    """Σ_j left_j (right_j · v), for left and right (q, ..., d) and v (..., d) or (P, ..., d)."""
    xp = namespace(left)
    left, right = xp.moveaxis(left, 0, -1), xp.moveaxis(right, 0, -2)  # (..., d, q), (..., q, d)
    return (left @ (right @ v[..., None]))[..., 0]
