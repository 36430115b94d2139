"""How much memory a check needs, found out before it starts: every term at every step is kept."""

from __future__ import annotations

from lft_ref import size
from lft_validation.errors import UserError
from lft_validation.experiments.usable import GIB, fits, free_words
from lft_validation.gradcheck.problem import Problem

TRACES = 3.4  # right terms, found ones, found ones each on its own; and what makes them


def memory_bytes(problem: Problem) -> int:
    """Estimate the peak memory of a check, in float64."""
    d, n, P = problem.d, problem.params.n, size(problem.params.m, problem.params.n)
    by_columns = 3 * d * P * (1 + 2 * n)  # Γ_Φ and Π_Φ; the carried G and H; the new ones
    dense = 2 * d * d  # ∂g/∂θ and its transpose
    return int(8 * TRACES * problem.K * (by_columns + dense))


def check_memory(problem: Problem) -> None:
    """Say how much memory is missing, and what to change.

    Raises:
        UserError: if there is not enough.
    """
    needed = memory_bytes(problem)
    if not fits(needed, 1):
        raise UserError(
            f"{problem.label}: a check keeps every Jacobian of d = {problem.d} parameters and "
            f"needs about {needed / GIB:.1f} GiB, and {free_words()}; give a smaller task of the "
            "same kind"
        )
