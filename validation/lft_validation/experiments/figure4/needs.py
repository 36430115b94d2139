"""What a run of Figure 4 needs, found out before it starts: a backend, and memory."""

from __future__ import annotations

from lft_ref import mlp
from lft_validation.experiments.figure4.config import ZEROTH, Config
from lft_validation.experiments.figure4.run import CHUNK
from lft_validation.experiments.usable import (
    check_memory,
    step_numbers,
    unroll_numbers,
    usable_backend,
)


def check_usable(config: Config, workers: int) -> None:
    """Raise ``UserError`` if the backend is not there, or memory does not suffice."""
    backend = usable_backend(config.backend, config.dtype, config.device)
    remedy = "smaller --hidden, --directions or --lstm-units"
    check_memory(memory_bytes(config), workers, remedy, backend)


def memory_bytes(config: Config) -> int:
    """Estimate the peak memory of one process: meta-training or testing, whichever is more."""
    d, n = mlp((1, *config.hidden, 1)).size, config.lstm_units
    item = 4 if config.dtype == "float32" else 8
    drawn = config.directions * (8 + item) if ZEROTH in config.settings else 0
    batch = max(config.meta_batch, config.maml.batch, config.maml_tuned.batch)
    K = max(config.unroll, config.maml.inner_steps, config.maml_tuned.inner_steps)
    training = batch * (unroll_numbers(d, config.unroll, n) * item + d * K * drawn)
    testing = CHUNK * (step_numbers(d, n) * item + 3 * d * drawn)
    return max(training, testing)
