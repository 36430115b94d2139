"""All settings of the measurement of Theorem 1; reasons are in docs/deviations.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lft_validation.errors import UserError
from lft_validation.experiments.settings import (
    as_json,
    check_choices,
    check_positive,
    check_whole,
    check_words,
    from_preset,
)

FAMILIES = ("sine", "digits")
TRAINED = ("random", "half-trained", "trained")  # snapshots of one training
SHIPPED = "figure 4"  # the package's Φ for sine waves
PHIS = (*TRAINED, SHIPPED)


@dataclass(frozen=True)
class Config:
    """One run of theorem1."""

    seeds: tuple[int, ...] = (0,)
    families: tuple[str, ...] = FAMILIES
    phis: tuple[str, ...] = PHIS

    # the grid, and what is drawn at each point
    train_sizes: tuple[int, ...] = (1, 4, 16, 64, 512)  # |D_tr|
    val_sizes: tuple[int, ...] = (1, 16, 512)  # |D_val|
    tasks: int = 4  # N of (4) and (10)
    draws: int = 40  # of (D_tr, D_val), for each of the N tasks
    jacobian_draws: int = 6  # as many of them with ∂θ/∂Φ in full

    # the tasks: every D is drawn from so many examples, each as likely as the others
    population: int = 256
    hidden: tuple[int, ...] = (5, 5)  # of the sine regressor
    pool: int = 2  # digits: 8 × 8 pixels averaged over squares of that many

    # the fine-tuner
    unroll: int = 10  # K
    lstm_units: int = 5  # n
    preprocess: str = "identity"
    output_scale: float = 0.3

    # Algorithm 1, for the trained Φ
    shots: int = 10
    meta_updates: int = 200
    meta_batch: int = 8
    learning_rate: float = 1e-2
    clip: float = 1.0

    backend: str = "numpy"  # precision is float64: gradients are compared

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return as_json(self)

    def phis_of(self, family: str) -> tuple[str, ...]:
        """Return the Φ to measure, in the order of one training: half of it before all of it.

        The Φ of Figure 4 was trained for sine waves alone.
        """
        return tuple(
            phi for phi in PHIS if phi in self.phis and (phi != SHIPPED or family == "sine")
        )


PRESETS = {
    "smoke": Config(
        phis=("random", "trained"), train_sizes=(1, 4, 16), val_sizes=(1, 16), tasks=2, draws=20,
        jacobian_draws=4, population=32, hidden=(3,), pool=4, unroll=3, lstm_units=3,
        meta_updates=6, meta_batch=4,
    ),
    "quick": Config(
        phis=TRAINED, train_sizes=(1, 8, 64), val_sizes=(1, 64), tasks=2, draws=40,
        meta_updates=100,
    ),
    "paper": Config(),
}  # fmt: skip

POSITIVE = (
    "tasks", "unroll", "lstm_units", "output_scale", "shots", "meta_updates", "meta_batch",
    "learning_rate", "clip", "pool",
)  # fmt: skip
LEAST = {"draws": 4, "jacobian_draws": 2, "population": 2, "meta_updates": 2}
CHOICES = {
    "preprocess": ("identity", "log_sign"),
    "backend": ("numpy", "numba"),
}


def make_config(preset: str, changes: dict[str, Any]) -> Config:
    """Return the preset with changes applied and everything checked.

    Raises:
        UserError: for an unknown preset or a setting that makes no sense.
    """
    config: Config = from_preset(PRESETS, preset, changes)
    _check(config)
    return config


def _check(config: Config) -> None:
    check_positive((name, getattr(config, name)) for name in POSITIVE)
    check_choices(config, CHOICES)
    for name, least in LEAST.items():
        if getattr(config, name) < least:
            raise UserError(f"{name} must be at least {least}, found {getattr(config, name)}")
    if config.jacobian_draws > config.draws - 2:
        raise UserError(
            f"jacobian_draws must leave at least 2 of the {config.draws} draws, "
            f"found {config.jacobian_draws}; use more draws"
        )
    if config.pool not in (1, 2, 4):
        raise UserError(f"pool must be 1, 2 or 4 (digits are 8 × 8), found {config.pool}")
    check_whole("seeds", config.seeds, 0, distinct=True)
    check_whole("hidden", config.hidden, 1, distinct=False)
    check_whole("train_sizes", config.train_sizes, 1, distinct=True)
    check_whole("val_sizes", config.val_sizes, 1, distinct=True)
    check_words("families", config.families, FAMILIES)
    check_words("phis", config.phis, PHIS)
