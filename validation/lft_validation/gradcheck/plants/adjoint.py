"""Mistakes in backpropagation: in the cell's vjp and in what is passed from step to step."""

from __future__ import annotations

from typing import Any

from lft_ref import LSTMParams, LSTMState, step, vjp
from lft_validation.gradcheck.plants.plant import Change, Plant, swap_gates, with_pieces


def _with(wrong: Any) -> Change:
    """A vjp that is ``wrong(*arguments)``."""
    return with_pieces(vjp=wrong)


def _results(wrong: Any) -> Change:
    """The right vjp, and ``wrong`` of its results."""
    return _with(lambda *arguments: wrong(*vjp(*arguments)))


def _fields(wrong: Any) -> Change:
    return _results(lambda p, g_bar, s: (wrong(p), g_bar, s))


def _transposed(p: LSTMParams) -> LSTMParams:
    n = p.n
    return p._replace(W_h=p.W_h.reshape(n, 4, n).swapaxes(0, 2).reshape(n, 4 * n))


def _no_cell_path(p: Any, cell: Any, g: Any, s: Any, delta_bar: Any, s_bar: LSTMState) -> Any:
    return vjp(p, cell, g, s, delta_bar, LSTMState(s_bar.h, 0.0 * s_bar.c))


PLANTS = (
    Plant(
        "update-added",
        "Δθ is added instead of subtracted on the way back",
        "Φ̄",
        _with(lambda p, cell, g, s, delta_bar, s_bar: vjp(p, cell, g, s, -delta_bar, s_bar)),
    ),
    Plant(
        "vjp-gates",
        "input and forget gates are exchanged in Φ̄",
        "Φ̄",
        _fields(
            lambda p: p._replace(W_x=swap_gates(p.W_x), W_h=swap_gates(p.W_h), b=swap_gates(p.b))
        ),
    ),
    Plant(
        "vjp-bias-gates",
        "input and forget gates are exchanged in b̄ alone",
        "Φ̄",
        _fields(lambda p: p._replace(b=swap_gates(p.b))),
    ),
    Plant("vjp-no-b-o", "b̄_o is missing", "Φ̄", _fields(lambda p: p._replace(b_o=0.0 * p.b_o))),
    Plant("vjp-w-h-transposed", "W̄_h is transposed gate by gate", "Φ̄", _fields(_transposed)),
    Plant("vjp-drops-c", "c̄ of the next step is not used", "Φ̄", _with(_no_cell_path)),
    Plant(
        "vjp-keeps-c",
        "c̄ is not handed back",
        "c̄",
        _results(lambda p, g_bar, s: (p, g_bar, LSTMState(s.h, 0.0 * s.c))),
    ),
    Plant(
        "vjp-keeps-h",
        "h̄ is not handed back",
        "h̄",
        _results(lambda p, g_bar, s: (p, g_bar, LSTMState(0.0 * s.h, s.c))),
    ),
    Plant("g-bar-sign", "ḡ has the wrong sign", "ḡ", _results(lambda p, g_bar, s: (p, -g_bar, s))),
    Plant(
        "state-after",
        "the gates are computed again from the state after the step",
        "Φ̄",
        _with(lambda p, cell, g, s, *bars: vjp(p, cell, g, step(p, cell, g, s)[1], *bars)),
    ),
)
