"""float32 gives float64's gradient, as far as the problem is conditioned."""

from __future__ import annotations

import numpy as np
import pytest

from lft_ref import (
    adjoint,
    flatten,
    forward_mode,
    unroll,
)
from tests.helpers import cast, relative_error
from tests.random_cases import (
    OBJECTIVES,
    random_case,
)


def sensitivity(engine, case, eps, trials=6):
    """Relative change of the gradient when every float of the arguments moves by up to eps/2."""
    want, changes = flatten(engine(*case).grad), []
    for seed in range(trials):
        rng = np.random.default_rng(seed)

        def jitter(tree, rng=rng):
            if isinstance(tree, tuple) and hasattr(tree, "_fields"):
                return type(tree)(*(jitter(branch) for branch in tree))
            floating = isinstance(tree, np.ndarray) and tree.dtype.kind == "f"
            return tree * (1.0 + 0.5 * eps * rng.uniform(-1, 1, tree.shape)) if floating else tree

        changes.append(relative_error(flatten(engine(*jitter(case)).grad), want))
    return max(changes)


def well_conditioned_case(objective, m):
    """The first random case in which no gradient comes near the steep branch of log/sign."""
    for seed in range(200):
        case = random_case(seed, objective, m=m, K=4, output_scale=0.1)
        g = np.abs(unroll(*case[:3], 4).g)
        if np.min(g[g > 0.0]) > 100 * np.exp(-10.0):  # a dead ReLU gives 0 in both precisions
            return case
    raise AssertionError(f"no well-conditioned case of {objective} among 200")


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("engine", [adjoint, forward_mode])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_float32_agrees_with_float64_as_far_as_the_problem_is_conditioned(objective, engine, m):
    # Rounding the arguments is the least error that float32 must make; rounding each intermediate
    # result in a few dozen operations a step adds to it, but is of the same kind.
    case = well_conditioned_case(objective, m)
    eps = float(np.finfo("float32").eps)
    bound = 20 * max(sensitivity(engine, case, eps), eps)
    assert bound < 1e-3  # otherwise the comparison would say little
    got, want = engine(*cast(case, "float32")), engine(*case)
    assert relative_error(flatten(got.grad), flatten(want.grad)) < bound
    # Losses of either sign, as an attack's are, can cancel: their sum is as exact as its terms.
    terms = sum(abs(w * f) for w, f in zip(case.weights, want.val_loss, strict=True))
    assert abs(float(got.meta_loss) - want.meta_loss) < bound * terms
