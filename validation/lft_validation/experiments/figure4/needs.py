"""What a run of Figure 4 needs, found out before it starts: a backend, and memory."""

from __future__ import annotations

from lft_backends.backend import BackendUnavailable, get_backend
from lft_ref import mlp
from lft_validation.errors import UserError
from lft_validation.experiments.figure4.config import ZEROTH, Config
from lft_validation.experiments.figure4.run import CHUNK
from lft_validation.resources import free_memory

ARRAYS_PER_STEP = 3  # θ, g and the stacked θ of one unrolled step; h and c are counted apart
WORKSPACE = 12  # arrays of the size of the gates that live at once in a step or its vjp


def check_usable(config: Config, workers: int) -> None:
    """Raise ``UserError`` if the backend is not there, or memory does not suffice."""
    try:
        get_backend(config.backend, config.dtype, config.device)
    except (ValueError, BackendUnavailable) as error:
        raise UserError(str(error)) from error
    needed, free = memory_bytes(config) * workers, free_memory()
    if needed > free:
        gib = 2.0**30
        raise UserError(
            f"this run needs about {needed / gib:.1f} GiB in {workers} processes, and "
            f"{free / gib:.1f} GiB are free; use fewer --workers, or smaller --hidden, "
            "--directions or --lstm-units"
        )


def memory_bytes(config: Config) -> int:
    """Estimate the peak memory of one process: meta-training or testing, whichever is more."""
    d, n = mlp((1, *config.hidden, 1)).size, config.lstm_units
    item = 4 if config.dtype == "float32" else 8
    drawn = config.directions * (8 + item) if ZEROTH in config.settings else 0
    unroll = config.unroll * (ARRAYS_PER_STEP + 2 * n) + WORKSPACE * 4 * n
    batch = max(config.meta_batch, config.maml.batch, config.maml_tuned.batch)
    training = batch * d * (unroll * item + config.steps * drawn)
    testing = CHUNK * d * ((WORKSPACE * 4 * n) * item + 3 * drawn)
    return max(training, testing)
