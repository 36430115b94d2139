"""All settings of Figure 4. What the paper does not give is explained in docs/deviations.md."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import lcm
from typing import Any

from lft_validation.errors import UserError
from lft_validation.experiments.learners import LEARNED, WEIGHTS
from lft_validation.experiments.settings import (
    as_json,
    check_cell,
    check_choices,
    check_positive,
    check_whole,
    check_words,
    from_preset,
)

FIRST, ZEROTH = "first order", "zeroth order"
MAML = ("MAML", "MAML-tuned")
METHODS = (*LEARNED, *MAML, "SGD", "Adam")


@dataclass(frozen=True)
class MAMLConfig:
    """One way of training and testing MAML."""

    batch: int  # tasks per meta-update
    passes: int  # how often the meta-training tasks are used
    inner_steps: int  # K of eq. (2)
    alpha: float  # α of eq. (2), on the sum of squared errors
    zo_alpha: float
    test_alpha: float
    zo_test_alpha: float
    learning_rate: float  # of Adam on θ
    decay: bool  # of that rate, down to 0


PUBLISHED = MAMLConfig(
    # Finn et al. 2017, section 5.1: one inner step, α = 0.01 on the mean loss, Adam 0.001, batch 25
    batch=25, passes=1, inner_steps=1, alpha=1e-3, zo_alpha=1e-4, test_alpha=1e-3,
    zo_test_alpha=1e-4, learning_rate=1e-3, decay=False,
)  # fmt: skip
TUNED = MAMLConfig(
    batch=1, passes=5, inner_steps=5, alpha=1e-3, zo_alpha=3e-4, test_alpha=1e-3,
    zo_test_alpha=1e-4, learning_rate=3e-3, decay=True,
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """One run of Figure 4."""

    # what is run
    seeds: tuple[int, ...] = (0, 1, 2)
    settings: tuple[str, ...] = (FIRST, ZEROTH)
    methods: tuple[str, ...] = METHODS
    backend: str = "numpy"
    device: str | None = None
    dtype: str = "float32"

    # the tasks, supplement G
    shots: int = 10  # |D_tr|
    val_shots: int = 10  # |D_val|
    hidden: tuple[int, ...] = (40, 40)  # of the regressor

    # the fine-tuner, supplement G
    meta_tasks: int = 1000
    passes: int = 1  # over them
    meta_batch: int = 8
    chunk: int = 8  # tasks of a meta-batch unrolled at once, by one worker
    steps: int = 200
    unroll: int = 20  # K
    weighting: str = "every"  # w_k
    lstm_units: int = 10  # n
    preprocess: str = "log_sign"
    p: float = 3.0  # of log_sign
    second_order: bool = True  # whether ∂g/∂θ is kept
    output_scale: float = 0.1
    learning_rate: float = 1e-3  # of Adam on Φ; decays to 0
    clip: float = 1.0  # largest norm of ∇_Φ
    task_clip: float = 1.0  # and of one task's, where a meta-batch has several; 0: any
    validation_tasks: int = 0  # that choose among what was learned on the way; 0: the last is taken

    # the estimator (6)
    directions: int = 20  # q
    mu: float = 1e-2

    # MAML from its publication's settings, and with searched ones (docs/deviations.md)
    maml: MAMLConfig = PUBLISHED
    maml_tuned: MAMLConfig = TUNED

    # hand-designed fine-tuners
    sgd_rate: float = 3e-3
    adam_rate: float = 3e-2
    sgd_zo_rate: float = 3e-4
    adam_zo_rate: float = 1e-2

    # testing
    test_tasks: int = 500
    test_points: int = 100
    long_steps: int = 1000  # followed that far beyond the trained horizon …
    long_tasks: int = 100  # … on the first so many test tasks

    def maml_of(self, method: str) -> MAMLConfig:
        """Return the settings of ``MAML`` or ``MAML-tuned``."""
        return self.maml_tuned if method == "MAML-tuned" else self.maml

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return as_json(self)


PRESETS = {
    "smoke": Config(
        seeds=(0,), hidden=(12,), meta_tasks=4, meta_batch=2, steps=20, unroll=10, lstm_units=4,
        directions=4,
        maml=replace(PUBLISHED, batch=4), maml_tuned=replace(TUNED, passes=1),
        test_tasks=10, test_points=20, long_steps=40, long_tasks=10,
    ),
    "quick": Config(
        seeds=(0,), meta_tasks=200, test_tasks=100, long_steps=200,
    ),
    "paper": Config(),
}  # fmt: skip

POSITIVE = (
    "shots", "val_shots", "meta_tasks", "passes", "meta_batch", "chunk", "p", "steps", "unroll",
    "lstm_units", "output_scale", "learning_rate", "clip", "directions", "mu", "sgd_rate",
    "adam_rate", "sgd_zo_rate", "adam_zo_rate", "test_tasks", "test_points", "long_steps",
    "long_tasks",
)  # fmt: skip
CHOICES = {
    "weighting": tuple(WEIGHTS),
    "preprocess": ("log_sign", "identity"),
    "dtype": ("float32", "float64"),
}


def make_config(preset: str, changes: dict[str, Any]) -> Config:
    """Return the preset with changes applied and everything checked.

    Args:
        preset: a name from :data:`PRESETS`.
        changes: settings by name; ``maml.alpha`` names a setting of ``maml``.

    Raises:
        UserError: for an unknown preset or a setting that makes no sense.
    """
    config: Config = from_preset(PRESETS, preset, changes)
    check_positive((name, getattr(config, name)) for name in POSITIVE)
    config = replace(
        config,
        long_tasks=min(config.long_tasks, config.test_tasks),
        long_steps=max(config.long_steps, config.steps),
    )
    _check(config)
    return config


def _check(config: Config) -> None:
    numbers = dict[str, float]()
    for variant in ("maml", "maml_tuned"):
        for name, value in asdict(getattr(config, variant)).items():
            numbers[f"{variant}.{name}"] = 1 if name == "decay" else value
    check_positive(numbers.items())
    check_cell(config)
    check_whole("validation_tasks", (config.validation_tasks,), 0, distinct=False)
    check_choices(config, CHOICES)
    if config.steps % config.unroll:
        raise UserError(
            f"steps must be a multiple of unroll, found steps={config.steps} and "
            f"unroll={config.unroll}; use for example --steps {config.unroll * 10}"
        )
    _check_batches(config)
    if config.test_tasks < 2:
        raise UserError(f"test_tasks must be at least 2 for an interval, found {config.test_tasks}")
    check_whole("hidden", config.hidden, 1, distinct=False)
    check_whole("seeds", config.seeds, 0, distinct=True)
    check_words("methods", config.methods, METHODS)
    check_words("settings", config.settings, (FIRST, ZEROTH))


def _check_batches(config: Config) -> None:
    batches = {"meta_batch": config.meta_batch}
    for method in (method for method in MAML if method in config.methods):
        batches[f"{method}'s batch"] = config.maml_of(method).batch
    for name, batch in batches.items():
        if config.meta_tasks % batch:
            raise UserError(
                f"meta_tasks must be a multiple of {name} of {batch}, found {config.meta_tasks}; "
                f"use for example --meta-tasks {lcm(*batches.values())}"
            )
