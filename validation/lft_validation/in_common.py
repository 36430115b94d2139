"""What a cluster's worker must have in common with the machine that started the run.

Versions, images and victims: results of a worker with others would differ, and nothing would show
it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from lft_validation.datasets import DIGITS, Split, read_once, source
from lft_validation.errors import UserError
from lft_validation.runs import installed
from lft_validation.victims import (
    OTHER,
    OtherVictim,
    checksum,
    known_by,
    load_victim,
    victim_with,
)

Sums = Mapping[tuple[str, Split], str]  # SHA-256 of each split of a source


class VictimSum(NamedTuple):
    """Where a victim comes from, and its :func:`~lft_validation.victims.checksum`."""

    file: str | None  # None for one of the package
    sha256: str


class InCommon(NamedTuple):
    """What this machine has, and every worker must have."""

    versions: dict[str, str]
    images: Sums
    victims: Mapping[str, VictimSum]  # by name


def recorded(config: Mapping[str, Any]) -> InCommon:
    """Return what is installed here, and the checksums in a run's configuration.

    Example:
        >>> digits = {"name": "digits", "split": "test", "images": 360, "sha256": "5a0e"}
        >>> victim = {"victim_sha256": "77b1", "victim_settings": {"network": "small"}}
        >>> data = {"digits": {"test": digits} | victim}
        >>> found = recorded({"steps": 5, "victims": ["digits=mine.npz"], "data": data})
        >>> found.images
        {('digits', 'test'): '5a0e'}
        >>> found.victims["digits"] == VictimSum("mine.npz", known_by("77b1", {"network": "small"}))
        True
    """
    data = config.get("data", {})
    images = {(r["name"], r["split"]): r["sha256"] for r in _records(data)}
    own = dict(text.split("=", 1) for text in config.get("victims", ()))
    victims = {
        source + suffix: VictimSum(
            own.get(source + suffix),
            known_by(record[f"{which}_sha256"], record[f"{which}_settings"]),
        )
        for source, record in data.items()
        for suffix, which in (("", "victim"), (OTHER, "other_victim"))
        if f"{which}_sha256" in record
    }
    return InCommon(installed(), images, victims)


def _records(tree: Any) -> Iterator[dict[str, Any]]:
    """Find what :meth:`lft_validation.datasets.Dataset.record` returned, however it is nested."""
    if isinstance(tree, dict):
        if {"name", "split", "sha256"} <= tree.keys():
            yield tree
        else:
            for branch in tree.values():
                yield from _records(branch)


def check_worker(wanted: InCommon) -> None:
    """Compare with what the process that calls it has; images are read once in each process.

    Raises:
        UserError: naming the worker, what differs and what mends it, if something does.
    """
    if installed() != wanted.versions:
        raise _other_versions(wanted.versions)
    for (name, split), sha256 in wanted.images.items():
        if _checksum(name, split) != sha256:
            raise _other_images(name, split)
    for name, victim in wanted.victims.items():
        _check_victim(name, victim)


@cache
def _checksum(name: str, split: Split) -> str:
    try:
        return read_once(name, split).checksum
    except UserError as error:
        raise UserError(f"{_worker()} cannot read its images: {error.message}") from None


def _check_victim(name: str, wanted: VictimSum) -> None:
    """Read the victim as a job will."""
    try:
        if wanted.file is not None:
            victim_with(Path(wanted.file), wanted.sha256)
        elif _shipped_checksum(name) != wanted.sha256:
            raise OtherVictim
    except OtherVictim:
        raise _other_victim(name, wanted.file) from None
    except UserError as error:
        raise UserError(f"{_worker()} cannot read its victim {name}: {error.message}") from None


@cache
def _shipped_checksum(name: str) -> str:
    return checksum(load_victim(name))


def _worker() -> str:
    return f"the worker of --executor on {socket.gethostname()}"


def _other_versions(wanted: dict[str, str]) -> UserError:
    here = installed()
    name = next(n for n in sorted(wanted | here) if wanted.get(n) != here.get(n))
    return UserError(
        f"a worker of --executor has {name} {here.get(name, 'missing')}, this machine "
        f"{wanted.get(name, 'missing')}; install the same on all, or results would differ"
    )


def _other_images(name: str, split: Split) -> UserError:
    about, data = source(name), read_once(name, split)
    files = ", ".join(f"{data.folder}/{file}" for file in about.files(split)) or data.folder
    copy = f"copy this machine's there (lft data list says where {name} is)"
    remedy = "install the same scikit-learn there" if about is DIGITS else copy
    return UserError(
        f"{_worker()} has other {split} images of {name} than this run, in {files}; {remedy}, "
        "start the worker again, and go on with --resume"
    )


def _other_victim(name: str, file: str | None) -> UserError:
    """What to do does not include starting the worker again: it reads a changed file anew."""
    where = "in lft-ref" if file is None else f"in {Path(file).absolute()}"
    remedy = "install the same there" if file is None else "copy this machine's file there"
    return UserError(
        f"{_worker()} has another victim {name} than this run, {where}; {remedy}, and go on with "
        "--resume"
    )
