"""Mistakes around the engines: weights, data, start, truncation, and the order of Φ."""

from __future__ import annotations

import numpy as np

from lft_ref import LSTMParams, LSTMState, unflatten
from lft_ref.params import shapes
from lft_validation.gradcheck.plants.plant import Plant, swap_gates, with_pieces, with_task
from lft_validation.gradcheck.problem import Problem


def _column_major(flat: np.ndarray, m: int, n: int) -> LSTMParams:
    right = unflatten(flat, m, n)
    return right._replace(
        W_x=right.W_x.ravel().reshape(right.W_x.shape, order="F"),
        W_h=right.W_h.ravel().reshape(right.W_h.shape, order="F"),
    )


def _W_h_first(flat: np.ndarray, m: int, n: int) -> LSTMParams:
    sizes = shapes(m, n)
    middle, end = int(np.prod(sizes.W_h)), 4 * n * (m + n)
    right = unflatten(flat, m, n)
    return right._replace(
        W_h=flat[:middle].reshape(sizes.W_h), W_x=flat[middle:end].reshape(sizes.W_x)
    )


def _gate_order(flat: np.ndarray, m: int, n: int) -> LSTMParams:
    p, order = unflatten(flat, m, n), (0, 1, 3, 2)
    W_x, W_h, b = (swap_gates(a, order) for a in (p.W_x, p.W_h, p.b))
    return p._replace(W_x=W_x, W_h=W_h, b=b)


def _no_start(problem: Problem) -> Problem:
    zero = 0.0 * problem.state_0.h
    return problem._replace(state_0=LSTMState(zero, zero))


def _cut(problem: Problem) -> Problem:
    return problem._replace(truncate=2)


PLANTS = (
    Plant(
        "late-weights",
        "w_k is off by one",
        "w_k",
        lambda problem: problem._replace(weights=(0.0, *problem.weights[:-1])),
    ),
    Plant(
        "no-weights",
        "w_k is not used",
        "w_k",
        lambda problem: problem._replace(weights=(1.0,) * problem.K),
    ),
    Plant(
        "reversed-weights",
        "w_k is used from the last step to the first",
        "w_k",
        lambda problem: problem._replace(weights=problem.weights[::-1]),
    ),
    Plant(
        "judged-on-training",
        "D_val is D_tr",
        "f_val",
        lambda problem: with_task(problem, val=problem.task.train),
    ),
    Plant("no-h-0", "h_0 is forgotten", "start", _no_start),
    Plant("cut", "the unroll is cut every two steps, unasked", "carry", _cut),
    Plant(
        "never-cut",
        "the unroll is not cut where it should be",
        "carry",
        lambda problem: problem._replace(truncate=None),
        prepare=_cut,
    ),
    Plant(
        "cut-late",
        "the unroll is cut one step late",
        "carry",
        with_pieces(is_boundary=lambda k, t: t is not None and k > 0 and (k - 1) % t == 0),
        prepare=_cut,
    ),
    Plant(
        "column-major",
        "∇_Φ is cut column by column",
        "∇_Φ fields",
        with_pieces(unflatten=_column_major),
    ),
    Plant(
        "w-h-first",
        "W_h is expected before W_x in the flattened Φ",
        "∇_Φ fields",
        with_pieces(unflatten=_W_h_first),
    ),
    Plant(
        "phi-gate-order",
        "∇_Φ's gates are input, forget, output, candidate",
        "∇_Φ fields",
        with_pieces(unflatten=_gate_order),
    ),
)
