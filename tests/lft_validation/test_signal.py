"""``lft signal``: agreement of gradients, estimated without bias."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from click.testing import CliRunner

from lft_backends.backend import get_backend
from lft_backends.draws import Stage
from lft_backends.executors import one_thread
from lft_ref import FineTuner, FirstOrder, Task, adjoint, weights_every_step
from lft_validation.cli import main
from lft_validation.experiments.sine import SineProblem
from lft_validation.gradient_signal import (
    FIRST_TASK,
    agreement,
    longest_share,
    measure,
    memory_bytes,
)
from lft_validation.tuners import load_tuner, save_tuner


def test_agreement_is_unbiased_and_its_error_covers_the_truth():
    rng = np.random.default_rng(0)
    P, N, signal = 40, 30, 0.3
    found = []
    for _ in range(400):
        noise = rng.normal(size=(N, P))
        noise *= np.sqrt(1.0 - signal**2) / np.linalg.norm(noise, axis=-1, keepdims=True)
        u = noise.copy()
        u += signal * np.eye(P)[0]
        found.append(agreement(u / np.maximum(1.0, np.linalg.norm(u, axis=-1).max())))
    values, errors = np.asarray(found).T
    truth = signal**2  # of E ‖u‖² = 1
    assert abs(values.mean() - truth) <= 4 * values.std() / np.sqrt(len(values))
    assert 0.5 <= errors.mean() / values.std() <= 2.0


def test_long_gradients_count_by_their_direction_only():
    rng = np.random.default_rng(1)
    u = rng.normal(size=(10, 5)) + 3.0
    u /= np.linalg.norm(u, axis=-1, keepdims=True)
    np.testing.assert_allclose(
        agreement(u), agreement(u * rng.uniform(1, 1e6, (10, 1))), rtol=1e-12
    )


def test_a_gradient_that_drowns_the_others_has_the_whole_share():
    norms = np.array([1e6, *[1.0] * 15])
    assert longest_share(norms) == pytest.approx(1.0)
    assert longest_share(norms[1:]) == pytest.approx(1 / 15)


def test_windows_are_truncated_unrolls_of_one_trajectory():
    params, cell = load_tuner("sine")
    backend = get_backend()
    pairs = list(measure(params, cell, backend, 3, seed=7, steps=4, unroll=2))
    problem, numbers = SineProblem(backend, (40, 40), 10, 10), range(FIRST_TASK, FIRST_TASK + 3)
    train, val = problem.data(7, Stage.META_TASK, numbers)
    task = Task(problem.sum_loss, train, val, problem.theta_0(7, Stage.META_INIT, numbers), None)
    whole = adjoint(params, FineTuner(cell, FirstOrder()), task, weights_every_step(4), truncate=2)
    losses = np.asarray(whole.val_loss)[[1, 3]].mean(axis=1) / 10
    assert [w.last_step for w, _ in pairs] == [2, 4]
    assert [(a.judged_on, b.judged_on) for a, b in pairs] == [("D_val", "D_tr")] * 2
    np.testing.assert_allclose([w.loss for w, _ in pairs], losses, rtol=1e-12)


@pytest.mark.parametrize("tasks", [3, 8])
def test_the_memory_is_about_what_was_estimated(tasks):
    params, cell = load_tuner("sine")
    arguments = (params, cell, get_backend())
    with one_thread():  # as the command
        list(measure(*arguments, 3, 1, steps=20))
        tracemalloc.start()
        list(measure(*arguments, tasks, 1, steps=20))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert 0.5 < found / memory_bytes(tasks, params.n) < 1.1


def test_more_tasks_than_there_is_memory_for_are_refused():
    result = CliRunner().invoke(main, ["signal", "--tasks", "100000000"])
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert said.startswith("Error: 100000000 tasks need about")
    assert said.endswith("GiB are free; use fewer --tasks")


def test_the_command_tells_what_it_found_and_refuses_nonsense(tmp_path):
    file = tmp_path / "signal.json"
    result = CliRunner().invoke(main, ["signal", "--tasks", "3", "--json", str(file)])
    assert result.exit_code == 0, result.output
    assert "D_val" in result.output
    assert max(map(len, result.output.splitlines())) <= 80
    report = json.loads(file.read_text())
    assert "numpy" in report["versions"]
    windows = report["windows"]
    assert [w["last_step"] for w in windows] == [k for k in range(20, 201, 20) for _ in range(2)]
    assert all(np.isfinite(w["norm"]) for w in windows)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--tasks", "2"], "--tasks must be at least 3, found 2"),
        (["--seed", "-1"], "--seed must be at least 0, found -1"),
        (["--tuner", "nobody"], "no tuner 'nobody'"),
        (["--backend", "abacus"], "abacus"),
    ],
)
def test_bad_input_is_one_sentence(arguments, sentence):
    result = CliRunner().invoke(main, ["signal", *arguments])
    assert result.exit_code == 2
    assert sentence in result.output


@pytest.mark.parametrize(("scale", "factor"), [(0.0, 1.0), (0.1, 1e200)])
def test_gradients_without_directions_are_named(tmp_path, scale, factor):
    params, cell = load_tuner("sine")
    params = params._replace(w_o=factor * params.w_o)
    save_tuner(tmp_path / "phi.npz", params, cell._replace(output_scale=scale))
    result = CliRunner().invoke(
        main, ["signal", "--tasks", "3", "--tuner", str(tmp_path / "phi.npz")]
    )
    assert result.exit_code == 2
    assert "are all 0, or some are not finite" in " ".join(result.output.split())
