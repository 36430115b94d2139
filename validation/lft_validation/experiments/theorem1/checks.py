"""A1 to A3 and the steps (S13) to (S26) of the proof, one by one: do they hold on these data?

In the proof f(θ_1, …, θ_N) without data is the expectation: here the mean over each task's
population, at the same θ_i^(k) as the data's f. A step that is an equality of means is judged by an
interval: it fails if the interval keeps away from 0, and otherwise nothing speaks against it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lft_validation.experiments.theorem1.config import Config
from lft_validation.experiments.theorem1.estimate import DOMINATED, Length
from lft_validation.experiments.theorem1.point import EXACT, Point

HOLDS, FAILS, UNDECIDED = "holds", "fails", "not contradicted"
HEAVY = "one draw dominates"
GIVEN = (
    "by construction"  # means over finite populations are finite: only the number says something
)
ROUNDING = 1e-10
GROWN = 1.5  # more than the Monte-Carlo error of a σ


class Check(NamedTuple):
    """One assumption or step."""

    where: str  # as the paper numbers it
    what: str
    found: str
    verdict: str


def checks(config: Config, point: Point) -> list[dict[str, Any]]:
    """Judge everything that can be tested at one |D_tr|, with the largest |D_val|."""
    D_val = max(config.val_sizes)
    found = [*_assumptions(point, D_val), *_proof(point, D_val)]
    return [check._asdict() for check in found]


def _assumptions(point: Point, D_val: int) -> list[Check]:
    numbers, lengths = point.numbers, point.lengths
    size, per_example = numbers["gradient"], "finite σ of ∂θ/∂Φ, per example: √(D_tr Var)"
    names = {"∇f on D_tr": "variance/train", "∇f on D_val": f"variance/{D_val}"}
    spreads = ", ".join(f"{what} {numbers[name] ** 0.5:.3g}" for what, name in names.items())
    return [
        _zero("A1 (S9)", "D_val: E ∇f(θ^(k); D) = ∇f(θ^(k))", lengths[f"bias/{D_val}"], size),
        _zero("A1 (S9)", "D_tr: the same", lengths["bias/train"], size),
        Check("A2 (S10)", "finite σ, per example", spreads, GIVEN),
        Check("A2 (S11), (S12)", per_example, f"{numbers['variance/Phi'] ** 0.5:.3g}", GIVEN),
        Check(
            "A3",
            "finite G",
            f"∇f {max(numbers['G/train'], numbers[f'G/{D_val}']):.3g}, "
            f"∂θ/∂Φ {numbers['G/Phi']:.3g}",
            GIVEN,
        ),
    ]


def _proof(point: Point, D_val: int) -> list[Check]:
    numbers, lengths = point.numbers, point.lengths
    l2o = lengths["l2o"].value
    error = numbers["chain_rule"]
    return [
        _zero(
            "(S13)",
            "E ∇_Φ f(θ^(k); D_tr) = E ∇f • E ∂θ/∂Φ: F is replaced by f without data",
            lengths["replaced"],
            l2o,
        ),
        Check(
            "(S16)",
            "chain rule (7), Statement 1 against backpropagation",
            f"relative error {error:.0e}",
            HOLDS if error < ROUNDING else FAILS,
        ),
        _zero(
            "(S20), left",
            "E (∇f(θ^(k); D_val) − ∇f(θ^(k))) • ∂θ/∂Φ = 0, for D_val is independent",
            lengths[f"val/{D_val}"],
            l2o,
        ),
        Check(
            "(S22)",
            "D_val E ‖∇f(θ^(k); D_val) − ∇f(θ^(k))‖² ≤ σ²",
            f"σ ≥ {numbers[f'variance/{D_val}'] ** 0.5:.3g}",
            GIVEN,
        ),
        _zero(
            "(S23), (S24)",
            "E ∇f • (∂θ/∂Φ − E ∂θ/∂Φ) = 0: ∇f is pulled out of the expectation",
            lengths["covariance"],
            l2o,
        ),
    ]


def over_sizes(points: dict[int, Point]) -> list[dict[str, Any]]:
    """Judge what the proof says of all |D_tr| at once: σ is one number, whatever the size."""
    sizes = sorted(points)
    sigmas = {D: points[D].numbers["variance/Phi"] ** 0.5 for D in sizes}
    worst = max(sigmas, key=lambda D: sigmas[D])
    heavy = any(p.lengths[f"gap/{EXACT}"].top >= DOMINATED for p in points.values())
    grown = sigmas[worst] / sigmas[sizes[0]]
    found = (
        f"√(D_tr Var): {sigmas[sizes[0]]:.3g} at D_tr = {sizes[0]}, "
        f"at most {sigmas[worst]:.3g}, at D_tr = {worst}"
    )
    verdict = HEAVY if heavy else FAILS if grown > GROWN else HOLDS
    what = "Var ∂θ/∂Φ ≤ σ² / D_tr, with the σ of one example"
    train = [points[D].numbers["variance/train"] ** 0.5 for D in sizes]
    spread = f"√(D_tr Var): {train[0]:.3g} at D_tr = {sizes[0]}, at most {max(train):.3g}"
    what_train = "E ‖∇f(θ^(k); D_tr) − ∇f(θ^(k))‖² ≤ σ² / D_tr, though θ^(k) depends on D_tr"
    return [
        Check("(S26)", what, found, verdict)._asdict(),
        Check(
            "A2 (S10)", what_train, spread, FAILS if max(train) > GROWN * train[0] else HOLDS
        )._asdict(),
    ]


def _zero(where: str, what: str, length: Length, scale: float) -> Check:
    """Judge whether a mean vector can be 0, and say how long it is on its scale."""
    low, high = length.interval
    if not scale > 0.0:  # an unbiased estimate of a squared length may be negative
        found = f"{length.value:.3g}, on a scale that could not be told from 0"
        return Check(where, what, found, UNDECIDED)
    found = f"{length.value / scale:.3f} ({low / scale:.3f} … {high / scale:.3f}) × {scale:.3g}"
    if length.top >= DOMINATED:
        return Check(where, what, found, HEAVY)
    return Check(where, what, found, FAILS if low > 0.0 else UNDECIDED)
