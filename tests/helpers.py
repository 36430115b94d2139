"""What the tests share: comparisons, and how many examples there are."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import settings

from lft_ref import (
    LSTMParams,
    MetaGradient,
    flatten,
)

RTOL = 1e-9  # what all engines promise in float64


def examples(percent: int) -> settings:
    """Run this many examples, in percent of the active profile's ``max_examples``."""
    return settings(max_examples=max(1, percent * settings().max_examples // 100))


# Comparisons --------------------------------------------------------------------------------------


def norm(a: Any) -> float:
    return float(np.linalg.norm(np.ravel(np.asarray(a))))


def relative_error(got: Any, want: Any) -> float:
    """‖got − want‖ / ‖want‖ over all entries; 0 if both vanish."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"shape {got.shape}, expected {want.shape}"
    error, scale = norm(got - want), norm(want)
    return 0.0 if error == 0.0 else error / scale if scale > 0.0 else np.inf


def assert_close(got: Any, want: Any, rtol: float = RTOL) -> None:
    """Compare on the scale of ``want`` itself, so that an all-zero result never passes."""
    error = relative_error(got, want)
    assert error <= rtol, f"relative error {error:.3g} exceeds {rtol:.3g}"


def assert_product_close(got: Any, want: Any, slope: Any, rtol: float) -> None:
    """Compare products of ∂g/∂θ with a vector; ``slope`` is g.

    Where ∂g/∂θ is zero, as of a loss that is piecewise linear, automatic differentiation leaves
    rounding on the scale of g.
    """
    scale = max(norm(want), 1e-3 * norm(slope))
    error = norm(np.asarray(got) - np.asarray(want))
    assert error <= rtol * scale, f"error {error:.3g} exceeds {rtol:.3g} times {scale:.3g}"


def gradient_error(got: LSTMParams, want: LSTMParams) -> float:
    """Largest relative error over the whole of Φ and over each of its five fields.

    A field counts on its own scale, or on 1e-4 of the whole's where it is smaller than that: below,
    cancellation in float64 and not the formula decides.
    """
    floor = 1e-4 * norm(flatten(want))
    errors = [relative_error(flatten(got), flatten(want))]
    for a, b in zip(got, want, strict=True):
        scale = max(norm(b), floor)
        errors.append(norm(np.asarray(a) - np.asarray(b)) / scale if scale > 0.0 else norm(a))
    return max(errors)


def assert_same_gradient(got: LSTMParams, want: LSTMParams, rtol: float = RTOL) -> None:
    """The comparison that every engine must pass, and that every planted mistake must fail."""
    error = gradient_error(got, want)
    assert error <= rtol, f"gradients differ by {error:.3g}, more than {rtol:.3g}"


def assert_same_result(got: MetaGradient, want: MetaGradient, rtol: float = RTOL) -> None:
    """All fields of two engines' results, the gradient last."""
    for name in ("meta_loss", "val_loss", "theta"):
        assert_close(getattr(got, name), getattr(want, name), rtol)
    for a, b in zip(got.state, want.state, strict=True):
        # h and c are of order 1; what closed gates leave of them, 1e-17 say, is rounding.
        assert norm(a - b) <= rtol * max(norm(b), 1e-3)
    assert_same_gradient(got.grad, want.grad, rtol)


def taylor_slope(f: Callable[[float], float], slope: float, start: float = 2e-2) -> float:
    """Order in ε at which |f(ε) − f(0) − ε f'(0)| vanishes: 2 if ``slope`` is f'(0), else 1."""
    steps = start * 0.5 ** np.arange(5)
    f_0 = f(0.0)
    rest = [abs(f(e) - f_0 - e * slope) for e in steps]
    return float(np.polyfit(np.log(steps), np.log(rest), 1)[0])


def central_difference_errors(
    f: Callable[[float], Any], derivative: Any, steps: tuple[float, ...] = (1e-2, 5e-3, 2.5e-3)
) -> list[float]:
    """Relative error of (f(ε) − f(−ε)) / 2ε for each ε; if right, a quarter for half the step."""
    return [relative_error((f(e) - f(-e)) / (2.0 * e), derivative) for e in steps]


def assert_is_derivative(f: Callable[[float], Any], derivative: Any) -> None:
    """Central differences converge to ``derivative`` with order 2, over several step sizes."""
    errors = central_difference_errors(f, derivative)
    assert errors[-1] < 1e-3, f"central differences are off by {errors}"
    for coarse, fine in pairwise(errors):
        # Exact for quadratics: then rounding, about 1e-16 over the step, is all that is left.
        assert fine < 0.35 * coarse or fine < 1e-10, f"no convergence of order 2: {errors}"


def leaves(tree: Any) -> list[np.ndarray]:
    """All arrays of nested tuples and lists, in order."""
    if isinstance(tree, tuple | list):
        return [leaf for branch in tree for leaf in leaves(branch)]
    return [np.asarray(tree)] if isinstance(tree, np.ndarray | np.generic) else []


def cast(tree: Any, dtype: str) -> Any:
    """The same tree with floating-point arrays of another precision."""
    if isinstance(tree, dict):
        return {name: cast(branch, dtype) for name, branch in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(cast(branch, dtype) for branch in tree))
    if isinstance(tree, tuple | list):
        return type(tree)(cast(branch, dtype) for branch in tree)
    floating = isinstance(tree, np.ndarray) and tree.dtype.kind == "f"
    return tree.astype(dtype) if floating else tree
