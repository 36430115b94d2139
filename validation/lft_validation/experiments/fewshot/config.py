"""All settings of few-shot classification. What the paper leaves open is in docs/deviations.md."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
from lft_validation.experiments.unions import (
    NONE,
    check_counts,
    check_fit,
    not_applicable,
    parts,
    sources_of,
)

TABLES = ("table2", "figure3", "tableA1", "tableA2")
MAML = ("MAML", "FOMAML")
HAND = ("SGD", "Adam")  # nothing is meta-learned
METHODS = (*LEARNED, *MAML, *HAND)

# The network that a source's tasks train, unless another is named: section 5 and supplement F.
NETWORKS = {
    "digits": "mlp", "mnist": "mlp", "fashion-mnist": "mlp", "cifar10": "cnn4", "svhn": "cnn4",
    "omniglot": "cnn2", "miniimagenet": "cnn4",
}  # fmt: skip
LAYERS = {"mlp": 3, "cnn2": 2, "cnn4": 4}  # dense ones, or convolutions


@dataclass(frozen=True)
class Config:
    """One run of one table. A source may name its network, ``digits:cnn2``; "a+b" is a union."""

    table: str = "table2"
    seeds: tuple[int, ...] = (0, 1, 2)
    methods: tuple[str, ...] = METHODS
    training: tuple[str, ...] = ("mnist", "cifar10", "mnist+cifar10")
    testing: tuple[str, ...] = ("mnist", "cifar10", "mnist+cifar10")
    backend: str = "numpy"
    device: str | None = None
    dtype: str = "float32"

    # the tasks
    ways: int = 2
    shots: tuple[int, ...] = (5,)  # images of each class in D_tr; one training for each
    query: int = 15  # and in D_val of meta-training
    test_query: int = 15  # and among those that accuracy is measured on
    rotations: bool = False  # whether Omniglot's characters, turned, are further classes

    # the networks
    hidden: tuple[int, ...] = (32, 32)  # of the MLP
    filters: int = 16  # of every convolution

    # the fine-tuner
    meta_tasks: int = 1000
    passes: int = 1  # over them
    meta_batch: int = 1
    chunk: int = 8  # tasks of one source in a meta-batch unrolled at once, by one worker
    steps: int = 40
    unroll: int = 20  # K
    weighting: str = "every"  # w_k
    lstm_units: int = 10  # n
    preprocess: str = "log_sign"
    p: float = 10.0  # of log_sign
    second_order: bool = True  # whether ∂g/∂θ is kept
    output_scale: float = 0.03
    learning_rate: float = 1e-3  # of Adam on Φ; decays to 0
    clip_norm: float = 1.0  # largest norm of ∇_Φ
    task_clip: float = 0.0  # and of one task's, where a meta-batch has several; 0: any
    validation_tasks: int = 0  # that choose among what was learned on the way; 0: the last is taken

    # MAML and its first-order variant
    maml_batch: int = 1
    maml_inner_steps: int = 5
    maml_alpha: float = 0.05  # α of eq. (2), in training and in testing
    maml_learning_rate: float = 1e-3

    # hand-designed fine-tuners
    sgd_rate: float = 0.1
    adam_rate: float = 3e-3

    # testing
    test_tasks: int = 500
    table_step: int = 40  # what the tables compare after so many steps

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return as_json(self)

    @property
    def sources(self) -> list[str]:
        """The sources that this run touches, each once."""
        return sources_of(self)


def plain(union: str) -> str:
    """Return a union without the networks that its sources train anyway.

    Example:
        >>> plain("digits:mlp+digits:cnn2")
        'digits+digits:cnn2'
    """
    usual = {f"{name}:{network}": name for name, network in NETWORKS.items()}
    return "+".join(usual.get(source, source) for source in parts(union))


def images_of(source: str) -> str:
    """Return the name of a source's images, without its network.

    Example:
        >>> images_of("digits:cnn2")
        'digits'
    """
    return source.partition(":")[0]


def network_of(source: str) -> str:
    """Return the name of the network that a source's tasks train.

    Example:
        >>> network_of("cifar10"), network_of("digits:cnn2")
        ('cnn4', 'cnn2')
    """
    name, _, network = source.partition(":")
    return network or NETWORKS[name]


def applicable(training: str, method: str, testing: str) -> bool:
    """Say whether a method can be tested there: MAML's θ belongs to one network of one source."""
    if method in HAND:
        return training == NONE
    if method in MAML:
        return training == testing and len(parts(training)) == 1
    return training != NONE


def without(config: Config) -> list[dict[str, str]]:
    """Return the cells where a method does not apply: of those that are run, and in Figure 3 MAML.

    That figure is of incongruous meta-training, so MAML is not among its methods; it says so.
    """
    named = MAML if config.table == "figure3" else ()
    methods = tuple(dict.fromkeys((*config.methods, *named)))
    return not_applicable(replace(config, methods=methods), HAND, applicable)


def measured_steps(config: Config) -> list[int]:
    """Return the steps at which test tasks are measured: the first ones all, then every fifth."""
    known = {*range(min(10, config.steps) + 1), *range(0, config.steps + 1, 5)}
    return sorted(known | {config.table_step, config.steps})


PAPER = {
    "table2": Config(),
    "figure3": Config(
        table="figure3", methods=(*LEARNED, *HAND), training=("mnist+cifar10",),
        testing=("mnist", "cifar10"),
    ),
    "tableA1": Config(
        table="tableA1", seeds=(0,), training=("cifar10",), testing=("cifar10",),
        shots=(1, 3, 5, 10), meta_batch=8, task_clip=1.0, sgd_rate=0.2, adam_rate=1.5e-3,
    ),
    "tableA2": Config(
        table="tableA2", seeds=(0,), ways=5, meta_batch=8, task_clip=1.0, sgd_rate=0.2,
        training=("omniglot", "miniimagenet", "omniglot+miniimagenet"),
        testing=("omniglot", "miniimagenet", "omniglot+miniimagenet"),
    ),
}  # fmt: skip
DIGITS = {"mnist": "digits", "omniglot": "digits:cnn2", "cifar10": "digits:cnn4",
          "miniimagenet": "digits:cnn4"}  # fmt: skip


def _smoke(paper: Config) -> Config:
    """The same table on the bundled digits: other images, the same incongruous networks."""
    unions: dict[str, Any] = {
        name: tuple("+".join(DIGITS[s] for s in parts(u)) for u in getattr(paper, name))
        for name in ("training", "testing")
    }
    return replace(
        paper, **unions, seeds=(0,), ways=2, shots=paper.shots[::3], query=3, test_query=4,
        hidden=(8, 8), filters=4, meta_tasks=4, meta_batch=min(paper.meta_batch, 2), steps=10,
        unroll=5, lstm_units=4, maml_batch=2, maml_inner_steps=2, test_tasks=6, table_step=10,
    )  # fmt: skip


def _quick(paper: Config) -> Config:
    """A quarter of an hour on two cores: few tasks, without L2O-train, Table A1 with two shots.

    So few tasks are too few for meta-updates of eight.
    """
    return replace(
        paper, seeds=(0,), methods=tuple(m for m in paper.methods if m != "L2O-train"),
        shots=paper.shots[::3], meta_tasks=40 if paper.ways == 5 else 80, meta_batch=1,
        task_clip=0.0, test_tasks=40,
    )  # fmt: skip


PRESETS = {
    table: {"smoke": _smoke(paper), "quick": _quick(paper), "paper": paper}
    for table, paper in PAPER.items()
}

POSITIVE = (
    "query", "test_query", "filters", "meta_tasks", "passes", "meta_batch", "chunk", "steps",
    "unroll", "lstm_units", "p", "output_scale", "learning_rate", "clip_norm", "maml_batch",
    "maml_inner_steps", "maml_alpha", "maml_learning_rate", "sgd_rate", "adam_rate", "test_tasks",
    "table_step",
)  # fmt: skip
CHOICES = {
    "weighting": tuple(WEIGHTS),
    "preprocess": ("log_sign", "identity"),
    "dtype": ("float32", "float64"),
}


def make_config(table: str, preset: str, changes: dict[str, Any]) -> Config:
    """Return the preset of a table with changes applied and everything checked.

    Raises:
        UserError: for an unknown preset or a setting that makes no sense.
    """
    lists = dict(changes)
    for name in ("training", "testing", "shots"):
        if isinstance(lists.get(name), str | int):
            lists[name] = (lists[name],)
        if name != "shots" and isinstance(lists.get(name), tuple | list):
            lists[name] = tuple(plain(u) if isinstance(u, str) else u for u in lists[name])
    config: Config = from_preset(PRESETS[table], preset, lists)
    if config.table != table:
        raise UserError(
            f"table is chosen by its name: lft reproduce {table}; leave --set table out"
        )
    _check(config)
    return config


def _check(config: Config) -> None:
    check_positive((name, getattr(config, name)) for name in POSITIVE)
    check_cell(config)
    check_choices(config, CHOICES)
    for name in ("training", "testing"):
        unions = getattr(config, name)
        if not unions:
            raise UserError(f"{name} must name at least one source")
        check_words(name, unions, unions)
        for union in unions:
            _check_union(name, union)
    check_whole("seeds", config.seeds, 0, distinct=True)
    check_whole("validation_tasks", (config.validation_tasks,), 0, distinct=False)
    check_whole("shots", config.shots, 1, distinct=True)
    check_whole("hidden", config.hidden, 1, distinct=False)
    check_words("methods", config.methods, METHODS)
    _check_sizes(config)
    check_counts(config)
    check_fit(config, HAND, applicable)


def _check_union(name: str, union: Any) -> None:
    what, sources = f"the sources of {name} {union!r}", tuple(parts(str(union)))
    known = tuple(n for n in NETWORKS if n in SOURCES)
    check_words(what, sources, sources)
    for source in sources:
        check_words(what, (images_of(source),), known)
        if network_of(source) not in LAYERS or source.endswith(":"):
            raise UserError(
                f"the network of {source!r} must be one of {', '.join(LAYERS)}, "
                f"found {source.partition(':')[2]!r}"
            )


def _check_sizes(config: Config) -> None:
    if len(config.hidden) != LAYERS["mlp"] - 1:
        raise UserError(f"hidden must be two widths, since the MLP has three layers, found "
                        f"{config.hidden}")  # fmt: skip
    if config.rotations and "omniglot" not in map(images_of, config.sources):
        raise UserError("rotations turn the characters of omniglot, which is not among the sources")
    most = max(len(parts(union)) for union in config.training)
    if 0 < config.validation_tasks < most:
        raise UserError(
            f"validation_tasks must be 0 or at least {most}, one for each source of a union, found "
            f"{config.validation_tasks}"
        )
