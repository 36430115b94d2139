"""The oracle restates what it knows in autograd, and says what it does not know."""

from __future__ import annotations

import numpy as np
import pytest

from lft_ref import CrossEntropy, Network, NetworkLoss, mlp
from lft_validation.autodiff_oracle import oracle, oracle_GH
from tests.random_cases import random_case

PARAMS, TUNER, TASK, WEIGHTS, _, _ = random_case(0)


def test_the_oracle_says_what_it_does_not_know():
    class Other:
        pass

    for objective, name in (
        (Other(), "objective Other"),
        (NetworkLoss(mlp((3, 1)), Other()), "loss Other"),
        (NetworkLoss(Network((Other(),)), CrossEntropy()), "layer Other"),
    ):
        with pytest.raises(ValueError, match=f"{name} is not restated in autograd; use"):
            oracle(PARAMS, TUNER, TASK._replace(objective=objective, theta_0=np.ones(4)), WEIGHTS)
    for tuner, name in (
        (TUNER._replace(estimator=Other()), "estimator Other"),
        (TUNER._replace(cell=TUNER.cell._replace(preprocess=Other())), "preprocess Other"),
    ):
        with pytest.raises(ValueError, match=f"{name} is not restated in autograd; use"):
            oracle(PARAMS, tuner, TASK, WEIGHTS)
    with pytest.raises(ValueError, match=r"theta_0 must have shape \(d,\), found \(2, 3\)"):
        oracle_GH(PARAMS, TUNER, TASK._replace(theta_0=np.zeros((2, 3))), 1)
