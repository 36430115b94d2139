"""What a run of Table 1 needs, found out before it starts: a backend, data, victims."""

from __future__ import annotations

from typing import Any

from lft_validation.errors import UserError
from lft_validation.experiments.uap.beyond import present
from lft_validation.experiments.uap.config import OTHER, Config
from lft_validation.experiments.uap.run import checksum, record
from lft_validation.experiments.uap.tasks import victim_of
from lft_validation.experiments.usable import usable_backend
from lft_validation.victims import shipped


def check_usable(config: Config) -> dict[str, Any]:
    """Return the record of all data and victims.

    Raises:
        UserError: if the backend is not there, or a source's files or its victim, or if a victim is
            given that the run does not use.
    """
    usable_backend(config.backend, config.dtype, config.device)
    unused = [name for name in config.victim_files if name not in config.sources]
    if unused:
        raise UserError(
            f"--victim {unused[0]} is not used: this run trains and tests on "
            f"{', '.join(config.sources)}; change them with --set training=… or --set testing=…"
        )
    return {name: record(config, name) for name in config.sources}


def check_usable_beyond(config: Config) -> dict[str, Any]:
    """Return the record of all data and victims that perturbations are followed on.

    Raises:
        UserError: if something is not there: the backend, a source's files, or one of its victims.
    """
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
    return {
        name: record(config, name)
        | {"other_victim_sha256": checksum(victim_of(config, name + OTHER))}
        for name in present(config)
    }
