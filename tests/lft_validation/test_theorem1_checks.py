"""The verdicts on A1 to A3 and on the steps of the proof, from made-up numbers."""

from __future__ import annotations

import numpy as np
import pytest

from lft_validation.experiments.theorem1.checks import (
    FAILS,
    GIVEN,
    HEAVY,
    HOLDS,
    UNDECIDED,
    checks,
    over_sizes,
)
from lft_validation.experiments.theorem1.config import make_config
from lft_validation.experiments.theorem1.estimate import RESAMPLES, Length
from lft_validation.experiments.theorem1.point import EXACT, Point

CONFIG = make_config("smoke", {})
VAL = max(CONFIG.val_sizes)
ERRORS = np.linspace(-1.0, 1.0, RESAMPLES)


def made_up(Phi: float = 4.0, train: float = 9.0, top: float = 0.1, **squares: float) -> Point:
    """A point whose variances of one example are Phi and train; squares of lengths by name."""
    names = (f"bias/{VAL}", "bias/train", "replaced", f"val/{VAL}", "covariance")
    lengths = {name: Length(squares.get(name, 0.0), ERRORS, 0.1) for name in names}
    lengths |= {"l2o": Length(4.0, ERRORS, 0.1), f"gap/{EXACT}": Length(1.0, ERRORS, top)}
    numbers = {"gradient": 2.0, "variance/train": train, "variance/Phi": Phi, "chain_rule": 1e-16}
    numbers |= {"G/train": 1.0, f"G/{VAL}": 3.0, "G/Phi": 5.0, f"variance/{VAL}": 16.0}
    return Point(lengths, numbers)


def judged(point: Point) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for check in checks(CONFIG, point):
        found.setdefault(check["where"], []).append(check["verdict"])
    return found


@pytest.mark.parametrize("top", [0.1, 0.9])
def test_what_is_finite_by_construction_is_said_to_be_so(top):
    """A σ over a finite population is finite whatever the draws of the gap are."""
    found = judged(made_up(top=top))
    assert [found[where] for where in ("A2 (S10)", "A2 (S11), (S12)", "A3")] == [[GIVEN]] * 3


@pytest.mark.parametrize(
    ("name", "where", "index"),
    [(f"bias/{VAL}", "A1 (S9)", 0), ("bias/train", "A1 (S9)", 1), ("replaced", "(S13)", 0),
     (f"val/{VAL}", "(S20), left", 0), ("covariance", "(S23), (S24)", 0)],
)  # fmt: skip
def test_an_equality_fails_where_its_interval_keeps_away_from_zero(name, where, index):
    assert judged(made_up())[where][index] == UNDECIDED
    assert judged(made_up(**{name: 5.0}))[where][index] == FAILS


def S26(points: dict[int, Point]) -> dict[str, str]:
    return next(check for check in over_sizes(points) if check["where"] == "(S26)")


def test_S26_has_the_roots_of_D_tr_Var_and_fails_where_they_grow():
    found = S26({64: made_up(Phi=81.0), 1: made_up(Phi=4.0), 8: made_up(Phi=16.0)})
    assert found["found"] == "√(D_tr Var): 2 at D_tr = 1, at most 9, at D_tr = 64"
    assert found["verdict"] == FAILS


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(0.1, HOLDS), (1.0, HOLDS), (1.4, HOLDS), (1.6, FAILS)]
)
def test_S26_holds_while_no_root_is_half_as_large_again_as_the_first(ratio, verdict):
    points = {1: made_up(Phi=4.0), 8: made_up(Phi=4.0 * ratio**2)}
    assert S26(points)["verdict"] == verdict
    points[8] = made_up(Phi=4.0 * ratio**2, top=0.6)
    assert S26(points)["verdict"] == HEAVY


@pytest.mark.parametrize(("ratio", "verdict"), [(0.5, HOLDS), (1.4, HOLDS), (1.6, FAILS)])
def test_S10_of_D_tr_is_judged_by_its_own_variance(ratio, verdict):
    points = {1: made_up(Phi=1.0, train=9.0), 8: made_up(Phi=100.0, train=9.0 * ratio**2)}
    (found,) = (check for check in over_sizes(points) if check["where"] == "A2 (S10)")
    assert found["verdict"] == verdict
    most = 3.0 * max(ratio, 1.0)
    assert found["found"] == f"√(D_tr Var): 3 at D_tr = 1, at most {most:.3g}"
