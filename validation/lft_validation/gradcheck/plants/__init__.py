"""Mistakes that are easily made, to be planted one at a time: ``lft gradcheck --plant NAME``."""

from __future__ import annotations

import functools

from lft_validation.gradcheck.builtin import Setting
from lft_validation.gradcheck.check import Report, check
from lft_validation.gradcheck.plants import (
    adjoint,
    cell,
    images,
    inputs,
    losses,
    maml,
    recursion,
    settings,
)
from lft_validation.gradcheck.plants.plant import Change, Plant, demonstration
from lft_validation.gradcheck.problem import Problem
from lft_validation.gradcheck.terms import Trace

AREAS: dict[str, tuple[Plant, ...]] = {
    "the recursion (8), (9)": recursion.PLANTS,
    "the cell": cell.PLANTS,
    "backpropagation": adjoint.PLANTS,
    "preprocessing and estimator": inputs.PLANTS,
    "networks and losses": losses.PLANTS,
    "images and attack": images.PLANTS,
    "weights, data, truncation, order of Φ": settings.PLANTS,
    "MAML": maml.PLANTS,
}

PLANTS: dict[str, Plant] = {plant.name: plant for area in AREAS.values() for plant in area}

__all__ = ["AREAS", "PLANTS", "Plant", "check_plant", "demonstration"]


def check_plant(plant: Plant, seed: int = 0) -> Report:
    """Plant one mistake and check."""
    right, expect = _right(plant.setting, plant.prepare, seed)
    right = right._replace(label=f"planted: {plant.name}")
    return check(plant.change(right), right, seed, expect)


@functools.lru_cache(maxsize=8)
def _right(setting: Setting, prepare: Change | None, seed: int) -> tuple[Problem, Trace]:
    """Return a right problem and its terms: many mistakes are planted into the same one."""
    from lft_validation.gradcheck.expected import expected

    right = demonstration(setting, prepare, seed)
    return right, expected(right)
