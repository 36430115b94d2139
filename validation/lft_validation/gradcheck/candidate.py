"""A meta-gradient that cannot be taken apart: asked many questions, and compared with mistakes.

The candidate receives a test vector, the inputs of ``lft-vectors-1`` as a dictionary of arrays, and
returns ∇_Φ. It is asked for the whole gradient, and again with only one w_k at a time: the parts of
the steps, so that the first wrong step can be named. If it equals the gradient that one of the
planted mistakes gives, that is said too.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from lft_ref import LSTMParams, NetworkLoss, flatten, size
from lft_ref.params import shapes
from lft_validation.cases import Case, random_case
from lft_validation.errors import UserError
from lft_validation.gradcheck.expected import expected
from lft_validation.gradcheck.found import found, gradients
from lft_validation.gradcheck.load import user_code
from lft_validation.gradcheck.plants import PLANTS
from lft_validation.gradcheck.plants.plant import Plant
from lft_validation.gradcheck.problem import TOLERANCE, Array, Problem
from lft_validation.gradcheck.verdict import difference, finding, sentence
from lft_validation.vector_format import to_arrays

CASES = tuple(range(24))  # all combinations of objective, estimator, preprocessing, second order
SAME = 1e-6  # relative difference to a planted mistake's gradient that counts as none


class Result(NamedTuple):
    """What the candidate did on one case."""

    case: int
    objective: str
    estimator: str
    preprocess: str
    second_order: bool
    K: int
    error: float  # of the whole ∇_Φ
    sentence: str  # about the first wrong step; empty if all is right
    mistakes: tuple[str, ...]  # planted ones that give the same gradient


def count() -> int:
    """Return the number of cases."""
    return len(CASES)


def check_candidate(
    function: Callable[..., Any], name: str, seed: int, tolerance: float | None = None
) -> Iterator[Result]:
    """Ask a candidate for the meta-gradients of random cases.

    Args:
        function: receives a dictionary of arrays; returns ∇_Φ as a dictionary with W_x, W_h, b,
            w_o, b_o (or grad_W_x, …), as five arrays in that order, or flattened in it.
        name: what to call it.
        seed: of the cases.
        tolerance: relative error that passes.

    Raises:
        UserError: if it is no function, raises, or returns something else.
    """
    if not callable(function):
        raise UserError(
            f"--candidate {name} is of type {type(function).__name__}, expected a function"
        )
    for index in CASES:
        case = random_case(seed, index)
        yield _check(function, name, case, index, tolerance or TOLERANCE)


def _problem(case: Case) -> Problem:
    return Problem(case.params, case.tuner, case.task, case.weights, case.state_0)


def _ask(function: Callable[..., Any], name: str, case: Case) -> Array:
    """Return the candidate's flattened ∇_Φ."""
    vector = {key: np.array(value) for key, value in to_arrays(case, {}).items()}
    with user_code(name), np.errstate(all="ignore"):
        answer = function(vector)
    return flat_gradient(answer, case.params.m, case.params.n, name)


def flat_gradient(answer: Any, m: int, n: int, name: str) -> Array:
    """Return ∇_Φ, in whichever form it was given, as one axis of length |Φ|.

    Raises:
        UserError: if it has none of the forms, or a wrong shape.
    """
    fields = LSTMParams._fields
    if isinstance(answer, dict):
        arrays = [answer.get(f, answer.get(f"grad_{f}")) for f in fields]
        if any(a is None for a in arrays):
            raise UserError(f"{name} returns a dict with {sorted(answer)}, expected {list(fields)}")
    elif isinstance(answer, tuple | list) and len(answer) == len(fields):
        arrays = list(answer)
    else:
        return _numbers(answer, (size(m, n),), f"{name} returns an array that")
    pairs = zip(arrays, shapes(m, n)._asdict().items(), strict=True)
    checked = [_numbers(a, shape, f"{name}: {field}") for a, (field, shape) in pairs]
    return np.asarray(flatten(LSTMParams(*checked)))


def _numbers(a: Any, shape: tuple[int, ...], what: str) -> Array:
    try:
        array = np.asarray(a, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{what} is no array of numbers ({error})") from error
    if array.shape != shape:
        raise UserError(f"{what} has shape {array.shape}, expected {shape}")
    return array


def _check(
    function: Callable[..., Any], name: str, case: Case, index: int, tolerance: float
) -> Result:
    problem = _problem(case)._replace(tolerance=tolerance)
    right = expected(problem)
    whole, total = _ask(function, name, case), right["Σ_k ∇_k", case.K]
    error = difference(problem, "∇_Φ", whole, total)
    words = ""
    mistakes: tuple[str, ...] = ()
    if not error <= tolerance:
        words = _first_step(function, name, case, problem, right)
        mistakes = tuple(_same_as(problem, whole))
    return Result(
        index,
        case.objective,
        case.estimator,
        case.preprocess,
        case.tuner.second_order,
        case.K,
        error,
        words,
        mistakes,
    )


def _first_step(
    function: Callable[..., Any], name: str, case: Case, problem: Problem, right: Any
) -> str:
    """Name the first step whose part of ∇_Φ is wrong, or say that their sum is."""
    for k in range(1, case.K + 1):
        if problem.weights[k - 1] == 0.0:
            continue
        alone = tuple(w if j == k - 1 else 0.0 for j, w in enumerate(case.weights))
        part = _ask(function, name, case._replace(weights=alone))
        error = difference(problem, "∇_k", part, right["∇_k", k])
        if not error <= problem.tolerance:
            at = finding(problem, ("∇_k", k), part, right["∇_k", k], error, error)
            return sentence(at)
    return (
        "Each step's part is right when it is asked for alone, but their sum is wrong: look at how "
        "the steps and w_k are added up."
    )


def _same_as(problem: Problem, gradient: Array) -> Iterator[str]:
    """Names of the planted mistakes that give the same gradient on this problem."""
    for plant in PLANTS.values():
        if not fits(plant, problem):
            continue
        with np.errstate(all="ignore"):
            wrong = plant.change(problem)
            for theirs in gradients(wrong, found(wrong)):
                apart = float(np.linalg.norm(theirs - gradient))
                if apart <= SAME * float(np.linalg.norm(gradient)):
                    yield plant.name
                    break


def fits(plant: Plant, problem: Problem) -> bool:
    """Say whether a mistake can be planted into a problem."""
    tuner = problem.tuner
    first = type(tuner.estimator).__name__ == "FirstOrder"
    log_sign = type(tuner.cell.preprocess).__name__ == "LogSign"
    network = isinstance(problem.task.objective, NetworkLoss)
    loss = getattr(problem.task.objective, "loss", None)
    cross = type(loss).__name__ == "CrossEntropy"
    if plant.prepare is not None or plant.term.startswith("MAML"):
        return False
    if plant.needs == "images":  # test vectors have none
        return False
    if plant.term in ("x", "x'") and not log_sign:
        return False
    if plant.needs == "network":
        return network
    if plant.needs in ("squared", "classes"):
        return network and cross == (plant.needs == "classes")
    if plant.needs == "estimator":
        return first == (plant.setting.estimator == "first_order")
    return True


def lines(results: list[Result]) -> list[str]:
    """Return a table of the cases, at most 80 columns wide."""
    head = f"{'case':>4}  {'objective':<18}{'estimator':<13}{'features':<10}{'2nd':<5}{'K':<3}error"
    rows = [
        f"{r.case:>4}  {r.objective:<18}{r.estimator:<13}{r.preprocess:<10}"
        f"{'yes' if r.second_order else 'no':<5}{r.K:<3}{r.error:.0e}"
        + (" wrong" if r.sentence else "")
        for r in results
    ]
    return [head, *rows]


def conclusion(results: list[Result], seed: int) -> str:
    """Say what is wrong with the candidate; empty if nothing is."""
    wrong = [r for r in results if r.sentence]
    if not wrong:
        return ""
    # The simplest wrong case says most: few steps, a quadratic.
    first = min(wrong, key=lambda r: (r.objective != "quadratic", r.K))
    text = [f"{len(wrong)} of {len(results)} cases wrong{_common(results, wrong)}."]
    text.append(f"Case {first.case} of seed {seed} ({first.objective}, K={first.K}): ")
    text[-1] += first.sentence
    shared = set.intersection(*(set(r.mistakes) for r in wrong))
    for name in sorted(shared):
        text.append(f"It equals the planted mistake {name}: {PLANTS[name].says}.")
    return "\n".join(textwrap.fill(line, 80, break_on_hyphens=False) for line in text)


def _common(results: list[Result], wrong: list[Result]) -> str:
    """Say which option all wrong cases have, if no right case has it."""
    for option in ("objective", "estimator", "preprocess", "second_order"):
        values = {getattr(r, option) for r in wrong}
        others = {getattr(r, option) for r in results if not r.sentence}
        if len(values) == 1 and not values & others:
            return f", all of those with {option} {values.pop()}"
    return ""
