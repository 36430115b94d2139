"""What experiments on image sources share: unions of sources, and which settings fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lft_validation.errors import UserError

NONE = "none"  # what a hand-designed method is meta-trained on


def parts(name: str) -> list[str]:
    """Return the sources of a union.

    Example:
        >>> parts("mnist+cifar10")
        ['mnist', 'cifar10']
    """
    return name.split("+")


def sources_of(config: Any) -> list[str]:
    """Return the sources that a run touches, each once."""
    unions = (*config.training, *config.testing)
    return list(dict.fromkeys(source for union in unions for source in parts(union)))


def union(config: Any, arrays: dict[str, np.ndarray], sources: list[str]) -> np.ndarray:
    """Return the curves of equally many tasks of each source: tasks lie on the second axis.

    The first ones; but of the same images with another network those after them, since tasks of the
    same number have the same images.
    """
    share, images = config.test_tasks // len(sources), [name.partition(":")[0] for name in sources]
    first = [share * images[:i].count(name) for i, name in enumerate(images)]
    parts = [arrays[name][:, a : a + share] for name, a in zip(sources, first, strict=True)]
    return np.concatenate(parts, axis=1)


def not_applicable(
    config: Any, by_hand: tuple[str, ...], applicable: Callable[[str, str, str], bool]
) -> list[dict[str, str]]:
    """Return the cells of methods that are run, but do not fit there; see :func:`check_fit`."""
    return [
        {"training": training, "method": method, "testing": testing}
        for method in config.methods
        for training in ((NONE,) if method in by_hand else config.training)
        for testing in config.testing
        if not applicable(training, method, testing)
    ]


def check_counts(config: Any) -> None:
    """Refuse counts of tasks and steps that do not divide one another, or leave nothing to test.

    Raises:
        UserError: if so, with a value that would do.
    """
    for whole, part in (("steps", "unroll"), ("meta_tasks", "meta_batch"),
                        ("meta_tasks", "maml_batch")):  # fmt: skip
        of, by = getattr(config, whole), getattr(config, part)
        if of % by:
            raise UserError(
                f"{whole} must be a multiple of {part}, found {whole}={of} and {part}={by}; "
                f"use for example --set {whole}={by * max(of // by, 1)}"
            )
    if config.table_step > config.steps:
        raise UserError(
            f"table_step must be at most steps, found {config.table_step} and {config.steps}; "
            f"use for example --set table_step={config.steps}"
        )
    most = max(len(parts(name)) for name in config.testing)
    if config.test_tasks < 2 * most:
        raise UserError(
            f"test_tasks must be at least 2 for each source of a union, found {config.test_tasks}; "
            f"use for example --test-tasks {4 * most}"
        )


def check_fit(
    config: Any, by_hand: tuple[str, ...], applicable: Callable[[str, str, str], bool]
) -> None:
    """Say that there is nothing to do, before data are looked for.

    Args:
        config: the settings.
        by_hand: the methods for which nothing is meta-learned.
        applicable: of a training, a method and a testing: whether the method can be tested there.

    Raises:
        UserError: if no method can be tested anywhere.
    """
    if not any(
        applicable(training, method, testing)
        for method in config.methods
        for training in ((NONE,) if method in by_hand else config.training)
        for testing in config.testing
    ):
        raise UserError(
            f"none of the methods {', '.join(config.methods)} can be tested on "
            f"{', '.join(config.testing)} after training on {', '.join(config.training)}; "
            "choose other --methods, or another training or testing"
        )
