"""How much of a meta-gradient is signal: what the gradients of different tasks agree on.

Algorithm 1 follows the mean of ∇_Φ over tasks. Where the gradients of single tasks hardly agree,
that mean takes many tasks to find. This module measures the agreement for each truncated unroll,
with the loss on D_val (LFT, eq. 5) and on D_tr (L2O, eq. 10), along the same trajectory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lft_backends.backend import Backend
from lft_backends.draws import Stage
from lft_ref import (
    Cell,
    FineTuner,
    FirstOrder,
    LSTMParams,
    LSTMState,
    Task,
    adjoint,
    weights_every_step,
)
from lft_validation.experiments.sine import SineProblem
from lft_validation.experiments.usable import unroll_numbers

CHUNK = 20  # tasks unrolled at once
UNROLL = 20  # K
FIRST_TASK = 100_000  # far from the tasks of meta-training


class Window(NamedTuple):
    """The gradients of one unroll over many tasks, judged on one data set."""

    judged_on: str  # D_val or D_tr
    last_step: int
    loss: float  # mean squared error after the last step, mean over tasks
    norm: float  # median of ‖∇_Φ‖ over tasks
    longest: float  # share of Σ ‖∇_Φ‖² that the longest eighth of the tasks has
    agreement: float  # ‖E u‖² / E ‖u‖², u = ∇_Φ clipped to length 1
    error: float  # standard error of the agreement

    @property
    def tasks_needed(self) -> float:
        """Tasks in a batch whose mean has as much signal as noise; infinite if none is seen."""
        return (1.0 - self.agreement) / self.agreement if self.agreement > 0.0 else np.inf


def agreement(gradients: np.ndarray) -> tuple[float, float]:
    """Return ‖E u‖² / E ‖u‖² and its standard error (jackknife) from gradients (tasks, P).

    Gradients longer than 1 are clipped to length 1, as in meta-training. The square of the mean is
    estimated without bias, so the result may be below 0: then no agreement is seen.

    Example:
        >>> agreement(np.ones((5, 4)))[0]
        1.0
        >>> agreement(np.eye(6))[0]
        0.0
    """
    norms = np.linalg.norm(gradients, axis=-1, keepdims=True)
    u = gradients / np.maximum(norms, 1.0)
    N, total, squares = u.shape[0], u.sum(axis=0), (u * u).sum(axis=-1)
    whole = _ratio(total @ total, squares.sum(), N)
    without = total @ total - 2.0 * (u @ total) + squares  # ‖Σ − u_i‖²
    others = _ratio(without, squares.sum() - squares, N - 1)
    error = np.sqrt((N - 1) / N * np.sum((others - others.mean()) ** 2))
    return float(whole), float(error)


def _ratio(sum_squared: np.ndarray, squares: np.ndarray, N: int) -> np.ndarray:
    """(‖Σ u‖² − Σ ‖u‖²) / (N (N − 1)), over Σ ‖u‖² / N."""
    ratio: np.ndarray = (sum_squared - squares) / ((N - 1) * squares)
    return ratio


def longest_share(norms: np.ndarray) -> float:
    """Return the share of Σ ‖∇_Φ‖² that the longest eighth of the gradients has, at least one.

    It is about what they have of the square of a sum over tasks, where directions are unrelated.

    Example:
        >>> longest_share(np.ones(16)), longest_share(np.array([3.0, 1.0]))
        (0.125, 0.9)
    """
    squares = np.sort(norms)[::-1] ** 2
    return float(squares[: max(1, len(squares) // 8)].sum() / squares.sum())


def memory_bytes(tasks: int, n: int, d: int = 1_761) -> int:
    """Estimate the peak memory of :func:`measure` in float64: one chunk's unroll, all tasks' ends.

    Args:
        tasks: how many tasks.
        n: hidden units of the cell.
        d: parameters of the regressor.
    """
    unrolled = min(tasks, CHUNK) * unroll_numbers(d, UNROLL, n)
    return 8 * (unrolled + tasks * d * (1 + 2 * n))


def measure(
    params: LSTMParams,
    cell: Cell,
    backend: Backend,
    tasks: int,
    seed: int,
    second_order: bool = True,
    steps: int = 200,
    unroll: int = UNROLL,
) -> Iterator[list[Window]]:
    """Yield, unroll by unroll, the windows on D_val and on D_tr for the sine tasks of Figure 4.

    Args:
        params: Φ.
        cell: its fixed choices.
        backend: where to compute.
        tasks: how many tasks; at least 3.
        seed: of the tasks.
        second_order: whether ∂g/∂θ is kept.
        steps: of fine-tuning.
        unroll: K, a divisor of ``steps``.
    """
    phi = LSTMParams(*(backend.asarray(a) for a in params))
    tuner = FineTuner(cell, FirstOrder(), second_order, backend.ops)
    problem = SineProblem(backend, (40, 40), 10, 10)
    chunks = [
        _start(problem, seed, range(first, min(first + CHUNK, tasks)))
        for first in range(0, tasks, CHUNK)
    ]
    for last in range(unroll, steps + 1, unroll):
        parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"D_val": [], "D_tr": []}
        for i, (task, state) in enumerate(chunks):
            for name, data in (("D_val", task.val), ("D_tr", task.train)):
                judged = task._replace(val=data)
                found = adjoint(phi, tuner, judged, weights_every_step(unroll), state)
                flat = [backend.to_host(a).reshape(len(task.theta_0), -1) for a in found.grad]
                loss = backend.to_host(found.val_loss[-1]) / problem.shots
                parts[name].append((np.concatenate(flat, axis=-1).astype(np.float64), loss))
            chunks[i] = task._replace(theta_0=found.theta), found.state
        yield [_window(name, last, part) for name, part in parts.items()]


def _start(problem: SineProblem, seed: int, chunk: range) -> tuple[Task, LSTMState | None]:
    numbers = [FIRST_TASK + i for i in chunk]
    train, val = problem.data(seed, Stage.META_TASK, numbers)
    theta_0 = problem.theta_0(seed, Stage.META_INIT, numbers)
    return Task(problem.sum_loss, train, val, theta_0, None), None


def _window(name: str, last: int, parts: list[tuple[np.ndarray, np.ndarray]]) -> Window:
    gradients = np.concatenate([grad for grad, _ in parts])
    loss = float(np.mean(np.concatenate([loss for _, loss in parts])))
    norms = np.linalg.norm(gradients, axis=-1)
    median = float(np.median(norms))
    return Window(name, last, loss, median, longest_share(norms), *agreement(gradients))
