"""Meta-training with checkpoints: the loop around Algorithm 1 and around MAML.

What is learned is one flat array (Φ, or MAML's θ) with Adam's state. A learner is an update of that
state by one batch of tasks, so a checkpoint holds a handful of arrays, and going on from it gives
the same bits as never having stopped: everything random is keyed by the number of the task.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lft_backends.backend import Backend
from lft_backends.executors import Lost
from lft_ref import Optimizer
from lft_ref.optimizers import AdamState
from lft_validation.errors import JobFailed, UserError
from lft_validation.files import OURS, read_arrays, require, require_finite, write_arrays
from lft_validation.jobs import Monitor
from lft_validation.stopping import Stopped

CHECKPOINT = "checkpoint.npz"
CHECKPOINT_SECONDS = 5.0
CANDIDATES = 20  # states of a training that are judged, evenly spread, the last one among them
UNUSABLE = float(np.finfo(np.float64).max)  # what a judgement counts as that is not finite


class Diverged(JobFailed):
    """Training met a number that is not finite."""


class LearnerState(NamedTuple):
    """What one meta-update hands to the next."""

    flat: Any  # (P,): Φ or θ
    adam: AdamState


class Best(NamedTuple):
    """The best that was met so far, of those that were judged."""

    flat: np.ndarray
    value: float  # the less the better


class Progress(NamedTuple):
    """Where a training is: what a checkpoint holds."""

    state: LearnerState
    losses: list[float]  # of the batches so far
    best: Best | None = None


class Learner(NamedTuple):
    """``init()`` gives the first state; ``update(state, batch, map)`` the next, and the loss.

    The map is what the groups of a meta-batch may be handed to, where there are several.
    ``trace(state, batch)`` says where an update that diverged met its first bad number.
    ``judge(flat)`` says how good something learned is, on tasks that are neither trained nor tested
    on: the less the better. None if the last is taken, whatever it is.
    """

    init: Callable[[], LearnerState]
    update: Callable[..., tuple[LearnerState, Any]]
    trace: Callable[[LearnerState, int], str]
    judge: Callable[[np.ndarray], float] | None = None


def decaying(optimizer: Optimizer, total_updates: int) -> Optimizer:
    """Scale an optimizer's steps by ½ (1 + cos(π t / T)): from its learning rate down to 0."""

    def update(g: Any, state: AdamState) -> tuple[Any, AdamState]:
        step, state = optimizer.update(g, state)
        done = min((state.updates - 1) / total_updates, 1.0)
        return step * (0.5 * (1.0 + math.cos(math.pi * done))), state

    return Optimizer(optimizer.init, update)


def train(
    learner: Learner,
    batches: int,
    folder: Path,
    key: str,
    backend: Backend,
    monitor: Monitor,
    units_per_batch: float,
) -> np.ndarray:
    """Run all batches, from the folder's checkpoint if there is one; return the flat result.

    It is what was learned last, or the best of :data:`CANDIDATES` on the way if the learner has a
    judge.

    Raises:
        Diverged: when the loss or the learned array is not finite; the last good state is kept.
        Lost: when a cluster is gone; a checkpoint is kept.
        Stopped: when asked to stop; a checkpoint is kept.
    """
    file = folder / CHECKPOINT
    state, losses, best = Progress(learner.init(), [])
    if file.exists():
        judges = learner.judge is not None
        state, losses, best = read_checkpoint(file, key, backend, state, batches, judges)
    saved = time.monotonic()
    for batch in range(len(losses), batches):
        try:
            new, loss = learner.update(state, batch, monitor.map)
        except Lost:
            save_checkpoint(file, key, Progress(state, losses, best), backend)
            raise
        losses.append(float(backend.to_host(loss)))
        flat = backend.to_host(new.flat)
        if not (math.isfinite(losses[-1]) and np.isfinite(flat).all()):
            save_checkpoint(file, key, Progress(state, losses[:-1], best), backend)
            raise Diverged(
                f"meta-training diverged at task batch {batch + 1} of {batches}: "
                f"{learner.trace(state, batch)}; the last good checkpoint, from before this batch, "
                f"is {file}; try a smaller learning rate (--learning-rate of Φ; MAML "
                "has one of its own, see config.json and --set) or --dtype float64"
            )
        state, best = new, _better(learner, best, flat, batch, batches)
        monitor.report((batch + 1) * units_per_batch)
        stop = monitor.check()
        if stop or time.monotonic() - saved > CHECKPOINT_SECONDS:
            save_checkpoint(file, key, Progress(state, losses, best), backend)
            saved = time.monotonic()
        if stop:
            raise Stopped
    save_checkpoint(file, key, Progress(state, losses, best), backend)
    return backend.to_host(state.flat) if best is None else best.flat


def _judged(batch: int, batches: int) -> bool:
    """Whether what was learned after a batch is judged: each time one more part of 20 is done."""
    done, before = (CANDIDATES * b // batches for b in (batch + 1, batch))
    return done > before


def _better(
    learner: Learner, best: Best | None, flat: np.ndarray, batch: int, batches: int
) -> Best | None:
    """The better one of the best so far and what was learned after this batch, if it is judged."""
    if learner.judge is None or not _judged(batch, batches):
        return best
    value = float(learner.judge(flat))
    value = value if math.isfinite(value) else UNUSABLE
    return best if best is not None and best.value < value else Best(np.array(flat), value)


def save_checkpoint(file: Path, key: str, progress: Progress, backend: Backend) -> None:
    """Write what was learned so far, and the losses; see :func:`read_checkpoint`."""
    state, losses, best = progress
    arrays = {
        "flat": backend.to_host(state.flat),
        "mean": backend.to_host(state.adam.mean),
        "square": backend.to_host(state.adam.square),
        "updates": np.asarray(state.adam.updates),
        "losses": np.asarray(losses, dtype=np.float64),
    }
    if best is not None:
        arrays |= {"best": best.flat, "best_value": np.asarray(best.value)}
    write_arrays(file, "lft-checkpoint-1", key, arrays)


def read_checkpoint(
    file: Path, key: str, backend: Backend, like: LearnerState, batches: int, judges: bool = False
) -> Progress:
    """Return what :func:`save_checkpoint` wrote.

    Args:
        file: the checkpoint.
        key: the fingerprint that it must carry.
        backend: where the arrays go.
        like: a state of the same shape.
        batches: how many losses there are at most.
        judges: whether it holds the best so far, if any of so many batches was judged.

    Raises:
        UserError: if it is damaged, of another run, or does not fit.
    """
    a = read_arrays(file, "lft-checkpoint-1", key)
    flat = tuple(like.flat.shape)
    losses = (a["losses"].size if "losses" in a else 0,)
    shapes = {"flat": flat, "mean": flat, "square": flat, "updates": (), "losses": losses}
    if judges and any(_judged(batch, batches) for batch in range(losses[0])):
        shapes |= {"best": flat, "best_value": ()}
    require(file, a, shapes)
    for name in shapes.keys() - {"updates"}:
        require_finite(file, name, a[name], OURS)
    if a["updates"].dtype.kind not in "iu" or not a["updates"] >= losses[0]:
        raise UserError(
            f"{file}: updates must be a whole number, at least one for each of {losses[0]} losses, "
            f"found {a['updates']}; {OURS}"
        )
    if (a["square"] < 0.0).any():
        raise UserError(f"{file}: square must not be negative, found {a['square'].min()}; {OURS}")
    if len(a["losses"]) > batches:
        raise UserError(
            f"{file} has {len(a['losses'])} losses of {batches} batches; delete it to compute it "
            "again"
        )
    moments = backend.asarray(a["mean"]), backend.asarray(a["square"])
    adam = AdamState(int(a["updates"]), *moments)
    best = Best(a["best"], float(a["best_value"])) if "best" in shapes else None
    state = LearnerState(backend.asarray(a["flat"]), adam)
    return Progress(state, [float(x) for x in a["losses"]], best)
