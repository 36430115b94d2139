"""Which terms are wrong, which of them first, and one sentence about it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lft_validation.comparison import FLOOR, relative_difference
from lft_validation.gradcheck.entries import entry, split
from lft_validation.gradcheck.problem import Array, Problem
from lft_validation.gradcheck.terms import TERMS, Term, Trace

# Below this part of what a difference is made from, float64 and not the formula decides.
ROUNDING = 1e-5
MADE_FROM = {"g": "f", "∂g/∂θ": "g", "(∂g/∂θ)ᵀ": "g", "∇f_val": "f_val"}


ENGINES = {"forward_mode": "Σ_k ∇_k", "adjoint": "Σ_k Φ̄"}  # and the sums that they return


class Finding(NamedTuple):
    """One term at one step, compared with its right value."""

    term: str
    step: int
    error: float  # relative to the largest entry of the right value
    own: float  # the same where everything that goes into the term is right
    worst: str  # name of the worst entry; empty for a number
    found: float
    expected: float
    pattern: str  # what all wrong entries have in common; may be empty

    def wrong(self, tolerance: float) -> bool:
        """Say whether the term fails, by itself or because of what went into it."""
        return not self.error <= tolerance

    def at_fault(self, tolerance: float) -> bool:
        """Say whether the term fails by itself."""
        return not self.own <= tolerance


def compare(problem: Problem, run: Trace, alone: Trace, right: Trace) -> list[Finding]:
    """Compare two traces with the right one, term by term.

    Args:
        problem: what the traces are of.
        run: the terms as the code computes them one from another.
        alone: the terms, each computed from the right values of the others.
        right: the right terms.
    """
    findings = []
    for key, value in run.items():
        scale = floor(right, key)
        error = difference(problem, key[0], value, right[key], scale)
        own = difference(problem, key[0], alone[key], right[key], scale)
        if key[0] in ENGINES:  # cannot be given right terms: judged by the sum of its own
            its_sum = run[ENGINES[key[0]], key[1]]
            same = np.array_equal(value, its_sum, equal_nan=True)
            own = 0.0 if same else difference(problem, key[0], value, its_sum)
        findings.append(finding(problem, key, value, right[key], error, own))
    return findings


def floor(right: Trace, key: tuple[str, int]) -> float:
    """Return the smallest scale on which a term is judged."""
    made_from = MADE_FROM.get(key[0])
    if made_from is None:
        return 0.0
    return ROUNDING * float(np.max(np.abs(right[made_from, key[1]])))


def difference(
    problem: Problem, term: str, found: Array, expected: Array, scale: float = 0.0
) -> float:
    """Return the relative difference; a gradient with respect to Φ is judged array by array.

    An array of Φ far smaller than the largest one may be a sum that cancels: see
    :func:`lft_validation.comparison.gradient_differences`.
    """
    found, expected = np.asarray(found), np.asarray(expected)
    if TERMS[term].axes != "p" or found.shape != expected.shape:
        return relative_difference(found, expected, scale)
    m, n = problem.params.m, problem.params.n
    smallest = FLOOR * float(np.max(np.abs(expected)))
    pairs = zip(split(found, m, n).values(), split(expected, m, n).values(), strict=True)
    return max(relative_difference(a, b, smallest) for a, b in pairs)


def finding(
    problem: Problem,
    key: tuple[str, int],
    found: Array,
    expected: Array,
    error: float,
    own: float,
) -> Finding:
    """Name the worst entry of a term."""
    term, step = key
    found, expected = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    if found.shape != expected.shape:
        shapes = f"has shape {found.shape} instead of {expected.shape}"
        return Finding(term, step, error, own, "", np.nan, np.nan, shapes)
    apart = np.where(np.isfinite(found), np.abs(found - expected), np.inf)
    index = np.unravel_index(int(np.argmax(apart)), apart.shape)
    worst = entry(problem, TERMS[term].axes, [int(i) for i in index])
    pattern = ""
    if not error <= problem.tolerance:
        pattern = pattern_of(found, expected, problem.tolerance)
    return Finding(
        term, step, error, own, worst, float(found[index]), float(expected[index]), pattern
    )


def pattern_of(found: Array, expected: Array, tolerance: float) -> str:
    """Say what all wrong entries have in common: a sign, a factor, zeros, a transposition.

    Example:
        >>> pattern_of(np.asarray([1.0, -2.0]), np.asarray([1.0, 2.0]), 1e-8)
        '1 of 2 entries have the wrong sign'
    """
    scale = float(np.max(np.abs(expected), initial=0.0))
    # Small entries of an array are allowed an error on the scale of the largest.
    wrong = ~(np.abs(found - expected) <= max(tolerance, 1e-10) * scale)
    if not np.all(np.isfinite(found)):
        bad = int(np.sum(~np.isfinite(found)))
        return f"{bad} of {found.size} entries are not finite"
    if not np.any(wrong):
        return ""
    if not np.any(found[wrong]):
        return _share(wrong, "is zero", "are zero")
    square = found.ndim >= 2 and found.shape[-1] == found.shape[-2]
    if square and np.allclose(np.swapaxes(found, -1, -2), expected, rtol=0.0, atol=1e-6 * scale):
        return "it is transposed"
    if not np.all(expected[wrong]):
        return ""
    ratio = found[wrong] / expected[wrong]
    if np.ptp(ratio) > 1e-6 * np.max(np.abs(ratio)):
        return ""
    factor = float(np.median(ratio))
    if abs(factor + 1.0) < 1e-6:
        return _share(wrong, "has the wrong sign", "have the wrong sign")
    of = f"{factor:.4g} times what they should be"
    return _share(wrong, f"is {factor:.4g} times what it should be", f"are {of}")


def _share(wrong: Array, one: str, many: str) -> str:
    if wrong.all() or wrong.size == 1:
        return f"it {one}"
    count = int(wrong.sum())
    return f"{count} of {wrong.size} entries {many}"


def first_wrong(findings: list[Finding], tolerance: float) -> Finding | None:
    """Return the first wrong term, in the order of computation."""
    return next((f for f in findings if f.wrong(tolerance)), None)


def sentence(finding: Finding) -> str:
    """Say which term is the first wrong one, by how much, and where to look."""
    term: Term = TERMS[finding.term]
    where = f"{finding.worst} " if finding.worst else ""
    size = f"relative error {finding.error:.1e}" if np.isfinite(finding.error) else "no number"
    values = f"{where}is {finding.found:.6g}, expected {finding.expected:.6g}"
    if np.isnan(finding.expected):
        values, size = "its shape differs", "no number"
    pattern = f"; {finding.pattern}" if finding.pattern else ""
    return (
        f"The first wrong term is {finding.term} at step {finding.step}, {term.what} ({size}): "
        f"{values}{pattern}; look at {term.look}."
    )
