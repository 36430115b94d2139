"""All settings of Table 1. What the paper does not give is explained in docs/deviations.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lft_validation.datasets import SOURCES
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
from lft_validation.experiments.unions import NONE, check_counts, check_fit, parts, sources_of
from lft_validation.victims import OTHER, no_victim, shipped

FIRST, ZEROTH = "first order", "zeroth order"
MAML = "MAML"
# A task's number and its source make one key; a new source goes to the end.
KEYS = ("mnist", "cifar10", "fashion-mnist", "svhn", "digits")
HAND = ("PGD", "SGD", "Adam")  # nothing is meta-learned
METHODS = (*LEARNED, MAML, *HAND)


@dataclass(frozen=True)
class Config:
    """One run of Table 1."""

    # what is run; a source is a data set with a victim, and "a+b" is the union of two
    seeds: tuple[int, ...] = (0, 1, 2)
    settings: tuple[str, ...] = (FIRST,)
    methods: tuple[str, ...] = METHODS
    training: tuple[str, ...] = ("mnist", "mnist+cifar10")
    testing: tuple[str, ...] = ("mnist", "cifar10", "mnist+cifar10")
    victims: tuple[str, ...] = ()  # NAME=FILE, of one's own training, in the package's place
    victim_sums: tuple[str, ...] = ()  # their checksums, found when a run starts
    backend: str = "numpy"
    device: str | None = None
    dtype: str = "float32"

    # the tasks, section 4
    classes: int = 2
    shots: int = 2  # images per class in D_tr
    val_shots: int = 2  # and in D_val
    images: str = "correct"  # drawn among those that the victim classifies correctly, or all
    initial_scale: float = 0.05  # standard deviation of θ^(0)

    # the loss (12)
    l1: float = 0.12  # λ
    kappa: float = 20.0  # κ
    clip_images: bool = True  # whether the loss sees x + θ cut off at the ends of the box

    # the fine-tuner, supplement C
    meta_tasks: int = 1000
    meta_batch: int = 1
    chunk: int = 8  # tasks of a meta-batch unrolled at once, by one worker
    steps: int = 200
    unroll: int = 20  # K
    weighting: str = "last"  # w_k
    lstm_units: int = 10  # n
    preprocess: str = "log_sign"
    p: float = 10.0  # of log_sign
    output_scale: float = 0.1
    learning_rate: float = 1e-3  # of Adam on Φ; decays to 0
    clip_norm: float = 1.0  # largest norm of ∇_Φ
    task_clip: float = 0.0  # and of one task's, where a meta-batch has several; 0: any

    # the estimator (6)
    directions: int = 20  # q
    mu: float = 1e-2

    # MAML on the perturbation: one shared θ^(0)
    maml_batch: int = 1
    maml_inner_steps: int = 5
    maml_learning_rate: float = 1e-2
    maml_alpha: float = 0.1  # α of eq. (2), in training and in testing
    maml_zo_alpha: float = 1e-4

    # hand-designed fine-tuners
    pgd_rate: float = 1e-2
    pgd_radius: float = 0.2  # of the ℓ∞ ball
    sgd_rate: float = 0.1
    adam_rate: float = 0.1
    sgd_zo_rate: float = 1e-4
    adam_zo_rate: float = 1e-2

    # testing
    test_tasks: int = 100
    table_step: int = 100  # Table 1 compares after so many steps
    long_steps: int = 1000  # that perturbations are followed for beyond the paper

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return as_json(self)

    @property
    def victim_files(self) -> dict[str, str]:
        """The files of the victims of one's own, by name."""
        return dict(text.split("=", 1) for text in self.victims)

    def victim_sum(self, name: str) -> str | None:
        """Return the checksum that such a victim must have; None before a run."""
        return dict(zip(self.victim_files, self.victim_sums, strict=False)).get(name)

    @property
    def sources(self) -> list[str]:
        """The sources that this run touches, each once."""
        return sources_of(self)


def applicable(training: str, method: str, testing: str) -> bool:
    """Say whether a method can be tested there: MAML's θ has one size, that of its one source."""
    if method in HAND:
        return training == NONE
    if method == MAML:
        return training == testing and len(parts(training)) == 1
    return training != NONE


PRESETS = {
    "smoke": Config(
        seeds=(0,), settings=(FIRST, ZEROTH), training=("digits",), testing=("digits",),
        meta_tasks=4, steps=20, unroll=10, lstm_units=4, directions=4, test_tasks=8, table_step=10,
        long_steps=100,
    ),
    "quick": Config(
        seeds=(0,), methods=("LFT", "L2O", MAML, *HAND), training=("mnist",), testing=("mnist",),
        meta_tasks=200, test_tasks=40,
    ),
    "paper": Config(),
}  # fmt: skip

POSITIVE = (
    "classes", "shots", "val_shots", "initial_scale", "meta_tasks", "meta_batch", "chunk", "steps",
    "unroll", "lstm_units", "p", "output_scale", "learning_rate", "clip_norm", "directions", "mu",
    "maml_batch", "maml_inner_steps", "maml_learning_rate", "maml_alpha", "maml_zo_alpha",
    "pgd_rate", "pgd_radius", "sgd_rate", "adam_rate", "sgd_zo_rate", "adam_zo_rate",
    "test_tasks", "table_step",
    "long_steps",
)  # fmt: skip
CHOICES = {
    "images": ("correct", "all"),
    "weighting": tuple(WEIGHTS),
    "preprocess": ("log_sign", "identity"),
    "dtype": ("float32", "float64"),
}


def make_config(preset: str, changes: dict[str, Any]) -> Config:
    """Return the preset with changes applied and everything checked.

    Raises:
        UserError: for an unknown preset or a setting that makes no sense.
    """
    lists = {
        name: (value,) if name in ("training", "testing") and isinstance(value, str) else value
        for name, value in changes.items()
    }
    config: Config = from_preset(PRESETS, preset, lists)
    _check(config)
    return config


def _check(config: Config) -> None:
    check_positive((name, getattr(config, name)) for name in POSITIVE)
    check_cell(config)
    check_choices(config, CHOICES)
    for name in ("l1", "kappa"):
        if not 0.0 <= getattr(config, name) < float("inf"):
            raise UserError(
                f"{name} must be finite and not negative, found {getattr(config, name)}"
            )
    _check_victims(config)
    known = attackable(config)
    for name, values in (("training", config.training), ("testing", config.testing)):
        for union in values:
            _check_attackable(str(union), known)
            check_words(f"the sources of {name} {union!r}", tuple(parts(str(union))), known)
        check_words(name, values, values)
    check_whole("seeds", config.seeds, 0, distinct=True)
    check_words("methods", config.methods, METHODS)
    check_words("settings", config.settings, (FIRST, ZEROTH))
    _check_sizes(config)
    check_counts(config)
    check_fit(config, HAND, applicable)


def attackable(config: Config) -> tuple[str, ...]:
    """Return the sources that have a victim, in the package or of one's own."""
    return tuple(
        name for name in dict.fromkeys([*shipped(), *config.victim_files]) if name in SOURCES
    )


def _check_victims(config: Config) -> None:
    known = (*KEYS, *(name + OTHER for name in KEYS))
    for text in config.victims:
        if not all(str(text).partition("=")):
            raise UserError(
                f"victims must be NAME=FILE, such as svhn=svhn.npz of lft victims train svhn, "
                f"found {text!r}"
            )
    if config.victim_sums:
        raise UserError(
            "victim_sums is found when a run starts; leave it out, and name victims of your own "
            "with --victim NAME=FILE"
        )
    if config.victims:
        named = tuple(text.partition("=")[0] for text in config.victims)
        check_words("the names of victims", named, known)


def _check_attackable(union: str, known: tuple[str, ...]) -> None:
    for source in parts(union):
        if source in KEYS and source not in known:
            raise no_victim(source, f"--victim {source}=FILE")


def _check_sizes(config: Config) -> None:
    if config.classes > 10:
        raise UserError(f"classes must be at most 10, found {config.classes}")
