"""What the points add up to: both sides of (11), exponents, checks, a conclusion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lft_backends.draws import Stage, stream
from lft_ref.theorem1 import bound, bound_of_parts
from lft_validation.experiments.theorem1.checks import checks, over_sizes
from lft_validation.experiments.theorem1.closed_form import Linear, draws, exact
from lft_validation.experiments.theorem1.config import Config
from lft_validation.experiments.theorem1.estimate import (
    Length,
    Slope,
    length_of_mean,
    slope,
    with_control,
)
from lft_validation.experiments.theorem1.point import EXACT, Point
from lft_validation.experiments.theorem1.run import JobKey, read_point

SMALLEST = 1e-300  # a gap of exactly 0 gives a large ratio, not an infinite one

Points = dict[int, Point]  # by |D_tr|
Results = dict[tuple[str, int, str], Points]  # by family, seed and Φ


def collect(config: Config, folder: Path) -> Results:
    """Read the results of all jobs."""
    return {
        (family, seed, phi): {
            D: read_point(config, folder, JobKey(family, seed), phi, D) for D in config.train_sizes
        }
        for seed in config.seeds
        for family in config.families
        for phi in config.phis_of(family)
    }


def summarise(config: Config, results: Results) -> dict[str, Any]:
    """Return everything that goes into results.json."""
    series = [_series(config, key, points) for key, points in results.items()]
    return {"series": series, "estimator": estimator_check()}


def _series(config: Config, key: tuple[str, int, str], points: Points) -> dict[str, Any]:
    """One Φ on one family: the grid, the exponents, the checks."""
    return {
        "family": key[0],
        "seed": key[1],
        "phi": key[2],
        "grid": [
            grid_row(D_tr, D_val, point)
            for D_tr, point in points.items()
            for D_val in config.val_sizes
        ],
        "gap_by_train_size": [
            {"D_tr": D_tr, **plain(point.lengths[f"gap/{EXACT}"])} for D_tr, point in points.items()
        ],
        "exponents": exponents(config, points),
        "checks": {str(D_tr): checks(config, point) for D_tr, point in points.items()},
        "checks_over_sizes": over_sizes(points),
        "constants": {str(D_tr): point.numbers for D_tr, point in points.items()},
    }


def plain(length: Length) -> dict[str, Any]:
    """Return a length as JSON values."""
    low, high = length.interval
    return {
        "value": length.value,
        "low": low,
        "high": high,
        "resolved": length.resolved,
        "top_share": length.top,
    }


def grid_row(D_tr: int, D_val: int, point: Point) -> dict[str, Any]:
    """Both sides of (11) at one point."""
    gap, single = point.lengths[f"gap/{D_val}"], point.lengths[f"single/{D_val}"]
    sides = right_sides(D_tr, D_val, point.numbers)
    limit = gap.value if gap.resolved else gap.interval[1]
    return {
        "D_tr": D_tr,
        "D_val": D_val,
        "gap": plain(gap),
        "single": plain(single),
        **sides,
        # Where the gap is lost in noise, the ratio is at least that to its upper limit.
        "ratio": sides["bound"] / max(limit, SMALLEST),
        "above_bound": gap.interval[0] > sides["bound"],
    }


def right_sides(D_tr: int, D_val: int, numbers: dict[str, float]) -> dict[str, float]:
    """Return the bounds at one point, with the smallest G and σ that fit it.

    (11) itself; the same with a pair of G and σ for each quantity; and G_rms σ / √D_tr, which can
    be proved (docs/theorem1.md).
    """
    G_theta = max(numbers["G/train"], numbers[f"G/{D_val}"])
    sigma_theta = max(numbers["variance/train"], numbers[f"variance/{D_val}"]) ** 0.5
    G_Phi, sigma_Phi = numbers["G/Phi"], numbers["variance/Phi"] ** 0.5
    G, sigma = max(G_theta, G_Phi), max(sigma_theta, sigma_Phi)
    return {
        "G": G,
        "sigma": sigma,
        "bound": bound(G, sigma, D_tr, D_val),
        "bound_of_parts": bound_of_parts(G_theta, sigma_theta, G_Phi, sigma_Phi, D_tr, D_val),
        "proved": numbers["G_rms/Phi"] * (numbers["variance/train"] / D_tr) ** 0.5,
    }


def exponents(config: Config, points: Points) -> dict[str, Any]:
    """Slopes of the gap and of the root mean square gap, in |D_tr| and in |D_val|."""
    sizes = list(points)
    widest, middle = max(config.val_sizes), _few(sizes)
    few = points[middle].lengths
    vals = list(config.val_sizes)
    both = [D for D in vals if D in points]
    fits = {
        "gap in D_tr": slope(sizes, [p.lengths[f"gap/{EXACT}"] for p in points.values()]),
        f"gap in D_val, D_tr = {middle}": slope(vals, [few[f"gap/{D}"] for D in vals]),
        f"single in D_tr, D_val = {widest}": slope(
            sizes, [p.lengths[f"single/{widest}"] for p in points.values()]
        ),
        f"single in D_val, D_tr = {max(sizes)}": slope(
            vals, [points[max(sizes)].lengths[f"single/{D}"] for D in vals]
        ),
        "single in D_tr = D_val": slope(both, [points[D].lengths[f"single/{D}"] for D in both]),
    }
    return {name: _fit(fit) for name, fit in fits.items()}


def _few(sizes: list[int]) -> int:
    """The size that is nearest to ten shots."""
    return min(sizes, key=lambda D: abs(D - 10))


def _fit(fit: Slope | None) -> dict[str, Any] | None:
    return None if fit is None else dict(fit._asdict())


def estimator_check() -> dict[str, Any]:
    """Estimate the gap of the closed-form case, and say whether the truth lies in the interval.

    An interval that holds 0 would cover too many truths to say anything: it does not count.
    """
    case = Linear(np.asarray([1.0, -0.5, 2.0]), np.asarray([0.3, 0.1, 0.6]), noise=0.5)
    D_tr, D_val, count = 8, 8, 1200  # enough to see a gap that is half as long again
    found, control = draws(case, D_tr, D_val, count, stream(0, Stage.CASE))
    length = length_of_mean(with_control(found.l2o - found.lft, control.l2o - control.lft))
    known = exact(case, D_tr)
    truth = float(np.linalg.norm(known.l2o - known.lft))
    low, high = length.interval
    covered = 0.0 < low <= truth <= high
    return {"truth": truth, "value": length.value, "low": low, "high": high, "covered": covered}
