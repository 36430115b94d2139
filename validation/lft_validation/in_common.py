"""What a cluster's worker must have in common with the machine that started the run.

Versions and images: results of a worker with others would differ, and nothing would show it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from lft_validation.datasets import DIGITS, Split, read_once, source
from lft_validation.errors import UserError
from lft_validation.runs import installed

Sums = Mapping[tuple[str, Split], str]  # SHA-256 of each split of a source


class InCommon(NamedTuple):
    """What this machine has, and every worker must have."""

    versions: dict[str, str]
    images: Sums


def recorded(config: Mapping[str, Any]) -> dict[tuple[str, Split], str]:
    """Return the checksums of all images in a run's configuration.

    Example:
        >>> digits = {"name": "digits", "split": "test", "images": 360, "sha256": "5a0e"}
        >>> recorded({"steps": 5, "data": {"digits": {"test": digits, "victim_accuracy": 0.9}}})
        {('digits', 'test'): '5a0e'}
    """
    return {(r["name"], r["split"]): r["sha256"] for r in _records(config.get("data", {}))}


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
    for (name, split), checksum in wanted.images.items():
        if _checksum(name, split) != checksum:
            raise _other_images(name, split)


@cache
def _checksum(name: str, split: Split) -> str:
    try:
        return read_once(name, split).checksum
    except UserError as error:
        raise UserError(f"{_worker()} cannot read its images: {error.message}") from None


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
