"""What is measured at every fine-tuning step.

An image is fooled if the victim gives x + θ, cut off at the ends of the box as an attacker must in
the end, another class than its own. A task's success rate is the share of its images that are
fooled: of those that the victim classifies correctly without θ, or of all. The strength of θ is
mean |θ_i| over its pixels (the paper's "ℓ1 norm": docs/errata.md).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lft_backends.backend import Backend
from lft_ref import AttackLoss, Data

RAN_AWAY = 1e12  # what a perturbation or a loss counts as that is not finite
NAMES = ("train", "val", "train_all", "val_all", "strength", "loss")


class Meter(NamedTuple):
    """A batch of tasks of one source, ready to be measured."""

    backend: Backend
    loss: AttackLoss
    sets: tuple[Data, Data]  # D_tr, D_val
    right: tuple[np.ndarray, np.ndarray]  # (tasks, N): classified correctly without θ

    def measure(self, theta: Any) -> np.ndarray:
        """Return the numbers of :data:`NAMES`, (6, tasks) float64; θ is (tasks, d)."""
        xp, host = self.backend.xp, self.backend.to_host
        won = [fooled(self.backend, self.loss, theta, data) for data in self.sets]
        rates = [share(w, right) for w, right in zip(won, self.right, strict=True)]
        rates += [w.mean(axis=-1) for w in won]
        strength = host(xp.mean(xp.abs(theta), axis=-1))
        loss = host(self.loss.value(theta, self.sets[0]))
        return np.stack([*rates, capped(strength), capped(loss)])


def make_meter(backend: Backend, loss: AttackLoss, sets: tuple[Data, Data], theta: Any) -> Meter:
    """Look at the images without θ first."""
    none = backend.xp.zeros_like(theta)
    first, second = (~fooled(backend, loss, none, data) for data in sets)
    return Meter(backend, loss, sets, (first, second))


def fooled(backend: Backend, loss: AttackLoss, theta: Any, data: Data) -> np.ndarray:
    """Return which images (tasks, N) get another class; none where a logit is not finite."""
    z = backend.to_host(loss._replace(clip=True).logits(theta, data))
    other: np.ndarray = np.argmax(z, axis=-1) != backend.to_host(data.y)
    known: np.ndarray = np.isfinite(z).all(axis=-1)
    return np.asarray(other & known)


def share(won: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Return the share of ``won`` among ``counted``, (tasks,); NaN where nothing counts.

    Example:
        >>> import numpy as np
        >>> won = np.asarray([[True, True], [True, False]])
        >>> share(won, np.asarray([[True, False], [False, False]])).tolist()
        [1.0, nan]
    """
    number = counted.sum(axis=-1)
    rate = (won & counted).sum(axis=-1) / np.maximum(number, 1)
    return np.asarray(np.where(number > 0, rate, np.nan))


def known_mean(values: np.ndarray, axis: int | None = None) -> Any:
    """Return the mean over tasks where an image counts; NaN where there is none.

    Example:
        >>> known_mean(np.asarray([[1.0, np.nan], [0.0, np.nan]]), axis=0).tolist()
        [0.5, nan]
    """
    there = ~np.isnan(values)
    total = np.where(there, values, 0.0).sum(axis=axis)
    number = there.sum(axis=axis)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def known_sd(values: np.ndarray, axis: int | None = None) -> Any:
    """Return the standard deviation over the same tasks."""
    mean = known_mean(values, axis)
    return np.sqrt(known_mean((values - mean) ** 2, axis))


def capped(values: np.ndarray) -> np.ndarray:
    """Let what is not finite count as very large: it is reported, and sums stay finite."""
    finite = np.nan_to_num(np.asarray(values, np.float64), nan=RAN_AWAY, posinf=RAN_AWAY)
    return np.asarray(np.clip(finite, -RAN_AWAY, RAN_AWAY))


def first_step(success: np.ndarray) -> int | None:
    """Return the first step at which the mean over tasks (tasks, steps + 1) is 100 %, if any.

    Example:
        >>> import numpy as np
        >>> first_step(np.asarray([[0.0, 1.0, 1.0], [0.0, 0.5, 1.0]]))
        2
    """
    reached = np.flatnonzero(known_mean(success, axis=0) >= 1.0)
    return int(reached[0]) if reached.size else None


def own_first_steps(success: np.ndarray) -> np.ndarray:
    """Return each task's first step at 100 % (tasks,); one more than the last step if none.

    NaN where there was nothing to succeed on.
    """
    reached, unknown = success >= 1.0, np.isnan(success).all(axis=1)
    steps = np.where(reached.any(axis=1), reached.argmax(axis=1), success.shape[1])
    return np.where(unknown, np.nan, steps.astype(np.float64))
