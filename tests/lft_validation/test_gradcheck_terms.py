"""The terms: what judges them is right, their entries have names, kinks and patterns are seen."""

from __future__ import annotations

import numpy as np
import pytest

from lft_ref import Activation, CrossEntropy, LSTMState, cnn, flatten, mnist_mlp
from lft_validation.autodiff_oracle import oracle, oracle_GH, oracle_maml
from lft_validation.gradcheck.builtin import Setting, build, settings
from lft_validation.gradcheck.check import check
from lft_validation.gradcheck.entries import entry, phi_entry
from lft_validation.gradcheck.expected import expected
from lft_validation.gradcheck.found import found
from lft_validation.gradcheck.kinks import kinks
from lft_validation.gradcheck.methods import central_differences, taylor_remainder
from lft_validation.gradcheck.verdict import difference, pattern_of

SMALL = Setting("quadratic", "first_order", "log_sign", True)


def problem_of(setting=SMALL, **changes):
    problem = build(setting, 0, 0)
    h, c = np.random.default_rng(0).uniform(-0.5, 0.5, (2, problem.d, problem.params.n))
    return problem._replace(state_0=LSTMState(h, c), **changes)


@pytest.mark.parametrize("estimator", ["first_order", "zeroth_order"])
def test_expected_G_and_H_are_the_jacobians_of_the_whole_unroll(estimator):
    problem = problem_of(SMALL._replace(estimator=estimator))
    trace = expected(problem)
    for k in (1, problem.K):
        G, H = oracle_GH(problem.params, problem.tuner, problem.task, k, problem.state_0)
        np.testing.assert_allclose(trace["G", k], G, rtol=1e-9, atol=1e-12 * np.abs(G).max())
        np.testing.assert_allclose(trace["H", k], H, rtol=1e-9, atol=1e-12 * np.abs(H).max())


@pytest.mark.parametrize("truncate", [None, 2])
@pytest.mark.parametrize("second_order", [True, False])
def test_expected_totals_are_those_of_the_oracle(truncate, second_order):
    problem = problem_of(SMALL._replace(second_order=second_order), truncate=truncate)
    arguments = (problem.params, problem.tuner, problem.task, problem.weights, problem.state_0)
    want = flatten(oracle(*arguments, truncate).grad)
    trace = expected(problem)
    assert difference(problem, "∇_Φ", trace["Σ_k ∇_k", problem.K], want) < 1e-11
    by_step = sum(trace["Φ̄", k] for k in range(1, problem.K + 1))
    assert difference(problem, "∇_Φ", by_step, want) < 1e-11
    maml = oracle_maml(problem.task, 0.01, problem.K, second_order=second_order)
    np.testing.assert_allclose(trace["MAML θ̄", 1], maml.grad, rtol=1e-11)


def test_both_traces_hold_the_same_terms():
    problem = problem_of()
    right = expected(problem)
    assert set(found(problem)) == set(right)
    assert list(found(problem)) == list(found(problem, right))


def test_every_combination_is_checked_by_the_command():
    assert len(set(settings())) == len(settings()) == 10 * 2 * 2 * 2


def test_entries_have_names_that_say_what_they_do():
    m, n = 2, 10
    assert phi_entry(0, m, n) == "W_x[0, 0] (input gate of unit 0, from feature 0)"
    assert phi_entry(80 + 147, m, n) == (
        "W_h[3, 27] (candidate gate of unit 7, from hidden unit 3)"
    )
    assert phi_entry(480 + 15, m, n) == "b[15] (bias, forget gate of unit 5)"
    assert phi_entry(520, m, n) == "w_o[0] (output weight of hidden unit 0)"
    assert phi_entry(530, m, n) == "b_o (output bias)"
    problem = problem_of(coordinates=("W[0]", "W[1]", "W[2]", "b[0]"))
    assert entry(problem, "cc", (3, 0)) == "row b[0], column W[0]"
    assert entry(problem, "css", (1, 0, 4)) == "h[0] by c[0], at W[1],"
    assert entry(problem, "", ()) == ""


def test_patterns_of_wrong_entries_are_recognised():
    right = np.asarray([[1.0, 2.0], [3.0, 5.0]])
    assert pattern_of(-right, right, 1e-8) == "it has the wrong sign"
    assert pattern_of(0.0 * right, right, 1e-8) == "it is zero"
    assert pattern_of(right.T, right, 1e-8) == "it is transposed"
    assert pattern_of(0.5 * right, right, 1e-8) == "it is 0.5 times what it should be"
    assert pattern_of(right + 1.0, right, 1e-8) == ""
    assert pattern_of(right * [1.0, -1.0], right, 1e-8) == "2 of 4 entries have the wrong sign"
    assert pattern_of(right * [1.0, np.nan], right, 1e-8) == "2 of 4 entries are not finite"


def test_a_gradient_is_judged_on_its_own_scale_array_by_array():
    problem = problem_of()
    right = expected(problem)["Σ_k ∇_k", problem.K]
    wrong = right.copy()
    wrong[-1] *= 1.001
    assert difference(problem, "∇_Φ", wrong, right) > 1e-6
    assert difference(problem, "∇_Φ", 1e-20 * wrong, 1e-20 * right) > 1e-6
    assert difference(problem, "∇_Φ", 0.0 * right, right) == 1.0


def test_central_differences_draw_a_V_and_its_minimum_counts():
    curve = central_differences(np.exp, [1.0], 1.0)
    assert curve.best < 1e-9
    assert curve.errors[0] > 1e-4
    assert curve.errors[-1] > curve.best
    assert central_differences(np.exp, [1.0, 1.01], 1.0).best > 8e-3


def test_the_order_of_the_taylor_remainder_tells_right_from_wrong():
    assert taylor_remainder(np.exp, [1.0])[1] == pytest.approx(2.0, abs=0.1)
    assert taylor_remainder(np.exp, [1.01])[1] == pytest.approx(1.0, abs=0.1)
    assert taylor_remainder(lambda e: 1.0 + e, [1.0])[1] is None  # nothing but rounding remains
    assert taylor_remainder(np.exp, [np.nan])[1] == 0.0


def test_a_relu_at_zero_is_reported_with_its_place():
    problem = build(SMALL._replace(task="sine-relu"), 0, 0)
    task = problem.task._replace(theta_0=np.zeros(problem.d))
    problem = problem._replace(task=task)
    report = check(problem)
    assert report.kinks[0].what == "ReLU"
    assert "unit 0 of layer 1, example 0 of D_tr" in report.kinks[0].where
    assert report.methods.central is None


def test_a_gradient_at_the_threshold_of_log_sign_is_reported_with_its_coordinate():
    problem = problem_of()
    trace = expected(problem)
    trace["g", 2][3] = np.exp(-10.0) * (1.0 + 1e-9)
    (kink,) = kinks(problem, trace)
    assert (kink.where, kink.step) == ("g of θ[3]", 2)
    assert kink.distance == pytest.approx(1e-9, rel=1e-3)


def near_a_kink(name, theta=None, **changes):
    """The kinks on the path of an attack that starts at one, and the report as a whole."""
    problem = build(SMALL._replace(task=name), 0, 0)
    objective = problem.task.objective._replace(**changes)
    task = problem.task._replace(objective=objective)
    if theta is not None:
        task = task._replace(theta_0=theta(task))
    report = check(problem._replace(task=task, weights=(1.0,)))
    return {kink.what for kink in report.kinks if kink.step == 1}, report


def test_no_built_in_problem_comes_near_a_kink():
    assert near_a_kink("attack-tanh")[0] == near_a_kink("attack-relu")[0] == set()


def test_a_pixel_at_the_end_of_the_box_is_a_kink_of_clipping_only_if_images_are_cut_off():
    def to_the_end(task):
        theta = task.theta_0.copy()
        theta[5] = 0.5 - task.train.x[1].ravel()[5]
        return theta

    found, report = near_a_kink("attack-tanh", to_the_end)
    assert found == {"clipping"}
    assert "pixel [0, 1, 1] of example 1 of D_tr" in report.kinks[0].where
    assert "clipping" in report.kinks[0].sentence()
    assert near_a_kink("attack-tanh", to_the_end, clip=False)[0] == set()


def test_a_perturbation_of_0_is_a_kink_of_the_penalty():
    found, report = near_a_kink("attack-tanh", lambda task: 0.0 * task.theta_0)
    assert "|theta|" in found
    assert any("pixel [0, 0, 0] of D_tr" in kink.where for kink in report.kinks)
    assert "|theta|" not in near_a_kink("attack-tanh", lambda t: 0.0 * t.theta_0, l1=0.0)[0]


def test_a_margin_at_minus_kappa_is_a_kink():
    problem = build(SMALL._replace(task="attack-tanh"), 0, 0)
    f, task = problem.task.objective, problem.task
    z = f.logits(task.theta_0, task.train)[0]
    y = task.train.y[0]
    margin = z[y] - max(np.delete(z, y))
    assert "max(margin, -kappa)" in near_a_kink("attack-tanh", kappa=-float(margin))[0]


def test_equal_rivals_and_equal_entries_of_a_window_are_kinks():
    weights = np.zeros_like(build(SMALL._replace(task="attack-tanh"), 0, 0).task.objective.weights)
    found, _ = near_a_kink("attack-tanh", weights=weights)
    assert found == {"max pooling", "the best other class"}
    assert "ReLU" in near_a_kink("attack-relu", weights=weights)[0]


def test_coordinates_of_images_and_convolutions_have_names():
    attack, lenet = (
        build(SMALL._replace(task=name), 0, 0) for name in ("attack-tanh", "lenet-tanh")
    )
    assert attack.coordinates[6] == "pixel[0, 1, 2]"
    assert lenet.coordinates[:1] + lenet.coordinates[8:10] == ("K1[0, 0, 0, 0]", "b1[0]", "b1[1]")
    assert lenet.coordinates[-1] == "b3[2]"
    assert len(lenet.coordinates) == lenet.d == 37


def test_the_networks_of_few_shot_tasks_are_built_in_as_they_are_trained():
    network, mlp_ = (build(SMALL._replace(task=f"fewshot-{kind}"), 0, 0) for kind in ("cnn", "mlp"))
    assert network.task.objective.network == cnn((1, 4, 4), 2, 2, 3)
    assert mlp_.task.objective.network == mnist_mlp(3, (1, 3, 2), (4, 3))
    assert [len(p.coordinates) for p in (network, mlp_)] == [network.d, mlp_.d] == [67, 55]
    assert mlp_.coordinates[:1] + mlp_.coordinates[24:25] == ("W1[0, 0]", "b1[0]")
    for problem in (network, mlp_):  # few-shot tasks are judged by the mean, of relu networks
        assert problem.task.objective.loss == CrossEntropy("mean")
        assert {layer.kind for layer in problem.task.objective.network.layers
                if isinstance(layer, Activation)} == {"relu"}  # fmt: skip
