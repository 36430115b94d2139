"""What the jobs of an experiment share: one method, meta-trained and tested in a folder of its own.

A job leaves ``result.npz`` (and ``phi.npz``, where a Φ was learned), which carry the fingerprint of
all that it depends on. Until then its folder holds a checkpoint and the tested parts that are done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lft_ref import FineTuner, Optimizer, size, unflatten
from lft_validation.errors import UserError
from lft_validation.experiments.training import CHECKPOINT
from lft_validation.files import (
    OURS,
    belongs_to,
    read_arrays,
    require,
    require_finite,
    require_numbers,
    write_arrays,
)
from lft_validation.jobs import Job, Monitor
from lft_validation.stopping import Stopped
from lft_validation.tuners import save_tuner

RESULT, PHI = "result.npz", "phi.npz"
PARTS = "curves-*.npz"

Check = Callable[[Path, dict[str, np.ndarray]], None]  # raises UserError if a file is damaged


def _anything(path: Path, arrays: dict[str, np.ndarray]) -> None: ...


def curves_of_numbers(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Check a part's curves; a task that ran away may have left NaN or ∞.

    Raises:
        UserError: if they are no real numbers.
    """
    require_numbers(path, arrays, ["curves"])


class Part(NamedTuple):
    """Some test tasks, which are fine-tuned at once and kept in a file of their own."""

    name: str
    units: float  # of work
    compute: Callable[[], np.ndarray]
    shape: tuple[int, ...]  # of what it computes
    check: Check = curves_of_numbers  # what its file must be, beside its shape


def fine_tuned(
    rule: Optimizer, gradient: Callable[[Any, int], Any], theta: Any, steps: int
) -> Iterator[Any]:
    """Fine-tune by eq. (3), or by another rule: yield θ^(0) … θ^(steps).

    Args:
        rule: what makes a step of a gradient.
        gradient: g(θ^(k), k).
        theta: θ^(0), with tasks on its first axis.
        steps: how many.
    """
    state = rule.init(theta)
    yield theta
    for k in range(steps):
        delta, state = rule.update(gradient(theta, k), state)
        theta = theta - delta
        yield theta


def folder_name(*words: object) -> str:
    """Return the name of a job's folder.

    Example:
        >>> folder_name("first order", "LFT", "mnist+cifar10", "seed0")
        'first-order-lft-mnist-and-cifar10-seed0'
    """
    return "-".join(map(str, words)).replace(" ", "-").replace("+", "-and-").lower()


def longest_first(jobs: Iterable[Job]) -> list[Job]:
    """Sort jobs so that no worker is left alone with a long one at the end."""
    return sorted(jobs, key=lambda job: -job.units)


def is_finished(folder: Path, kind: str, owner: str, reuse: Path | None = None) -> bool:
    """Say whether a job's result is there; take it over from the folder ``reuse`` if it is there.

    What learned a Φ calls :func:`restore_phi` then: a result has all that its file says.

    Raises:
        UserError: if the result is damaged, or belongs to another job.
    """
    return is_there(folder / RESULT, kind, owner, [] if reuse is None else [reuse / RESULT])


def is_there(
    file: Path,
    kind: str,
    owner: str,
    elsewhere: Iterable[Path] = (),
    check: Check = _anything,
) -> bool:
    """Say whether a file of a job is there; take it over from another run if it is there.

    Args:
        file: where it must be.
        kind: of the file.
        owner: fingerprint of all that it depends on: a file of another one is not taken over.
        elsewhere: where it may be; what is damaged there is passed over.
        check: of what it holds.

    Raises:
        UserError: if the file in its place is damaged, or belongs to another job.
    """
    for other in elsewhere:
        if not file.exists() and is_of(other, owner):
            with suppress(UserError):  # it is computed again here
                write_arrays(file, kind, owner, _checked(other, kind, owner, check))
    if not file.exists():
        return False
    _checked(file, kind, owner, check)
    return True


def _checked(file: Path, kind: str, owner: str, check: Check) -> dict[str, np.ndarray]:
    arrays = read_arrays(file, kind, owner)
    check(file, arrays)
    return arrays


def is_of(file: Path, owner: str) -> bool:
    """Say whether a file of another run is there, readable, and of the same job as ours."""
    try:
        return file.exists() and belongs_to(file) == owner
    except UserError:  # its jobs are computed again here
        return False


def part_file(folder: Path, part: Part) -> Path:
    """Return where a part's curves are until all are there."""
    return folder / PARTS.replace("*", part.name)


def run_parts(
    parts: Sequence[Part], folder: Path, kind: str, owner: str, monitor: Monitor, done: float
) -> list[np.ndarray]:
    """Return the curves of each part; those that are there already are read.

    Raises:
        UserError: if a part's file is damaged, or belongs to another job.
        Stopped: when asked to stop; the parts that are done are kept.
    """
    missing = [(p.compute,) for p in parts if not (folder / PARTS.replace("*", p.name)).exists()]
    computed, curves = monitor.map(_compute, missing), []  # here one by one, elsewhere at once
    for part in parts:
        file = part_file(folder, part)
        if not file.exists():
            write_arrays(file, kind, owner, {"curves": next(computed)})
        arrays = read_arrays(file, kind, owner)
        require(file, arrays, {"curves": part.shape})
        part.check(file, arrays)
        curves.append(arrays["curves"])
        done += part.units
        monitor.report(done)
        if monitor.check():
            raise Stopped
    return curves


def _compute(part: Callable[[], np.ndarray]) -> np.ndarray:
    return part()


def finish(
    folder: Path,
    kind: str,
    owner: str,
    result: dict[str, np.ndarray],
    flat: Any = None,
    tuner: FineTuner | None = None,
    lstm_units: int = 0,
    about: dict[str, Any] | None = None,
) -> None:
    """Write a job's result, then remove its parts and its checkpoint: they are in it.

    Args:
        folder: of the job.
        kind: of its files.
        owner: its fingerprint.
        result: what testing gave.
        flat: what meta-training gave (Φ or θ), if there was any; its losses are kept with it.
        tuner: with ``lstm_units``, says how to read a flat Φ; None if ``flat`` is none.
        lstm_units: n.
        about: what the file of Φ says about its training.
    """
    if flat is not None:
        result = result | learned_arrays(folder, owner, flat)
    if tuner is not None:
        save_phi(folder / PHI, owner, flat, tuner, lstm_units, about)
    write_arrays(folder / RESULT, kind, owner, result)
    for file in [*folder.glob(PARTS), *folder.glob(CHECKPOINT)]:
        file.unlink()


def restore_phi(
    folder: Path, kind: str, owner: str, tuner: FineTuner, lstm_units: int, about: dict[str, Any]
) -> None:
    """Write a finished job's Φ again, whatever became of its file; arguments as :func:`finish`.

    Raises:
        UserError: if the job's result does not hold it.
    """
    flat = read_flat(folder / RESULT, kind, owner, size(tuner.cell.preprocess.m, lstm_units))
    save_phi(folder / PHI, owner, flat, tuner, lstm_units, about)


def read_flat(file: Path, kind: str, owner: str, number: int) -> np.ndarray:
    """Return what was learned (Φ, or MAML's θ), so many numbers, from a job's file.

    Raises:
        UserError: if the file is damaged, or does not hold it.
    """
    arrays = read_arrays(file, kind, owner)
    require(file, arrays, {"flat": (number,)})
    require_finite(file, "flat", arrays["flat"], OURS)
    return arrays["flat"]


def learned_arrays(folder: Path, owner: str, flat: Any) -> dict[str, np.ndarray]:
    """Return what was learned, and the meta-losses on the way, from the job's checkpoint."""
    checkpoint = read_arrays(folder / CHECKPOINT, "lft-checkpoint-1", owner)
    return {"flat": flat, "losses": checkpoint["losses"]}


def save_phi(
    file: Path,
    owner: str,
    flat: Any,
    tuner: FineTuner,
    lstm_units: int,
    about: dict[str, Any] | None = None,
) -> None:
    """Write a flat Φ as the file of a fine-tuner; ``about`` says how it was trained."""
    params = unflatten(flat, tuner.cell.preprocess.m, lstm_units)
    save_tuner(file, params, tuner.cell, owner, about)
