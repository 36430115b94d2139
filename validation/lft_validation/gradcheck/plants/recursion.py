"""Mistakes in the sums (8) and (9); the blocks that they add up are right."""

from __future__ import annotations

from typing import Any

import numpy as np

from lft_ref.lstm import Jacobians
from lft_ref.ops import recursion
from lft_validation.gradcheck.plants.plant import Change, Plant, with_pieces


def with_block(name: str, wrong: Any) -> Change:
    """(8) and (9) with one block replaced by ``wrong(block)``."""

    def changed(J: Jacobians, G: Any, G_dot: Any, H: Any, _before: Any) -> Any:
        return recursion(J._replace(**{name: wrong(getattr(J, name))}), G, G_dot, H)

    return with_pieces(recursion=changed)


def _with(wrong: Any) -> Change:
    return with_pieces(recursion=wrong)


def _printed_9(J: Jacobians, G: Any, G_dot: Any, H: Any, H_before: Any) -> Any:
    return recursion(J, G, G_dot, H)[0], recursion(J, G, G_dot, H_before)[1]


def _H_first(J: Jacobians, G: Any, G_dot: Any, H: Any, _before: Any) -> Any:
    H_next = recursion(J, G, G_dot, H)[1]
    return recursion(J, G, G_dot, H_next)[0], H_next


def _G_first(J: Jacobians, G: Any, G_dot: Any, H: Any, _before: Any) -> Any:
    G_next = recursion(J, G, G_dot, H)[0]
    return G_next, recursion(J, G, G_next, H)[1]


PLANTS = (
    Plant("printed-9", "(9) as printed, with H^(k−1)", "H", _with(_printed_9)),
    Plant("no-gamma-h", "Γ_h • H is dropped from (8)", "G", with_block("Gamma_h", np.zeros_like)),
    Plant("no-gamma-g", "Γ_g • Ġ is dropped from (8)", "G", with_block("Gamma_g", np.zeros_like)),
    Plant("no-pi-g", "Π_g • Ġ is dropped from (9)", "H", with_block("Pi_g", np.zeros_like)),
    Plant("no-pi-h", "Π_h • H is dropped from (9)", "H", with_block("Pi_h", np.zeros_like)),
    Plant("gamma-phi-sign", "Γ_Φ is added in (8)", "G", with_block("Gamma_Phi", np.negative)),
    Plant(
        "g-not-carried",
        "G is not carried on in (8)",
        "G",
        _with(lambda J, G, G_dot, H, _: recursion(J, 0.0 * G, G_dot, H)),
    ),
    Plant(
        "unit-hessian",
        "Ġ is G: the Hessian is taken for the identity",
        "G",
        _with(lambda J, G, _G_dot, H, _: recursion(J, G, G, H)),
    ),
    Plant("h-too-early", "H is updated before (8) uses it", "G", _with(_H_first)),
    Plant("g-too-early", "G is updated before (9) uses it", "H", _with(_G_first)),
)
