"""The problems of one run of ``lft gradcheck``, checked one after the other."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

from lft_backends.backend import Backend
from lft_backends.draws import Stage, stream
from lft_validation.errors import UserError
from lft_validation.gradcheck.builtin import (
    ESTIMATORS,
    PREPROCESSINGS,
    STEPS,
    TASKS,
    Setting,
    build,
    settings,
    with_fine_tuner,
)
from lft_validation.gradcheck.check import Report, check
from lft_validation.gradcheck.load import load
from lft_validation.gradcheck.memory import check_memory
from lft_validation.gradcheck.own import own_task
from lft_validation.gradcheck.own_pieces import with_own_loss, with_own_pieces
from lft_validation.gradcheck.plants import PLANTS, check_plant
from lft_validation.gradcheck.problem import Problem
from lft_validation.gradcheck.there import on


class Row(NamedTuple):
    """One problem and what its check found."""

    setting: Setting
    report: Report


class Own(NamedTuple):
    """Functions of the user's that take the place of ours; None where ours stays."""

    gradient: Any = None
    hvp: Any = None
    jacobians: Any = None
    vjp: Any = None


def load_own(gradient: str | None, hvp: str | None, jacobians: str | None, vjp: str | None) -> Own:
    """Load the functions that options name.

    Raises:
        UserError: if one cannot be loaded, or is no function.
    """
    loaded = []
    for option, spec in zip(Own._fields, (gradient, hvp, jacobians, vjp), strict=True):
        function = None if spec is None else load(spec)
        if function is not None and not callable(function):
            raise UserError(
                f"--{option} {spec} is of type {type(function).__name__}, expected a function"
            )
        loaded.append(function)
    return Own(*loaded)


def chosen_settings(
    task: str | None, estimator: str | None = None, preprocess: str | None = None
) -> list[Setting]:
    """Return the combinations to check: all built-in ones, those of one of them, or of one's own.

    Raises:
        UserError: if ``task`` is neither built in nor of the form of a name to load.
    """
    if task is None or task in TASKS:
        chosen = [s for s in settings() if task in (None, s.task)]
    elif ":" in task:
        both = itertools.product(ESTIMATORS, PREPROCESSINGS)
        chosen = [Setting(task, *words, second_order=True) for words in both]
    else:
        raise UserError(
            f"unknown task {task!r}; choose one of {', '.join(TASKS)}, or your own as "
            "path/to/file.py:name or package.module:name"
        )
    wanted = (estimator, preprocess)
    return [
        s for s in chosen if all(w in (None, has) for w, has in zip(wanted, s[1:3], strict=True))
    ]


def check_settings(
    chosen: list[Setting],
    seed: int,
    tolerance: float | None = None,
    own: Own | None = None,
    backend: Backend | None = None,
) -> Iterator[Row]:
    """Check every setting, one after the other.

    Args:
        chosen: what to check; a task that is not built in is loaded.
        seed: of tasks, Φ and directions.
        tolerance: relative error that passes; the problem's own if None.
        own: functions that take the place of ours.
        backend: whose twins do, where its arrays are; none if None.

    Raises:
        UserError: if something of the user's cannot be used.
    """
    own = own or Own()
    every = settings()
    for number, setting in enumerate(chosen):
        index = every.index(setting) if setting in every else number
        if setting.task in TASKS:
            right = build(setting, seed, index)
            problem = with_own_loss(right, own.gradient, own.hvp)
        else:
            right = problem = own_problem(load(setting.task), setting, seed, index, STEPS, own)
        if backend is not None:
            problem = on(problem, backend)
        problem = with_own_pieces(problem, own.jacobians, own.vjp)
        if tolerance is not None:
            problem = problem._replace(tolerance=tolerance)
        yield Row(setting, quiet_check(problem, right, seed))


def quiet_check(problem: Problem, right: Problem, seed: int) -> Report:
    """Check; autograd's warning about constants, such as a linear loss's gradient, is no news."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Output seems independent")
        return check(problem, right, seed)


def own_problem(
    found: Any,
    setting: Setting,
    seed: int = 0,
    index: int = 0,
    steps: int = STEPS,
    own: Own | None = None,
) -> Problem:
    """Make a problem of a task of one's own: K steps of a random fine-tuner on it."""
    own = own or Own()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Output seems independent")
        task = own_task(found, setting.task, own.gradient, own.hvp)
    rng = stream(seed, Stage.CASE, index, step=0)
    problem = with_fine_tuner(task.task, setting, rng, seed, index, steps)
    check_memory(problem)
    return problem._replace(
        coordinates=task.coordinates, tolerance=task.tolerance, judge=task.judge
    )


def plant_row(name: str, seed: int) -> Row:
    """Plant one mistake and check.

    Raises:
        UserError: if there is no such mistake.
    """
    if name not in PLANTS:
        import difflib

        close = difflib.get_close_matches(name, PLANTS, 3, 0.4)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise UserError(f"unknown mistake {name!r}; {hint}--plant list names all {len(PLANTS)}")
    return Row(PLANTS[name].setting, check_plant(PLANTS[name], seed))
