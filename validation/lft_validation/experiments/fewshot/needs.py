"""What a run needs, found out before it starts: a backend, data, and memory."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from math import ceil
from typing import Any

from lft_ref import adjoint_memory_bytes
from lft_validation.datasets import SOURCES, find
from lft_validation.datasets import source as source_of
from lft_validation.episodes import Episodes, check_episodes, pool
from lft_validation.experiments.fewshot.config import MAML, Config, images_of, network_of
from lft_validation.experiments.fewshot.methods import AT_ONCE
from lft_validation.experiments.fewshot.run import record
from lft_validation.experiments.fewshot.tasks import make_network, splits_of
from lft_validation.experiments.fewshot.trial import CHUNK
from lft_validation.experiments.learners import LEARNED
from lft_validation.experiments.unions import parts
from lft_validation.experiments.usable import (
    STEP,
    check_memory,
    fits,
    numbers_per_image,
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


def check_usable(config: Config) -> dict[str, Any]:
    """Return the record of all data.

    Raises:
        UserError: if the backend is not there, or a source's files or enough images in them.
    """
    usable_backend(config.backend, config.dtype, config.device)
    for name in config.sources:
        for shots in config.shots:
            for split in splits_of(config, name):
                query = config.test_query if split == "test" else config.query
                turned = config.rotations and images_of(name) == "omniglot" and split == "train"
                some = Episodes(images_of(name), config.ways, shots, query, split, turned)
                check_episodes(some, pool(images_of(name), split))
    return {
        name: {split: record(name, split) for split in splits_of(config, name)}
        for name in config.sources
    }


def fitting_segment(config: Config, workers: int) -> int | None:
    """Return how many steps of the unroll are kept at once: all (None), or what memory allows.

    It is the memory of the backend's device.

    Raises:
        UserError: if memory does not suffice even for √K of them, which takes least.
    """
    K, backend = config.unroll, usable_backend(config.backend, config.dtype, config.device)
    least: int = ceil(K**0.5)
    for source in config.sources:  # the estimate below makes one of each network
        widths = "--hidden" if network_of(source) == "mlp" else "--set filters"
        check_memory(make_network(config, source).size * 8, workers, f"smaller {widths}")
    remedy = "smaller --lstm-units, --hidden, --set query or --set filters"
    for segment in chain((None,), range(K - 1, least, -1)):
        if fits(memory_bytes(config, segment), workers, backend):
            return segment
    check_memory(memory_bytes(config, least), workers, remedy, backend)
    return least


def memory_bytes(config: Config, segment: int | None = None) -> int:
    """Estimate the peak memory of one process: all images, and meta-training or testing.

    Meta-training goes back through K steps (the adjoint: forward mode would keep ∂θ/∂Φ and ∂h/∂Φ,
    some hundred times more at this d), and judges some classifiers at once on D_val. Between two
    unrolls it keeps θ, h and c of the whole meta-batch.
    """
    item, n, K = (4 if config.dtype == "float32" else 8), config.lstm_units, config.unroll
    learns = bool(set(config.methods) & set(LEARNED))
    maml = config.maml_batch if set(config.methods) & set(MAML) else 0
    judged_by = max(config.test_query, config.query if config.validation_tasks else 0)
    most = 0
    for source in config.sources:
        network, shots = make_network(config, source), max(config.shots)
        image = numbers_per_image(network, source_of(images_of(source)).shape) * item
        judged = AT_ONCE * (config.query + shots)  # L2O is judged on both
        tuned = PASSES * shots
        training = adjoint_memory_bytes(network.size, n, K, item, segment=segment)
        training += image * config.ways * (judged + tuned)
        shared = network.size * item * config.maml_inner_steps
        shared += image * config.ways * (config.query + tuned)
        testing = STEP * n * network.size * item
        testing += image * config.ways * (judged_by + tuned)
        training *= min(config.chunk, config.meta_batch)
        training += config.meta_batch * (1 + 2 * n) * network.size * item
        most = max(most, learns * training, maml * shared, CHUNK * testing)
    return most + sum(
        pool(images_of(source), split).dataset.images.pixels.nbytes
        for source in config.sources
        for split in splits_of(config, source)
    )
