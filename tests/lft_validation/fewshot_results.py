"""Made-up results of few-shot experiments."""

from __future__ import annotations

import numpy as np

from lft_validation.experiments.fewshot.claims import Cell
from lft_validation.experiments.fewshot.config import applicable, measured_steps
from lft_validation.experiments.unions import NONE, parts


def made_up(config, better: float = 0.2, seed: int = 0):
    """Results of every cell that applies: LFT's accuracy is higher, the more so the fewer shots.

    Its loss is less by as much.
    """
    rng, results = np.random.default_rng(seed), {}
    for shots in config.shots:
        for method in config.methods:
            gain = better / shots if method == "LFT" else 0.0
            for training in (NONE,) if method in ("SGD", "Adam") else config.training:
                for testing in config.testing:
                    if applicable(training, method, testing):
                        tasks = config.test_tasks // len(parts(testing)) * len(parts(testing))
                        shape = (3, tasks, len(measured_steps(config)))
                        curves = 0.5 + 0.01 * rng.uniform(size=shape)
                        curves += np.reshape([gain, -gain, gain], (3, 1, 1))
                        results[Cell(training, method, testing, shots)] = [curves]
    return results
