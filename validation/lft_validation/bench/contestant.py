"""A contestant: something that computes the value and the meta-gradient of an unroll."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

OURS = "lft_ref"
FUSED = "lft_ref, Numba"
PLAIN = "lft_ref, NumPy"
ON_GPU = "lft_ref, CuPy"


class Result(NamedTuple):
    """What a contestant found: the meta-loss of all tasks together, and its gradient."""

    value: float
    flat: np.ndarray  # (P,) float64, fields of Φ in order, row-major


class Point(NamedTuple):
    """What one update of Φ hands to the next, as float64 on the host."""

    flat: np.ndarray  # Φ (P,)
    mean: np.ndarray  # Adam's moments (P,)
    square: np.ndarray
    updates: int
    theta: np.ndarray  # (tasks, d)
    h: np.ndarray  # (tasks, d, n)
    c: np.ndarray


class Update(NamedTuple):
    """One unroll from a point, and the update of Φ that follows."""

    result: Result
    end: Point


class Contestant(NamedTuple):
    """``run()`` computes once and waits until it is done; ``read`` makes its result comparable."""

    name: str
    family: str  # lft_ref, jax or torch
    run: Callable[[], object]
    read: Callable[[Any], Result]
    # Where Φ is trained: what ``run`` does again and again, once and from any point.
    update: Callable[[Point], Update] | None = None


class Missing(NamedTuple):
    """A contestant that cannot take part, and why, with what mends it, in one sentence."""

    name: str
    reason: str


Field = list[Contestant | Missing]


def does_not_run(name: str, error: BaseException) -> Missing:
    """Say in one sentence why somebody takes no part."""
    text = " ".join(str(error).split())[:120]
    return Missing(name, f"{name} does not run here ({type(error).__name__}: {text})")
