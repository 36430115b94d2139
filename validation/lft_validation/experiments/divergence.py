"""Where in a meta-batch its numbers stopped being finite: what a person is told of divergence.

A meta-batch that diverged is run once more from the state before it, which is known, and watched:
the loop of training itself then looks at no more than one loss of each meta-batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lft_ref import Estimator, Task
from lft_ref.tasks import directions_at


class Unroll(NamedTuple):
    """What one unroll of Algorithm 1 met, as host arrays: one entry for each group of tasks."""

    params: np.ndarray  # (P,): Φ
    losses: list[np.ndarray]  # (K, tasks): f(θ^(k); D_val), k = 1 … K
    grads: list[np.ndarray]  # (P,): ∇_Φ, summed over the group's tasks


def in_unrolls(unrolls: Sequence[Unroll], params: np.ndarray) -> str:
    """Say where Algorithm 1 met its first number that is not finite.

    Args:
        unrolls: those of one meta-batch, in order; each has the same K.
        params: Φ after the last (P,).

    Example:
        >>> bad = Unroll(np.ones(1), [np.asarray([[0.5, 2.0], [np.nan, 1.0]])], [np.ones(1)])
        >>> in_unrolls([bad._replace(losses=[np.ones((2, 2))]), bad], np.ones(1))
        'the loss of fine-tuning step 4 of 4 (update 2 of 2 of Φ) is the first that is not finite
         (nan, in 1 of 2 tasks)'
    """
    updates, K = len(unrolls), len(unrolls[0].losses[0])
    after = [*(unroll.params for unroll in unrolls[1:]), params]
    for index, (unroll, new) in enumerate(zip(unrolls, after, strict=True)):
        losses = np.concatenate(unroll.losses, axis=1)  # (K, all tasks)
        if (at := _first_bad(losses)) is not None:
            step, what = f"{index * K + 1 + at[0]} of {updates * K}", at[1]
            return (
                f"the loss of fine-tuning step {step} (update {index + 1} of {updates} of Φ) {what}"
            )
        steps = f"fine-tuning steps {index * K + 1} to {(index + 1) * K} of {updates * K}"
        if not all(np.isfinite(grad).all() for grad in unroll.grads):
            return f"the losses of {steps} are finite, but their gradient for Φ is not"
        if not np.isfinite(new).all():
            return f"Φ is not finite after its update on {steps}"
    return "run once more, it met no number that is not finite"


def in_inner_steps(
    tasks: Iterable[Task], alpha: float, K: int, estimator: Estimator, host: Any
) -> str:
    """Say where MAML met its first number that is not finite.

    Args:
        tasks: the groups of one meta-batch, from the shared θ.
        alpha: inner learning rate α.
        K: number of inner steps.
        estimator: how g is obtained.
        host: brings an array to the host.
    """
    curves = []
    for task in tasks:
        f, theta, curve = task.objective, task.theta_0, []
        for k in range(K + 1):
            curve.append(host(f.value(theta, task.val)))
            if k < K:
                u = directions_at(task, k)
                theta = theta - alpha * estimator.estimate(f, theta, task.train, u)
        curves.append(np.stack(curve))
    if (at := _first_bad(np.concatenate(curves, axis=1))) is not None:
        return f"the loss of inner step {at[0]} of {K} {at[1]}"
    return f"the losses of inner steps 0 to {K} are finite, but the update of θ is not"


def _first_bad(losses: np.ndarray) -> tuple[int, str] | None:
    """Find the first row of losses (rows, tasks) that has a bad one, and say what it has."""
    bad = ~np.isfinite(losses)
    if not bad.any():
        return None
    row = int(np.argmax(bad.any(axis=1)))
    value, count = losses[row][bad[row]][0], int(bad[row].sum())
    tasks = f"in {count} of {losses.shape[1]} tasks"
    return row, f"is the first that is not finite ({value}, {tasks})"
