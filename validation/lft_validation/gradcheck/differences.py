"""A loss that autograd cannot read: differentiable nevertheless, by central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from autograd.extend import defvjp, primitive


def differentiable_by_differences(
    value: Callable[..., Any], step: float
) -> Callable[[Any, Any], Any]:
    """Return ``value(theta, data)`` with central differences as its first two derivatives.

    Gradients are extrapolated from two step sizes (Richardson), which leaves about 1e-10; the
    Hessian is a central difference of the gradient and good to about 1e-6.

    Args:
        value: the loss, of plain NumPy.
        step: ε of the differences, relative to |θ_i| or 1.
    """

    def slope(f: Callable[[Any], Any], theta: Any, e: Any) -> Any:
        """df/dθ_i for every i, on the first axis."""
        rows = []
        for i, width in enumerate(e):
            shift = np.zeros_like(theta)
            shift[i] = width
            rows.append((f(theta + shift) - f(theta - shift)) / (2.0 * width))
        return np.asarray(rows)

    def plain_gradient(theta: Any, data: Any) -> Any:
        e = 20.0 * step * np.maximum(1.0, np.abs(theta))
        near, far = (
            slope(lambda at: float(value(at, data)), theta, e * width) for width in (1.0, 2.0)
        )
        return (4.0 * near - far) / 3.0

    @primitive  # type: ignore[untyped-decorator] # autograd has no types
    def f(theta: Any, data: Any) -> Any:
        return float(value(theta, data))

    @primitive  # type: ignore[untyped-decorator]
    def gradient(theta: Any, data: Any) -> Any:
        return plain_gradient(theta, data)

    def hessian(theta: Any, data: Any) -> Any:
        e = 200.0 * step * np.maximum(1.0, np.abs(theta))
        H = slope(lambda at: plain_gradient(at, data), theta, e)
        return 0.5 * (H + H.T)

    defvjp(f, lambda _, theta, data: lambda g: g * gradient(theta, data), None)
    defvjp(gradient, lambda _, theta, data: lambda g: _product(hessian(theta, data), g), None)
    return f  # type: ignore[no-any-return]


def _product(H: Any, g: Any) -> Any:
    import autograd.numpy as anp

    return anp.dot(H, g)
