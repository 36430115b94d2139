"""What a run of Table 1 needs, found out before it starts: a backend, data, victims, memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lft_ref import adjoint_memory_bytes
from lft_validation.datasets import SPLITS
from lft_validation.errors import UserError
from lft_validation.experiments.learners import LEARNED, WEIGHTS
from lft_validation.experiments.uap.beyond import EVERY, present
from lft_validation.experiments.uap.config import MAML, ZEROTH, Config
from lft_validation.experiments.uap.run import CHUNK, record
from lft_validation.experiments.uap.tasks import pinned, pool, victim_of
from lft_validation.experiments.usable import (
    STEP,
    check_memory,
    numbers_per_image,
    usable_backend,
)
from lft_validation.victims import OTHER, Victim, identity, shipped

REMEDY = "smaller --shots, --lstm-units, --directions, or --set chunk or maml_batch"


def check_usable(config: Config) -> tuple[Config, dict[str, Any]]:
    """Return the settings with the hashes of victims, and the record of all data and victims.

    Raises:
        UserError: if the backend is not there, or a source's files or its victim, or if a victim is
            given that the run does not use.
    """
    usable_backend(config.backend, config.dtype, config.device)
    unused = [name for name in config.victim_files if name not in config.sources]
    if unused and unused[0].endswith(OTHER):
        raise UserError(
            f"--victim {unused[0]} is not used: only table1-beyond shows perturbations to a second "
            "victim; leave it out, or run lft reproduce table1-beyond"
        )
    if unused:
        raise UserError(
            f"--victim {unused[0]} is not used: this run trains and tests on "
            f"{', '.join(config.sources)}; change them with --set training=… or --set testing=…"
        )
    config = pinned(config)
    return config, {name: record(config, name) for name in config.sources}


def check_usable_beyond(config: Config) -> tuple[Config, dict[str, Any]]:
    """Return the same, for all data and victims that perturbations are followed on.

    Raises:
        UserError: if something is not there: the backend, a source's files, or one of its victims;
            or if the last step is none of those that are measured.
    """
    if config.long_steps % EVERY:
        raise UserError(
            f"long_steps must be a multiple of {EVERY}, since every {EVERY}th step is measured, "
            f"found {config.long_steps}; use for example --long-steps "
            f"{-(-config.long_steps // EVERY) * EVERY}"
        )
    usable_backend(config.backend, config.dtype, config.device)
    known = {*shipped(), *config.victim_files}
    for name in config.victim_files:
        source = name.removesuffix(OTHER)
        lacking = source + OTHER if name == source else source
        if lacking not in known:
            option = " --network mlp" if lacking.endswith(OTHER) else ""
            raise UserError(
                f"--victim {name} needs --victim {lacking}=FILE beside it: train it with "
                f"lft victims train {source}{option}"
            )
    config = pinned(config)
    return config, {
        name: record(config, name)
        | {f"other_{key}": is_ for key, is_ in identity(victim_of(config, name + OTHER)).items()}
        for name in present(config)
    }


def check_fits(config: Config, workers: int, sources: Sequence[str]) -> None:
    """Say how much memory is missing for so many processes, on the backend's device.

    Raises:
        UserError: if there is not enough.
    """
    backend = usable_backend(config.backend, config.dtype, config.device)
    check_memory(memory_bytes(config, sources), workers, REMEDY, backend)


def memory_bytes(config: Config, sources: Sequence[str]) -> int:
    """Estimate the peak memory of one process: all images, and meta-training or testing.

    A victim keeps what its layers make of all images that it is shown at once: those of D_tr, at
    all directions of (6) where there are some, or those of D_val at all θ^(k) that w_k weighs.

    Args:
        config: the run's settings.
        sources: those that it touches.
    """
    images = sum(pool(name, split).dataset.images.pixels.nbytes
                 for name in sources for split in SPLITS)  # fmt: skip
    most = max(_training_bytes(config, name) if name in config.sources else 0 for name in sources)
    return images + max(most, *(_testing_bytes(config, name) for name in sources))


def _training_bytes(config: Config, name: str) -> int:
    """Meta-training: the adjoint's steps, and what lies between two unrolls; or MAML's."""
    item, d, image = _sizes(config, name)
    n, K, q = config.lstm_units, config.unroll, _points(config)
    given, judged = (config.classes * shots for shots in (config.shots, config.val_shots))
    methods, drawn = set(config.methods), (d * q * item if q > 1 else 0)
    learns, shares = bool(methods & set(LEARNED)), MAML in methods
    given += judged * bool(methods & {"L2O"})  # which is fine-tuned on both
    weighed = sum(w != 0.0 for w in WEIGHTS[config.weighting](K))
    unrolled = adjoint_memory_bytes(d, n, K, item) + K * drawn
    unrolled += image * max(given * q, max(given, judged) * weighed)
    unrolled *= min(config.chunk, config.meta_batch)
    unrolled += config.meta_batch * (1 + 2 * n) * d * item
    inner = config.maml_inner_steps * (d * item + drawn) + image * max(given * q, judged)
    return max(learns * unrolled, shares * config.maml_batch * inner)


def _testing_bytes(config: Config, name: str) -> int:
    """Testing: a step of the cell, or the images; h and c before and after it beside them."""
    item, d, image = _sizes(config, name)
    n, q = config.lstm_units, _points(config)
    shown = config.classes * max(config.shots * q, config.val_shots)
    drawn = d * q * item if q > 1 else 0
    return CHUNK * (max(shown * image, STEP * n * d * item) + 4 * n * d * item + drawn)


def _sizes(config: Config, name: str) -> tuple[int, int, int]:
    """Bytes of a number, d, and bytes of an image on its way through the victim."""
    item = np.dtype(config.dtype).itemsize
    victim = victim_of(config, name)
    return item, int(np.prod(victim.about["shape"])), image_bytes(victim, item)


def image_bytes(victim: Victim, item: int) -> int:
    """Return the bytes of what the victim's layers make of one image."""
    return numbers_per_image(victim.network, victim.about["shape"]) * item


def _points(config: Config) -> int:
    """At how many θ a gradient, or its estimate, asks the victim at once."""
    return config.directions if ZEROTH in config.settings else 1
