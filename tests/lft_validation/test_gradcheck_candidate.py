"""A whole meta-gradient function: its first wrong step is named, and the mistake it makes."""

from __future__ import annotations

import numpy as np
import pytest

from lft_ref import LSTMParams, adjoint, flatten
from lft_validation.cases import random_case
from lft_validation.errors import UserError
from lft_validation.gradcheck import candidate as module
from lft_validation.gradcheck.candidate import check_candidate, conclusion, flat_gradient, lines

FEW = (6, 18)  # quadratics that differ in ∂g/∂θ alone


def by_adjoint(vector, **changes):
    """The right answer, found by looking up which case was asked for."""
    for index in FEW:
        case = random_case(3, index)
        if case.task.theta_0.shape == vector["theta_0"].shape and np.array_equal(
            case.task.theta_0, vector["theta_0"]
        ):
            weights = tuple(float(w) for w in vector["weights"])
            tuner = case.tuner._replace(**changes)
            return adjoint(case.params, tuner, case.task, weights, case.state_0).grad
    raise AssertionError("asked for a case that is not there")


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(module, "CASES", FEW)


def run(function, tolerance=None):
    return list(check_candidate(function, "mine", 3, tolerance))


def test_a_right_candidate_passes_in_every_form():
    for form in (lambda g: g, lambda g: g._asdict(), flatten, list):
        results = run(lambda vector, form=form: form(by_adjoint(vector)))
        assert all(r.error < 1e-10 for r in results)
        assert conclusion(results, 3) == ""
    assert len(lines(results)) == 1 + len(FEW)


def test_a_dropped_second_order_term_is_recognised():
    results = run(lambda vector: by_adjoint(vector, second_order=False))
    wrong = [r for r in results if r.sentence]
    assert wrong
    assert all("first-order-only" in r.mistakes for r in wrong)
    text = " ".join(conclusion(results, 3).split())
    assert "all of those with second_order True" in text
    assert "It equals the planted mistake first-order-only" in text


def test_the_first_wrong_step_is_named():
    def wrong(vector):
        grad = by_adjoint(vector)
        return grad._replace(b_o=2.0 * grad.b_o)

    text = " ".join(conclusion(run(wrong), 3).split())
    assert "The first wrong term is ∇_k at step 1" in text
    assert "b_o (output bias)" in text


def test_a_wrong_sum_of_right_steps_is_named():
    def wrong(vector):
        once = np.count_nonzero(vector["weights"]) == 1
        return LSTMParams(*((1.0 if once else 2.0) * a for a in by_adjoint(vector)))

    assert any("but their sum is wrong" in r.sentence for r in run(wrong))


@pytest.mark.parametrize(
    "answer",
    [{"W_x": 1.0}, [1.0] * 5, 1.0, "text", np.zeros(3)],
)
def test_other_answers_are_refused(answer):
    with pytest.raises(UserError, match="mine"):
        flat_gradient(answer, 2, 2, "mine")
