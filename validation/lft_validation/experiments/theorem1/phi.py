"""The Φ that Theorem 1 is measured for: drawn, meta-learned to the half and to the end, shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lft_backends.backend import Backend, get_backend
from lft_backends.draws import Stage
from lft_ref import Data, FineTuner, LSTMParams, Task, unflatten
from lft_validation.experiments.learners import Algorithm1, learned_learner, make_tuner
from lft_validation.experiments.theorem1.config import SHIPPED, Config
from lft_validation.experiments.theorem1.problems import draw, make_tasks
from lft_validation.experiments.training import Learner, train
from lft_validation.jobs import Monitor
from lft_validation.tuners import load_tuner


def tuner_of(config: Config, phi: str) -> FineTuner:
    """Return everything about the fine-tuner but Φ."""
    backend = get_backend(config.backend)
    if phi == SHIPPED:
        return FineTuner(load_tuner("sine")[1], ops=backend.ops)
    return make_tuner(backend, config.preprocess, config.output_scale)


def updates_of(config: Config, phi: str) -> int:
    """Return after how many meta-updates a Φ is taken."""
    whole = config.meta_updates
    return {"random": 0, "half-trained": whole // 2, "trained": whole}.get(phi, 0)


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # judged by its results
def make_phi(
    config: Config, family: str, seed: int, phi: str, folder: Path, key: str, monitor: Any
) -> LSTMParams:
    """Return Φ, going on with the training in ``folder`` where one is needed.

    Raises:
        Stopped: when asked to stop; a checkpoint is kept.
    """
    if phi == SHIPPED:
        return load_tuner("sine")[0]
    backend = get_backend(config.backend)
    m, n = tuner_of(config, phi).cell.preprocess.m, config.lstm_units
    start = learner(config, family, seed).init().flat
    updates = updates_of(config, phi)
    if not updates:
        return unflatten(np.asarray(start), m, n)
    flat = _train(config, family, seed, updates, folder, key, backend, monitor)
    return unflatten(flat, m, n)


def _train(
    config: Config,
    family: str,
    seed: int,
    updates: int,
    folder: Path,
    key: str,
    backend: Backend,
    monitor: Monitor,
) -> np.ndarray:
    return train(
        learner(config, family, seed), updates, folder, key, backend, monitor, units_per_batch=0.0
    )


def learner(config: Config, family: str, seed: int) -> Learner:
    """Algorithm 1 (LFT) on fresh tasks of the family, w_k = 1/K, K steps and no more per task."""
    settings = Algorithm1(
        batches=config.meta_updates,
        steps=config.unroll,
        unroll=config.unroll,
        weighting="mean",
        lstm_units=config.lstm_units,
        learning_rate=config.learning_rate,
        clip=config.clip,
    )
    return learned_learner(
        settings,
        tuner_of(config, "trained"),
        get_backend(config.backend),
        seed,
        lambda batch: [_meta_task(config, family, seed, batch)],
    )


def _meta_task(config: Config, family: str, seed: int, batch: int) -> Task:
    """One batch of meta-training tasks, with D_tr and D_val of ``shots`` examples each."""
    numbers = range(batch * config.meta_batch, (batch + 1) * config.meta_batch)
    tasks = make_tasks(config, family, seed, (Stage.META_TASK, Stage.META_INIT), numbers)
    both = draw(tasks, seed, Stage.META_TASK, numbers, 2 * config.shots, 1)
    train_data, val = (
        Data(*(a[0, :, part] for a in both))
        for part in (slice(None, config.shots), slice(config.shots, None))
    )
    return Task(tasks.objective, train_data, val, tasks.theta_0)
