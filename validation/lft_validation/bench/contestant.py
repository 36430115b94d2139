"""A contestant: something that computes the value and the meta-gradient of an unroll."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

OURS = "lft_ref"
FUSED = "lft_ref, Numba"
PLAIN = "lft_ref, NumPy"


class Result(NamedTuple):
    """What a contestant found: the meta-loss of all tasks together, and its gradient."""

    value: float
    flat: np.ndarray  # (P,) float64, fields of Φ in order, row-major


class Contestant(NamedTuple):
    """``run()`` computes once and waits until it is done; ``read`` makes its result comparable."""

    name: str
    family: str  # lft_ref, jax or torch
    run: Callable[[], object]
    read: Callable[[object], Result]


class Missing(NamedTuple):
    """A contestant that cannot take part, and why, with what mends it, in one sentence."""

    name: str
    reason: str


Field = list[Contestant | Missing]
