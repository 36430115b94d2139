"""What a gradient check takes apart: one problem, and the functions that compute its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from lft_ref import (
    FineTuner,
    LSTMParams,
    LSTMState,
    Task,
    jacobians,
    maml_gradient,
    step,
    unflatten,
    vjp,
)
from lft_ref.lstm import Jacobians
from lft_ref.meta_gradient import is_boundary
from lft_ref.ops import recursion

Array = Any
TOLERANCE = 1e-8  # relative error that passes, against automatic differentiation
MAML_RATE = 0.01  # α of eq. (2) where a problem is also given to MAML


def plain_recursion(
    J: Jacobians, G: Array, G_dot: Array, H: Array, _H_before: Array
) -> tuple[Array, Array]:
    """(8) and (9) as derived; H^(k−1) is handed in for those who want (9) as printed."""
    return recursion(J, G, G_dot, H)


class Pieces(NamedTuple):
    """The hand-written functions that a meta-gradient is made of; any of them can be exchanged."""

    step: Callable[..., Any] = step
    jacobians: Callable[..., Any] = jacobians
    recursion: Callable[..., Any] = plain_recursion
    vjp: Callable[..., Any] = vjp
    is_boundary: Callable[[int, int | None], bool] = is_boundary
    unflatten: Callable[[Array, int, int], LSTMParams] = unflatten
    maml: Callable[..., Any] = maml_gradient


class Problem(NamedTuple):
    """One meta-gradient to be checked: data and settings, and the functions that compute it."""

    params: LSTMParams
    tuner: FineTuner
    task: Task
    weights: tuple[float, ...]
    state_0: LSTMState
    truncate: int | None = None
    pieces: Pieces = Pieces()
    label: str = ""
    coordinates: tuple[str, ...] = ()  # names of θ's coordinates; θ[0], θ[1], … if empty
    maml_rate: float | None = None  # α; MAML is not checked if None
    tolerance: float = TOLERANCE
    judge: str = "automatic differentiation"  # what the terms are compared with

    @property
    def K(self) -> int:
        """Number of fine-tuning steps."""
        return len(self.weights)

    @property
    def d(self) -> int:
        """Number of coordinates of θ."""
        return int(self.task.theta_0.shape[-1])

    @property
    def differentiable(self) -> bool:
        """Whether ∇_Φ is the derivative of the meta-loss: nothing is dropped or cut."""
        return self.tuner.second_order and self.truncate is None

    @property
    def has_own_pieces(self) -> bool:
        """Whether a function was exchanged that the engines do not have from the fine-tuner."""
        of_tuner = Pieces(step=self.tuner.ops.step, vjp=self.tuner.ops.vjp)
        return self.pieces not in (Pieces(), of_tuner)
