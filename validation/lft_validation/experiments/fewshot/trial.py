"""Fine-tuning on tasks that nothing was meta-trained on: of meta-testing and meta-validation."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from lft_backends.draws import Stage
from lft_ref import Data
from lft_validation.experiments.fewshot.config import MAML, measured_steps
from lft_validation.experiments.fewshot.methods import Setup, fine_tuner
from lft_validation.experiments.fewshot.metrics import measure
from lft_validation.experiments.fewshot.tasks import FewShotProblem, validation_split
from lft_validation.experiments.learners import shared
from lft_validation.experiments.method_jobs import fine_tuned

CHUNK = 10  # tasks fine-tuned at once


def test_curves(setup: Setup, method: str, flat: Any, source: str, tasks: range) -> np.ndarray:
    """Fine-tune on D_tr of each task and measure: (3, tasks, measured steps) float64.

    ``flat`` is Φ, or the θ^(0) that MAML learned, or None.
    """
    config, seed, problem = setup.config, setup.seed, setup.problems[source]
    sets = problem.data(seed, Stage.FEWSHOT_TEST_TASK, tasks, setup.shots, "test")
    theta = problem.theta_0(seed, Stage.FEWSHOT_TEST_INIT, tasks)
    path = _path(setup, method, flat, problem, sets[0], theta, config.steps)
    wanted = set(measured_steps(config))
    curve = [
        measure(setup.backend, problem.loss, theta, sets)
        for k, theta in enumerate(path)
        if k in wanted
    ]
    return np.stack(curve, axis=-1)


def validation_error(setup: Setup, method: str, flat: np.ndarray) -> float:
    """Return the share of images misclassified after ``table_step`` steps, over meta-validation.

    Its tasks have images of the split for it, where a source has one, and else of the training
    set, drawn anew; as many from each source of a union.
    """
    numbers, S = range(setup.config.validation_tasks), len(setup.training)
    by_source = [
        _errors(setup, method, flat, setup.problems[source], numbers[index::S]).mean()
        for index, source in enumerate(setup.training)
    ]
    return float(np.mean(by_source))


def _errors(
    setup: Setup, method: str, flat: Any, problem: FewShotProblem, tasks: range
) -> np.ndarray:
    """The share of D_val that is misclassified in each of some tasks of meta-validation."""
    found, steps, split = [], setup.config.table_step, validation_split(problem.source)
    for first in range(0, len(tasks), CHUNK):
        some = tasks[first : first + CHUNK]
        stage, start = Stage.FEWSHOT_VALIDATION_TASK, Stage.FEWSHOT_VALIDATION_INIT
        sets = problem.data(setup.seed, stage, some, setup.shots, split)
        theta_0 = problem.theta_0(setup.seed, start, some)
        path = _path(setup, method, flat, problem, sets[0], theta_0, steps)
        (theta,) = deque(path, maxlen=1)  # the last
        found.append(1.0 - measure(setup.backend, problem.loss, theta, sets)[0])
    return np.concatenate(found)


def _path(
    setup: Setup,
    method: str,
    flat: Any,
    problem: FewShotProblem,
    train: Data,
    theta: Any,
    steps: int,
) -> Iterator[Any]:
    """Yield θ^(0) … θ^(steps), as a method makes them; MAML's θ^(0) is what it learned."""
    if method in MAML:
        theta = shared(setup.backend.asarray(flat), theta.shape[0], setup.backend)
    rule = fine_tuner(setup, method, flat)
    return fine_tuned(rule, lambda theta, _: problem.loss.grad(theta, train), theta, steps)
