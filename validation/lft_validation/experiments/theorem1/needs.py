"""What a run of theorem1 needs, found out before it starts: a backend, data, and memory."""

from __future__ import annotations

from lft_ref import memory_bytes, mlp
from lft_validation.experiments.theorem1.config import SHIPPED, Config
from lft_validation.experiments.theorem1.problems import digit_images
from lft_validation.experiments.usable import check_memory, usable_backend
from lft_validation.tuners import load_tuner


def check_usable(config: Config, workers: int) -> None:
    """Raise ``UserError`` if backend or digits are not there, or memory does not suffice."""
    usable_backend(config.backend)
    if "digits" in config.families:
        digit_images(config.pool)
    n = max(config.lstm_units, load_tuner("sine")[0].n if SHIPPED in config.phis else 0)
    remedy = "smaller --lstm-units, --hidden, or --set jacobian_draws"
    check_memory(peak_bytes(config, n), workers, remedy)


def check_units(config: Config, n: int) -> None:
    """Raise ``UserError`` if memory does not suffice for a Φ of n hidden units, from a file."""
    check_memory(peak_bytes(config, n), 1, f"a Φ with fewer than its {n} hidden units")


def peak_bytes(config: Config, n: int) -> int:
    """Estimate the peak memory of one process: ∂θ/∂Φ and ∂h/∂Φ in full, for some draws at once."""
    sine, digits = mlp((1, *config.hidden, 1)).size, 2 * ((8 // config.pool) ** 2 + 1)
    d = max({"sine": sine, "digits": digits}[family] for family in config.families)
    return memory_bytes(d, 2, n, tasks=config.tasks * config.jacobian_draws)
