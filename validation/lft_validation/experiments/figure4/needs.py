"""What a run of Figure 4 needs, found out before it starts: a backend, and memory."""

from __future__ import annotations

from lft_ref import mlp, size
from lft_validation.experiments.figure4.config import MAML, ZEROTH, Config
from lft_validation.experiments.figure4.run import CHUNK
from lft_validation.experiments.usable import (
    check_memory,
    step_numbers,
    unroll_numbers,
    usable_backend,
)

EXAMPLE = 6  # arrays of an example's activations that live at once in a product of the network
PHI = 6  # arrays of Φ's size in float64: its draws, gradients, Adam's state, a checkpoint


def check_usable(config: Config, workers: int) -> None:
    """Raise ``UserError`` if the backend is not there, or memory does not suffice."""
    backend = usable_backend(config.backend, config.dtype, config.device)
    remedy = "smaller --hidden, --shots, --directions or --lstm-units"
    check_memory(memory_bytes(config), workers, remedy, backend)


def memory_bytes(config: Config) -> int:
    """Estimate the peak memory of one process: meta-training or testing, whichever is more."""
    d, n = mlp((1, *config.hidden, 1)).size, config.lstm_units
    item = 4 if config.dtype == "float32" else 8
    drawn = config.directions * (8 + item) if ZEROTH in config.settings else 0
    mamls = [config.maml_of(method).batch for method in MAML if method in config.methods]
    batch = max([config.meta_batch, *mamls])
    K = max(config.unroll, config.maml.inner_steps, config.maml_tuned.inner_steps)
    shown = 1 + (config.directions if ZEROTH in config.settings else 0)  # θ, and θ + μ u_j
    example = EXAMPLE * shown * (2 + sum(config.hidden)) * item
    examples = 2 * config.shots + config.val_shots
    training = batch * (
        unroll_numbers(d, config.unroll, n) * item + d * K * drawn + examples * example
    )
    tested = max(config.shots * example, config.test_points * example // shown)
    testing = min(CHUNK, config.test_tasks) * (step_numbers(d, n) * item + 3 * d * drawn + tested)
    features = 2 if config.preprocess == "log_sign" else 1
    return max(training, testing) + size(features, n) * (PHI * 8 + batch * item)
