"""What is asked of Φ and of the settings: counts, weights, the cell, the estimator.

Every function raises ``ValueError`` with the argument, the value found and the remedy.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, inf, isfinite, log
from numbers import Integral, Real
from typing import Any

from lft_ref._array import Array, namespace
from lft_ref.lstm import Cell
from lft_ref.params import LSTMParams, shapes
from lft_ref.preprocess import LogSign
from lft_ref.zeroth_order import Estimator, FirstOrder, ZerothOrder


def check_count(name: str, count: object, least: int = 1, otherwise: str = "") -> None:
    """Check that what is counted is a whole number, and large enough."""
    if not (isinstance(count, Integral) and int(count) >= least):
        raise ValueError(
            f"{name} must be a whole number of at least {least}{otherwise}, found {count!r}"
        )


def check_optional_counts(**counts: int | None) -> None:
    """Check what is counted from 1, or None."""
    for name, count in counts.items():
        if count is not None:
            check_count(name, count, otherwise=", or None")


def check_positive(name: str, value: object, remedy: str = "") -> None:
    """Check that a setting is a positive, finite number."""
    if not (isinstance(value, Real) and 0.0 < float(value) < inf):
        raise ValueError(f"{name} must be positive and finite, found {value!r}{remedy}")


def check_weights(weights: Sequence[float]) -> None:
    """Check that there is a w_k, and that each is a finite number."""
    if not isinstance(weights, Sequence):
        raise ValueError(
            f"weights must be a tuple or list, found {type(weights).__name__}; use for example "
            "(1.0,) * K"
        )
    if not weights:
        raise ValueError("weights must hold w_1 … w_K, found none; use for example (1.0,) * K")
    for k, w in enumerate(weights, start=1):
        if not (isinstance(w, Real) and isfinite(w)):
            raise ValueError(f"weights must be finite numbers, found w_{k} = {w!r}")


def check_is_array(name: str, array: object) -> None:
    """Check that an argument is an array of a library that is known."""
    try:
        namespace(array)
    except ValueError:
        raise ValueError(
            f"{name} must be an array, found {type(array).__name__}; convert it, for example with "
            "numpy.asarray"
        ) from None


def check_theta(name: str, theta: Array) -> None:
    """Check that an optimizee is an array (..., d) of floating-point numbers."""
    check_is_array(name, theta)
    shape, xp = tuple(theta.shape), namespace(theta)
    if not shape or shape[-1] < 1:
        raise ValueError(f"{name} must have shape (..., d) with d >= 1, found {shape}")
    if not xp.isdtype(theta.dtype, "real floating"):
        raise ValueError(
            f"{name} must be real floating-point, found {theta.dtype}; "
            "convert it, for example to float64"
        )


def check_params(params: LSTMParams) -> None:
    """Check that the five arrays of Φ belong together."""
    for name, array in params._asdict().items():
        check_is_array(f"Φ's {name}", array)
    for name in ("W_x", "W_h"):  # m and n are read from them
        found = tuple(getattr(params, name).shape)
        if len(found) != 2 or min(found) < 1:
            raise ValueError(f"Φ's {name} must be a matrix of 4n columns, found shape {found}")
    for name, wanted in shapes(params.m, params.n)._asdict().items():
        found = tuple(getattr(params, name).shape)
        if found != wanted:
            raise ValueError(
                f"Φ's {name} must have shape {wanted} for m={params.m}, n={params.n}, found {found}"
            )


def check_cell(params: LSTMParams, cell: Cell) -> None:
    """Check the cell's settings, and that it makes as many features as Φ takes."""
    how, s = cell.preprocess, cell.output_scale
    if isinstance(how, LogSign):
        _check_p(how.p, params.W_h)
    if not (isinstance(s, Real) and isfinite(s)):
        raise ValueError(f"output_scale must be a finite number, found {s!r}; 0.1 is usual")
    if params.m != how.m:
        raise ValueError(
            f"Φ takes m={params.m} features, but {how!r} makes {how.m}; "
            "use the preprocessing that Φ was trained with"
        )


def _check_p(p: object, like: Array) -> None:
    """Check that e^p is a number of the dtype, if that is one of floating-point numbers."""
    xp = namespace(like)
    floating = xp.isdtype(like.dtype, "real floating")
    largest = floor(log(float(xp.finfo(like.dtype).max))) if floating else inf
    if not (isinstance(p, Real) and 0.0 < float(p) <= largest):
        raise ValueError(
            f"p of LogSign must be positive and at most {largest} in {like.dtype}, found {p!r}; "
            "10 is usual"
        )


def check_directions(estimator: Estimator, theta_0: Array, directions: Any, K: int) -> None:
    """Check the estimator's settings, and that there are directions for K steps."""
    if isinstance(estimator, FirstOrder):
        return
    if isinstance(estimator, ZerothOrder):
        check_positive("mu", estimator.mu, "; try 1e-3")
    shape = tuple(theta_0.shape)
    found = None if directions is None else tuple(directions.shape)
    if found is None or len(found) < 3 or found[0] < K or found[1] < 1 or found[2:] != shape:
        wanted = f"(K, q, *theta_0.shape) = ({K}, q, {', '.join(map(str, shape))})"
        raise ValueError(f"directions must have shape {wanted} with q >= 1, found {found}")
    basis = isinstance(estimator, ZerothOrder) and estimator.scaling == "coordinate"
    if basis and found[1] != shape[-1]:
        raise ValueError(
            f"scaling='coordinate' takes all d={shape[-1]} directions e_j, found q={found[1]}; "
            "give all of them, or use another scaling"
        )
