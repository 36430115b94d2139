"""What a run needs, found out before it starts: a backend, data, and memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lft_validation.datasets import SOURCES, SPLITS, find
from lft_validation.datasets import source as source_of
from lft_validation.episodes import Episodes, check_episodes, pool
from lft_validation.experiments.fewshot.config import MAML, Config, images_of, parts
from lft_validation.experiments.fewshot.run import CHUNK, record
from lft_validation.experiments.fewshot.tasks import make_network, numbers_per_image
from lft_validation.experiments.learners import LEARNED
from lft_validation.experiments.usable import (
    check_memory,
    step_numbers,
    unroll_numbers,
    usable_backend,
)

STAND_IN = {"miniimagenet": "cifar10"}
PASSES = 3  # times the activations that live at once: values, tangents, cotangents


def with_stand_in(config: Config, asked: bool) -> tuple[Config, dict[str, str]]:
    """Put CIFAR-10 in the place of miniImageNet where that is not there.

    Args:
        config: the run's settings.
        asked: whether the sources were named by the user: then nothing is put in their place.

    Returns:
        The settings, and what stands for what.
    """
    absent = {
        name: other
        for name, other in STAND_IN.items()
        if name in config.sources and not asked and (name not in SOURCES or not _is_there(name))
    }
    unions: dict[str, Any] = {
        side: tuple("+".join(absent.get(s, s) for s in parts(u)) for u in getattr(config, side))
        for side in ("training", "testing")
    }
    return replace(config, **unions), absent


def _is_there(name: str) -> bool:
    return find(source_of(name)) is not None


def check_usable(config: Config, workers: int) -> dict[str, Any]:
    """Return the record of all data.

    Raises:
        UserError: if the backend is not there, or a source's files or enough images in them, or
            memory does not suffice.
    """
    usable_backend(config.backend, config.dtype, config.device)
    for name in config.sources:
        for shots in config.shots:
            for split, query in zip(SPLITS, (config.query, config.test_query), strict=True):
                some = Episodes(images_of(name), config.ways, shots, query, split)
                check_episodes(some, pool(images_of(name), split))
    remedy = "a smaller --unroll, --lstm-units, --set query or --set filters"
    check_memory(memory_bytes(config), workers, remedy)
    return {name: {split: record(name, split) for split in SPLITS} for name in config.sources}


def memory_bytes(config: Config) -> int:
    """Estimate the peak memory of one process: meta-training or testing, whichever is more.

    Meta-training goes back through K steps (the adjoint: forward mode would keep ∂h/∂Φ, which is
    some hundred times more at this d), and values all K classifiers on D_val at once.
    """
    item, n, K = (4 if config.dtype == "float32" else 8), config.lstm_units, config.unroll
    most = 0
    learned = any(m in LEARNED for m in config.methods)
    batch = config.meta_batch if learned else 0
    batch = max(batch, config.maml_batch if set(config.methods) & set(MAML) else 0)
    for source in config.sources:
        network = make_network(config, source)
        image = numbers_per_image(network, source_of(images_of(source)).shape)
        shots, d = max(config.shots), network.size
        query = config.query + shots  # L2O is judged on both
        training = unroll_numbers(d, K, n) + image * config.ways * (K * query + PASSES * shots)
        testing = step_numbers(d, n) + image * config.ways * (config.test_query + PASSES * shots)
        most = max(most, batch * training, CHUNK * testing)
    return most * item
