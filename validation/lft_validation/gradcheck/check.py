"""Check one meta-gradient: every term at every step, then the gradient as a whole."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lft_backends.draws import Stage, stream
from lft_validation.errors import UserError
from lft_validation.gradcheck.found import found, gradients
from lft_validation.gradcheck.kinks import Kink, kinks
from lft_validation.gradcheck.methods import Methods, apply_methods
from lft_validation.gradcheck.problem import Problem
from lft_validation.gradcheck.terms import Trace
from lft_validation.gradcheck.verdict import Finding, compare, first_wrong, sentence

LARGEST_NUMBER = 1e150  # its square is still a number


class Report(NamedTuple):
    """What the check of one meta-gradient found."""

    label: str
    tolerance: float
    findings: list[Finding]  # in the order of computation
    methods: Methods
    kinks: list[Kink]
    relative_error: float  # of the worse ∇_Φ, or of MAML's gradient if both are right
    absolute_error: float  # max |found − right|
    cosine: float
    judge: str  # what the terms were compared with

    @property
    def first(self) -> Finding | None:
        """The first wrong term; None if all are right."""
        return first_wrong(self.findings, self.tolerance)

    @property
    def passed(self) -> bool:
        """Whether every term is right and no method objects."""
        return self.first is None and not self.methods.failed(self.tolerance)

    @property
    def worst(self) -> float:
        """Largest relative error of all terms."""
        return max(f.error for f in self.findings)

    def conclusion(self) -> str:
        """Say in a sentence what is wrong and where to look; or that nothing is."""
        if self.passed:
            return f"All {len(self.findings)} terms agree with {self.judge}."
        near = f" Mind the kink near by: {self.kinks[0].sentence()}." if self.kinks else ""
        if self.first is not None:
            return sentence(self.first) + self._others() + near
        methods = ", ".join(self.methods.failed(self.tolerance))
        return f"All terms agree with {self.judge}, but these say no: {methods}.{near}"

    def _others(self) -> str:
        """Say how many further terms are wrong by themselves, and how many by inheritance."""
        wrong = [f for f in self.findings if f.wrong(self.tolerance)][1:]
        if not wrong:
            return " Every other term is right."
        alone = list(dict.fromkeys(f.term for f in wrong if f.at_fault(self.tolerance)))
        alone = [term for term in alone if self.first is None or term != self.first.term]
        count = len(wrong)
        text = f" {count} later {'entry' if count == 1 else 'entries'} of the table inherit it"
        return f"{text}; wrong by themselves: {', '.join(alone)}." if alone else f"{text}."


def check(
    problem: Problem,
    right: Problem | None = None,
    seed: int = 0,
    expect: Trace | None = None,
) -> Report:
    """Take a meta-gradient apart and compare each term with automatic differentiation.

    Args:
        problem: what is checked.
        right: the problem as it should be, if ``problem`` had a mistake planted into its settings.
        seed: of the random directions.
        expect: the right terms, if they are known already.

    Returns:
        Every term at every step with its relative error, and what the other methods say.

    Raises:
        UserError: if a loss is no finite number.
        ValueError: for an objective, estimator or preprocessing that is not restated in autograd.
    """
    from lft_validation.gradcheck.expected import expected

    right = right or problem
    expect = expected(right) if expect is None else expect
    refuse_nonsense(problem, expect)
    with np.errstate(all="ignore"):
        run, alone = found(problem), found(problem, expect)
        near = kinks(right, expect)
        rng = stream(seed, Stage.CASE, step=1)
        smooth = right.differentiable and not near
        methods = apply_methods(problem, run, expect, rng, smooth)
        total = expect["Σ_k ∇_k", problem.K]
        apart = [_apart(grad, total) for grad in gradients(problem, run)]
        worst = max(apart, key=lambda numbers: numbers[0])
        if problem.maml_rate is not None and worst[0] <= problem.tolerance:
            worst = _apart(run["MAML θ̄", 1], expect["MAML θ̄", 1])
    findings = compare(problem, run, alone, expect)
    return Report(problem.label, problem.tolerance, findings, methods, near, *worst, right.judge)


def refuse_nonsense(problem: Problem, expect: Trace) -> None:
    """Refuse losses that are no numbers, or too large to be squared."""
    for k in range(1, problem.K + 1):
        for name, data, when in (("f", "train", "before"), ("f_val", "val", "after")):
            value = float(expect[name, k])
            if not abs(value) < LARGEST_NUMBER:
                raise UserError(
                    f"{problem.label}: the loss on {data} is {value} {when} step {k}; "
                    "choose a theta_0 at which, and around which, the loss is a finite number"
                )


def _apart(grad: np.ndarray, right: np.ndarray) -> tuple[float, float, float]:
    """Relative error, absolute error and cosine of a gradient."""
    if grad.shape != right.shape or not np.all(np.isfinite(grad)):
        return np.inf, np.inf, np.nan
    norm, norm_right = float(np.linalg.norm(grad)), float(np.linalg.norm(right))
    apart = float(np.linalg.norm(grad - right))
    relative = apart / norm_right if norm_right > 0.0 else (0.0 if apart == 0.0 else np.inf)
    cosine = float(grad @ right) / (norm * norm_right) if norm * norm_right > 0.0 else np.nan
    return relative, float(np.max(np.abs(grad - right))), cosine
