"""Calls with a wrong setting each, and what the ``ValueError`` must say of it."""

from __future__ import annotations

import math

import numpy as np

from lft_ref import (
    Activation,
    LogSign,
    LSTMParams,
    Pool2d,
    ZerothOrder,
    adam,
    adjoint,
    adjoint_memory_bytes,
    clip_by_norm,
    fine_tune,
    fitting_segment,
    forward_mode,
    learned,
    maml_gradient,
    sgd,
    train_on,
    unroll,
    weights_mean,
)
from tests.lft_ref.wrong_arguments import CASE, PARAMS, TASK, TUNER, WEIGHTS, ZEROTH


def cell_with(**changes):
    return unroll(PARAMS, TUNER._replace(cell=TUNER.cell._replace(**changes)), TASK, 3)


def estimated(**settings):
    return unroll(PARAMS, TUNER._replace(estimator=ZerothOrder(**settings)), ZEROTH.task, 3)


WHOLE = "{} must be a whole number of at least 1{}, found {}"
OPTIONAL = ", or None"

WRONG_SETTINGS = {
    "MAML's K": (
        lambda: maml_gradient(TASK, 0.1, 0),
        "K must be a whole number of at least 1, found 0",
    ),
    "MAML's alpha": (
        lambda: maml_gradient(TASK, 0.0, 1),
        r"alpha must be positive and finite, found 0\.0",
    ),
    "MAML's alpha, NaN": (lambda: maml_gradient(TASK, float("nan"), 1), "alpha .*found nan"),
    "SGD": (lambda: sgd(-1.0), r"learning_rate must be positive and finite, found -1\.0"),
    "Adam": (lambda: adam(0.0), r"learning_rate must be positive and finite, found 0\.0"),
    "SGD, infinite": (lambda: sgd(float("inf")), "learning_rate .* finite, found inf"),
    "clip": (
        lambda: clip_by_norm(np.ones(2), 0.0),
        r"limit must be positive and finite, found 0\.0",
    ),
    "weights that are a number": (
        lambda: adjoint(PARAMS, TUNER, TASK, 1.0),
        r"weights must be a tuple or list, found float; use for example \(1\.0,\) \* K",
    ),
    "weights in an array": (
        lambda: forward_mode(PARAMS, TUNER, TASK, np.ones(3)),
        "weights must be a tuple or list, found ndarray",
    ),
    **{
        f"p {p}": (
            lambda p=p: cell_with(preprocess=LogSign(p)),
            f"p of LogSign must be positive and at most 709 in float64, found {p!r}; 10 is usual",
        )
        for p in (math.nan, 0.0, -10.0, math.inf, 1e3, "10")
    },
    "p 89 in float32": (
        lambda: learned(
            LSTMParams(*(a.astype("float32") for a in PARAMS)),
            TUNER.cell._replace(preprocess=LogSign(89.0)),
        ),
        r"p of LogSign must be positive and at most 88 in float32, found 89\.0",
    ),
    "the kind of an activation": (
        lambda: Activation("sigmoid").forward(np.zeros(0), np.zeros((1, 2))),
        "kind must be 'relu' or 'tanh', found 'sigmoid'",
    ),
    "the kind of pooling": (
        lambda: Pool2d("mean").forward(np.zeros(0), np.zeros((1, 1, 2, 2))),
        "kind must be 'max' or 'average', found 'mean'",
    ),
    "p of a learned rule": (
        lambda: learned(PARAMS, TUNER.cell._replace(preprocess=LogSign(0.0))),
        r"p of LogSign must be positive and at most 709 in float64, found 0\.0",
    ),
    **{
        f"output_scale {s}": (
            lambda s=s: cell_with(output_scale=s),
            f"output_scale must be a finite number, found {s!r}; 0.1 is usual",
        )
        for s in (math.nan, math.inf, None)
    },
    **{
        f"mu {mu}": (
            lambda mu=mu: estimated(mu=mu),
            f"mu must be positive and finite, found {mu!r}; try 1e-3",
        )
        for mu in (math.nan, math.inf, -1e-3, "1e-3")
    },
    "coordinates of which some are missing": (
        lambda: estimated(scaling="coordinate"),
        r"scaling='coordinate' takes all d=3 directions e_j, found q=2; give all of them, or use",
    ),
    **{
        f"{name} that is no whole number": (
            lambda name=name: adjoint(*CASE[:4], **{name: 1.5}),
            WHOLE.format(name, OPTIONAL, "1.5"),
        )
        for name in ("truncate", "segment", "at_once")
    },
    "half rows": (
        lambda: forward_mode(*CASE[:4], rows_per_block=2.5),
        WHOLE.format("rows_per_block", OPTIONAL, "2.5"),
    ),
    "half a truncation, forward": (
        lambda: forward_mode(*CASE[:4], truncate=1.5),
        WHOLE.format("truncate", OPTIONAL, "1.5"),
    ),
    "K 2.5": (lambda: unroll(PARAMS, TUNER, TASK, 2.5), WHOLE.format("K", "", "2.5")),
    "K None": (lambda: unroll(PARAMS, TUNER, TASK, None), WHOLE.format("K", "", "None")),
    "weights for 2.5 steps": (lambda: weights_mean(2.5), WHOLE.format("K", "", "2.5")),
    "MAML's K 2.5": (lambda: maml_gradient(TASK, 0.1, 2.5), WHOLE.format("K", "", "2.5")),
    "MAML's alpha, infinite": (
        lambda: maml_gradient(TASK, math.inf, 2),
        "alpha must be positive and finite, found inf",
    ),
    "1.5 steps": (
        lambda: fine_tune(sgd(0.1), lambda a: a, np.ones(2), 1.5),
        "steps must be a whole number of at least 0, found 1.5",
    ),
    "memory of no step": (lambda: adjoint_memory_bytes(3, 2, 0), WHOLE.format("K", "", "0")),
    "memory of no coordinate": (lambda: adjoint_memory_bytes(0, 2, 3), WHOLE.format("d", "", "0")),
    "memory of segments of no step": (
        lambda: adjoint_memory_bytes(3, 2, 3, segment=0),
        WHOLE.format("segment", OPTIONAL, "0"),
    ),
    "a segment of no step": (lambda: fitting_segment(100, 3, 2, 0), WHOLE.format("K", "", "0")),
    **{
        f"{steps} steps in unrolls of 3": (
            lambda steps=steps: train_on(None, TUNER, [TASK], WEIGHTS, steps, sgd(0.1)),
            f"steps must be a positive multiple of the unroll length 3, found {steps}",
        )
        for steps in (0, 2, 4)
    },
}
