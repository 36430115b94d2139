"""Both sides of (11) where every expectation is a finite sum, and the draws behind them."""

from __future__ import annotations

import sys
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from lft_backends.draws import Stage
from lft_ref import Cell, Data, FineTuner, Identity, LogSign, Task
from lft_ref.forward_mode import forward_step, initial_forward_state
from lft_ref.params import all_columns
from lft_ref.theorem1 import bound, vector_moments
from lft_validation.errors import UserError
from lft_validation.experiments.theorem1.config import PRESETS
from lft_validation.experiments.theorem1.estimate import length_of_mean, with_control
from lft_validation.experiments.theorem1.gap import Draws, measure, reference
from lft_validation.experiments.theorem1.jacobians import JacobianDraws, jacobian_draws
from lft_validation.experiments.theorem1.problems import Tasks, draw, make_tasks
from tests.helpers import assert_close, examples
from tests.random_cases import random_objective, random_params

M = 3  # examples in a population: every D_tr and D_val can be written down
STAGES = Stage.THEOREM1_TASK, Stage.THEOREM1_INIT


def generated(seed: int, objective: str, m: int, N: int = 2) -> tuple[Any, FineTuner, Tasks]:
    """Φ, fine-tuner and N tasks in general position."""
    rng = np.random.default_rng(seed)
    f, d, examples_of = random_objective(rng, objective, (N,), 2)
    tasks = Tasks(f, examples_of(M), 0.7 * rng.normal(size=(N, d)))
    tuner = FineTuner(Cell(LogSign() if m == 2 else Identity(), 0.5))
    return random_params(rng, m, 2), tuner, tasks


def every(tasks: Tasks, D_tr: int, D_val: int) -> tuple[Data, Data]:
    """All pairs (D_tr, D_val), equally likely, on a leading axis; the same rows for every task."""
    rows = np.asarray(list(product(range(M), repeat=D_tr + D_val)))
    x, y = (np.moveaxis(a[:, rows], 1, 0) for a in tasks.population)
    train, val = slice(None, D_tr), slice(D_tr, None)
    return Data(x[:, :, train], y[:, :, train]), Data(x[:, :, val], y[:, :, val])


def everything(seed: int, objective: str, m: int, K: int, D_tr: int = 2, D_val: int = 1) -> Any:
    params, tuner, tasks = generated(seed, objective, m)
    train, val = every(tasks, D_tr, D_val)
    found = measure(params, tuner, tasks, reference(params, tuner, tasks, K), train, [val])
    grads = found.grad_val[0], found.grad, found.grad_train
    jacobians = jacobian_draws(params, tuner, tasks, train, grads, found.grad.mean(axis=1))
    return found, jacobians


def right_side(found: Draws, jacobians: JacobianDraws, D_tr: int, D_val: int) -> dict[str, float]:
    """(11) with G and σ of A2 and A3, no Monte Carlo anywhere; and G_rms σ / √D_tr."""
    R = found.l2o.shape[0]
    train, val = (
        vector_moments(np.moveaxis(a, 1, 0), np.moveaxis(found.grad, 1, 0))
        for a in (found.grad_train, found.grad_val[0])
    )
    variance = jacobians.moments.variance * (R - 1) / R  # of all draws there are
    G = max(float(np.max(a.mean_norm)) for a in (train, val, jacobians.moments))
    sigmas = D_tr * train.variance, D_val * val.variance, D_tr * variance
    sigma = max(float(np.max(a)) for a in sigmas) ** 0.5
    rms = float(np.max(jacobians.moments.mean_square)) ** 0.5
    return {
        "bound": bound(G, sigma, D_tr, D_val),
        "proved": rms * float(np.max(train.variance)) ** 0.5,
    }


CASES = {
    "seed": st.integers(0, 2**32 - 1),
    "objective": st.sampled_from(["quadratic", "squared_mean_tanh", "cross_entropy_mean_relu"]),
    "m": st.sampled_from([1, 2]),
    "K": st.integers(1, 3),
}


@examples(25)
@given(**CASES)
def test_the_gap_is_below_11_and_below_what_can_be_proved(seed, objective, m, K):
    found, jacobians = everything(seed, objective, m, K)
    gap = np.linalg.norm((found.l2o - found.lft[0]).mean(axis=(0, 1)))
    sides = right_side(found, jacobians, 2, 1)
    assert gap <= sides["bound"]
    assert gap <= sides["proved"] * (1 + 1e-9)
    assert sides["proved"] > 0.0


@examples(15)
@given(**CASES)
def test_the_expectation_over_D_val_is_the_population_and_its_size_has_no_influence(
    seed, objective, m, K
):
    one, _ = everything(seed, objective, m, K, D_tr=1, D_val=1)
    two, _ = everything(seed, objective, m, K, D_tr=1, D_val=2)
    scale = np.abs(one.lft).max()
    for found in (one, two):
        difference = (found.lft[0] - found.exact).mean(axis=(0, 1))
        assert np.abs(difference).max() <= 1e-11 * scale
    assert_close(two.lft.mean(axis=(0, 1, 2)), one.lft.mean(axis=(0, 1, 2)), 1e-8)


@examples(15)
@given(**CASES)
def test_the_control_has_mean_zero(seed, objective, m, K):
    found, _ = everything(seed, objective, m, K)
    for control in (found.control_l2o, found.control_lft[0]):
        assert np.abs(control).max() > 0.0
        assert np.abs(control.mean(axis=0)).max() <= 1e-10 * np.abs(control).max()


@examples(15)
@given(**CASES)
def test_F_and_F_hat_agree_where_D_val_is_D_tr_as_a_set(seed, objective, m, K):
    params, tuner, tasks = generated(seed, objective, m)
    train, _ = every(tasks, 3, 0)
    shuffled = Data(train.x[:, :, ::-1], train.y[:, :, ::-1])
    at = reference(params, tuner, tasks, K)
    found = measure(params, tuner, tasks, at, train, [train, shuffled])
    np.testing.assert_array_equal(found.lft[0], found.l2o)  # the same bits
    assert np.abs(found.lft[1] - found.l2o).max() <= 1e-10 * np.abs(found.l2o).max()


def test_the_jacobians_give_the_gradients_by_the_chain_rule():
    found, jacobians = everything(3, "squared_mean_tanh", 2, 3)
    assert_close(jacobians.product, found.lft[0])
    gap = (jacobians.replaced - jacobians.covariance).mean(axis=(0, 1))  # (S13) less (S24)
    assert_close(gap, (found.l2o - found.exact).mean(axis=(0, 1)), 1e-8)


def test_the_steps_S13_and_S24_of_the_proof_are_no_equalities():
    found, jacobians = everything(0, "squared_mean_tanh", 1, 3)
    gap = np.linalg.norm((found.l2o - found.exact).mean(axis=(0, 1)))
    # Sums of finitely many numbers: what is not rounding is not zero.
    for rest in (jacobians.covariance, jacobians.replaced):
        assert np.linalg.norm(rest.mean(axis=(0, 1))) > 0.01 * gap > 1e-6


def truths(tasks: Tasks, params: Any, tuner: FineTuner, train: Data, grads: Any, K: int) -> Any:
    """E (u − E u) • (G − E G) of every task, and that plus the gap: sums over all draws."""
    start = np.broadcast_to(tasks.theta_0, grads[0].shape[1:])
    task = Task(tasks.objective, train, train, start)
    at = initial_forward_state(params, start, None, all_columns(params.m, params.n))
    covariance, replaced = 0.0, 0.0
    for k in range(K):
        at = forward_step(params, tuner, task, k, at)
        without = np.einsum("nd,ndp->np", grads[1][k].mean(axis=0), at.G.mean(axis=0)) / K
        products = [np.einsum("rnd,rndp->np", g[k], at.G) / K / len(at.G) for g in grads[1:]]
        covariance, replaced = covariance + products[0] - without, replaced + products[1] - without
    return covariance, replaced


@pytest.fixture(scope="module")
def written_down() -> Any:
    """One case with all its draws: how to repeat some of them, and both true lengths."""
    params, tuner, tasks = generated(0, "squared_mean_tanh", 1)
    train, val = every(tasks, 2, 1)
    found = measure(params, tuner, tasks, reference(params, tuner, tasks, 3), train, [val])
    grads = found.grad_val[0], found.grad, found.grad_train

    def some(rows: np.ndarray, mean_grad: np.ndarray) -> JacobianDraws:
        some_grads = tuple(grad[:, rows] for grad in grads)
        data = Data(train.x[rows], train.y[rows])
        return jacobian_draws(params, tuner, tasks, data, some_grads, mean_grad)

    return some, found.grad, truths(tasks, params, tuner, train, grads, 3)


def test_the_covariance_of_S13_and_S24_is_that_of_finite_sums(written_down):
    some, grad, true = written_down
    J = grad.shape[1]
    found = some(np.arange(J), grad.mean(axis=1))
    gap = true[1] - true[0]
    assert_close(found.covariance.mean(axis=0) * (J - 1) / J, true[0], 1e-10)
    assert_close((found.replaced - found.covariance).mean(axis=0), gap, 1e-10)
    elsewhere = some(np.arange(J), grad.mean(axis=1) + 3.0)  # an error of ū is none of the mean
    assert_close(elsewhere.covariance.mean(axis=0), found.covariance.mean(axis=0), 1e-10)


@pytest.mark.parametrize("J", [6, 38])
def test_the_intervals_of_S13_and_S24_cover_the_truth_with_many_jacobians(J, written_down):
    """40 draws, the first J with Jacobians and ū from the others, as in measure_point."""
    some, grad, true = written_down
    seeds, covered = 80, np.zeros(2)
    for seed in range(seeds):
        rows = np.random.default_rng([seed, J]).integers(grad.shape[1], size=40)
        found = some(rows[:J], grad[:, rows[J:]].mean(axis=1))
        for i, part in enumerate((found.covariance, found.replaced)):
            low, high = length_of_mean(part.mean(axis=1)).interval
            covered[i] += low <= np.linalg.norm(true[i].mean(axis=0)) <= high
    assert covered.min() >= binom.ppf(0.001, seeds, 0.95), covered


def test_the_gap_vanishes_as_the_data_grow():
    params, tuner, tasks = generated(1, "squared_mean_tanh", 1)
    at, gaps = reference(params, tuner, tasks, 3), []
    for D in (1, 16, 256):
        train, val = (
            draw(tasks, 0, stage, range(2), D, 60)
            for stage in (Stage.THEOREM1_TRAIN, Stage.THEOREM1_VAL)
        )
        found = measure(params, tuner, tasks, at, train, [val])
        control = (found.control_l2o - found.control_lft[0]).mean(axis=1)
        difference = (found.l2o - found.lft[0]).mean(axis=1)
        gaps.append(length_of_mean(with_control(difference, control)))
    assert gaps[1].interval[1] < gaps[0].interval[0] / 2
    assert gaps[2].interval[1] < gaps[1].interval[0] / 2


def test_sine_tasks_are_waves_and_digits_are_balanced_pairs():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    config = PRESETS["smoke"]
    sine = make_tasks(config, "sine", 0, STAGES, range(3))
    fit = np.sin(sine.population.x[0]), np.cos(sine.population.x[0])
    basis = np.concatenate(fit, axis=1)
    rest = np.linalg.lstsq(basis, sine.population.y[0], rcond=None)[1]
    assert rest < 1e-20
    digits = make_tasks(config, "digits", 0, STAGES, range(3))
    assert digits.population.x.shape == (3, 32, 4)
    assert np.abs(digits.population.x).max() <= 1.0
    np.testing.assert_array_equal(digits.population.y.sum(axis=1), 16)


def test_draws_are_members_of_the_population_and_depend_on_their_key_alone():
    tasks = make_tasks(PRESETS["smoke"], "sine", 0, STAGES, range(2))
    found = draw(tasks, 5, Stage.THEOREM1_TRAIN, range(2), 4, 30)
    assert found.x.shape == (30, 2, 4, 1)
    for task in range(2):
        pairs = set(zip(*(a[task].ravel() for a in tasks.population), strict=True))
        assert set(zip(found.x[:, task].ravel(), found.y[:, task].ravel(), strict=True)) <= pairs
    again = draw(tasks, 5, Stage.THEOREM1_TRAIN, range(2), 4, 30)
    np.testing.assert_array_equal(found.x, again.x)
    other = draw(tasks, 6, Stage.THEOREM1_TRAIN, range(2), 4, 30)
    assert not np.array_equal(found.x, other.x)


def test_without_scikit_learn_digits_are_refused_in_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UserError, match=r"pip install 'lft-ref\[images\]'"):
        make_tasks(PRESETS["smoke"], "digits", 0, STAGES, range(1))
