"""(9) is printed with H^(k−1), its derivation (S7) has H^(k): what tells them apart."""

from __future__ import annotations

import numpy as np
import pytest

from lft_ref import REFERENCE, flatten, forward_mode, jacobians, weights_every_step
from lft_validation.autodiff_oracle import oracle
from tests.helpers import assert_same_gradient, relative_error
from tests.random_cases import random_case


def with_printed_9(case):
    """The case with a fresh forward update as printed: H^(k+1) is made of H^(k−1); H^(−1) = 0."""
    before: list[np.ndarray] = []  # H^(0), H^(1), …

    def forward_update(params, cell, g, state, G, G_dot, H, columns):
        H_before = before[-1] if before else np.zeros_like(H)
        before.append(H)
        J = jacobians(params, cell, g, state, columns)
        G_next = (
            G
            - J.Gamma_g[..., None] * G_dot
            - np.einsum("...v,...vp->...p", J.Gamma_h, H)
            - J.Gamma_Phi
        )
        H_next = J.Pi_Phi + J.Pi_h @ H_before + J.Pi_g[..., None] * G_dot[..., None, :]
        return G_next, H_next

    ops = REFERENCE._replace(forward_update=forward_update)
    return case._replace(tuner=case.tuner._replace(ops=ops))


def lstm_of_the_paper(seed, K=20):
    case = random_case(seed, "quadratic", n=10, K=K, d=4, output_scale=0.1)
    # Weights of the usual initial size, 1/√n.
    params = type(case.params)(*(a / np.sqrt(10.0) for a in case.params))
    return case._replace(params=params, weights=weights_every_step(K))


@pytest.mark.parametrize("seed", range(4))
def test_the_printed_9_disagrees_with_autodiff_while_its_cosine_passes(seed):
    case = lstm_of_the_paper(seed)
    grad, want_grad = forward_mode(*with_printed_9(case)).grad, oracle(*case).grad
    got, want = flatten(grad), flatten(want_grad)
    assert relative_error(got, want) > 1e-4
    cosine = got @ want / (np.linalg.norm(got) * np.linalg.norm(want))
    assert cosine > 0.9
    with pytest.raises(AssertionError, match="gradients differ"):
        assert_same_gradient(grad, want_grad)


@pytest.mark.parametrize("seed", range(4))
def test_the_derived_S7_agrees_with_autodiff(seed):
    case = lstm_of_the_paper(seed)
    assert_same_gradient(forward_mode(*case).grad, oracle(*case).grad)


def test_both_forms_are_the_same_for_two_steps_from_zero_only():
    # H^(0) = 0, so the first difference is in H^(2), which θ^(3) is the first to feel.
    for K, same in ((2, True), (3, False)):
        case = lstm_of_the_paper(0, K)
        error = relative_error(
            flatten(forward_mode(*with_printed_9(case)).grad), flatten(oracle(*case).grad)
        )
        assert (error < 1e-12) is same
