"""How far the fused twins are from the reference in float64, in units of what rounding explains."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

import lft_ref
from lft_ref import Cell, Identity, LogSign, LSTMParams, LSTMState, Ops, flatten, ops
from lft_ref.params import Columns, all_columns

BACKEND = Path(lft_ref.__file__).parents[1] / "backends" / "lft_backends" / "cupy_backend.py"


class Squares(NamedTuple):
    """A preprocessing without a kernel of its own: four features of g."""

    m: int = 4

    def features(self, g: Any) -> Any:
        return _stack(g, 0.5 * g * g, 0.1 * g * g * g, 1.0 - g)

    def derivative(self, g: Any) -> Any:
        return _stack(g / g, g, 0.3 * g * g, -g / g)


def _stack(*arrays: Any) -> Any:
    return lft_ref._array.namespace(arrays[0]).stack(arrays, axis=-1)


PREPROCESS = {1: Identity(), 2: LogSign(), 4: Squares()}


class Twins(NamedTuple):
    """The twins under test, and how to send arrays there and back."""

    ops: Ops
    put: Callable[[Any], Any]
    get: Callable[[Any], np.ndarray]
    module: Any
    cupy: Any


def load_backend(cupy: Any, name: str = "cupy_backend") -> Any:
    """Return a module of ``lft_backends`` with another module in CuPy's place."""
    path = BACKEND.with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"lft_backends.{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(sys.modules, {"cupy": cupy}):
        spec.loader.exec_module(module)
    return module


class Case(NamedTuple):
    """Arguments of all three functions, without any symmetry."""

    params: LSTMParams
    cell: Cell
    g: np.ndarray
    state: LSTMState
    delta_bar: np.ndarray
    state_bar: LSTMState


def draw(dtype: str, n: int, m: int, shape: tuple[int, ...], seed: int = 0) -> Case:
    """A random case; shape is (..., d)."""
    rng = np.random.default_rng(seed)
    shapes = lft_ref.params.shapes(m, n)
    params = LSTMParams(
        *(np.asarray(rng.normal(0.1, 1 / np.sqrt(n + m), s), dtype) for s in shapes)
    )
    g = rng.normal(size=shape) * (np.exp(rng.uniform(-14, 2, shape)) if m == 2 else 1.0)
    g[np.abs(np.abs(g) * np.exp(10.0) - 1) < 1e-3] = 1.0  # both dtypes on one side of e^-p
    h, c, h_bar, c_bar = (rng.normal(0.1, 1, (*shape, n)).astype(dtype) for _ in range(4))
    delta_bar = rng.normal(0.3, 1, shape).astype(dtype)
    cell = Cell(PREPROCESS[m], 0.3)
    return Case(params, cell, g.astype(dtype), LSTMState(h, c), delta_bar, LSTMState(h_bar, c_bar))


def saturated(case: Case) -> Case:
    """The case with |g| from 0.1 to 10⁶: fed as they are, most gates are open or shut."""
    rng, shape = np.random.default_rng(1), case.g.shape
    g = rng.choice([-1.0, 1.0], shape) * np.exp(rng.uniform(np.log(0.1), np.log(1e6), shape))
    return case._replace(g=g.astype(case.g.dtype))


def cast(tree: Any, convert: Callable[[Any], Any]) -> Any:
    """Convert all arrays of nested tuples."""
    if hasattr(tree, "dtype"):  # of any library
        return convert(tree)
    if isinstance(tree, tuple) and not isinstance(tree, Squares | Columns):
        kind = type(tree)
        leaves = [cast(leaf, convert) for leaf in tree]
        return kind(*leaves) if hasattr(tree, "_fields") else tuple(leaves)
    return tree


def errors(twins: Twins, case: Case) -> dict[str, float]:
    """Each result's largest error in units of its bound."""
    found, units = {}, _units(case)
    exact = cast(case, lambda a: np.asarray(a, np.float64))
    there = cast(case, twins.put)
    delta, new = twins.ops.step(*there[:4])
    want_delta, want_new = lft_ref.step(*exact[:4])
    pairs = {"delta": (delta, want_delta), "h": (new.h, want_new.h), "c": (new.c, want_new.c)}
    for name, (a, b) in pairs.items():
        found[name] = _error(twins.get(a), b, np.max(np.abs(b)), case.g.dtype) / units
    grad, g_bar, old = twins.ops.vjp(*there)
    want_grad, want_g, want_old = lft_ref.vjp(*exact)
    slope = np.sum(np.abs(case.cell.preprocess.derivative(exact.g)), axis=-1)  # 1/(p g) or e^p
    x_bar = want_g / slope
    found["g_bar"] = _error(twins.get(g_bar) / slope, x_bar, np.max(np.abs(x_bar)), None) / units
    for name in ("h", "c"):
        a, b = twins.get(getattr(old, name)), getattr(want_old, name)
        found[f"{name}_bar"] = _error(a, b, np.max(np.abs(b)), case.g.dtype) / units
    size = _sum_of_absolute_values(exact)
    flat = np.concatenate([twins.get(a).reshape(*case.g.shape[:-1], -1) for a in grad], axis=-1)
    assert [a.shape for a in grad] == [a.shape for a in want_grad]
    found["params"] = _error(flat, flatten(want_grad), size, None) / units
    return found


def forward_errors(twins: Twins, case: Case, columns: Columns | None = None) -> dict[str, float]:
    """The same for the forward-mode block update."""
    n, rng, dtype = case.params.n, np.random.default_rng(1), case.g.dtype
    columns = columns or all_columns(case.params.m, n)
    shape, P = case.g.shape, columns.width(n)
    G, G_dot = (rng.normal(0.2, 1, (*shape, P)).astype(dtype) for _ in range(2))
    H = rng.normal(0.2, 1, (*shape, 2 * n, P)).astype(dtype)
    arguments = (*case[:4], G, G_dot, H, columns)
    exact = ops.forward_update(*cast(arguments, lambda a: np.asarray(a, np.float64)))
    found = twins.ops.forward_update(*cast(arguments, twins.put))
    return {
        name: _error(twins.get(a), b, np.max(np.abs(b)), dtype) / _units(case)
        for name, a, b in zip("GH", found, exact, strict=True)
    }


def _units(case: Case) -> float:
    """Half an ulp for each of the m + n + 1 products of a gate, and a few dozen operations more."""
    return float(np.finfo(case.g.dtype).eps) * (32 + 2 * (case.params.m + case.params.n))


def _error(a: np.ndarray, b: np.ndarray, scale: Any, dtype: Any) -> float:
    assert a.shape == b.shape, f"shape {a.shape}, expected {b.shape}"
    assert dtype is None or a.dtype == dtype
    assert np.isfinite(b).all()
    return float(np.max(np.abs(a - b) / scale)) if np.isfinite(a).all() else np.inf


def _sum_of_absolute_values(exact: Case) -> np.ndarray:
    """Σ_j |Φ̄_j| (..., P): what rounding of a sum over coordinates is proportional to."""
    alone = [a[..., None] for a in (exact.g, exact.delta_bar)]
    state, state_bar = (
        LSTMState(*(a[..., None, :] for a in s)) for s in (exact.state, exact.state_bar)
    )
    each = lft_ref.vjp(exact.params, exact.cell, alone[0], state, alone[1], state_bar)[0]
    return np.sum(np.abs(flatten(each)), axis=-2)
