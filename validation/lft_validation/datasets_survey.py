"""What data there is on this machine: where, how many images, and whether it is official."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lft_backends.libraries import is_there
from lft_validation.datasets import DIGITS, Source, Split, are_official, find, load, source
from lft_validation.errors import UserError


class Report(NamedTuple):
    """What was found of one split of a source."""

    name: str
    split: Split
    place: str  # what named the folder; empty if nothing was found
    folder: str
    images: int | None
    official: bool | None
    problem: str = ""

    @property
    def state(self) -> str:
        """One word or two."""
        if self.problem:
            return "damaged"
        if not self.place:
            return "not found"
        return "official" if self.official else "not official"


def survey(
    names: tuple[str, ...], data_dir: Path | None = None, thorough: bool = False
) -> Iterator[Report]:
    """Yield a report for each split of each source.

    Args:
        names: names of sources.
        data_dir: what ``--data-dir`` says.
        thorough: read every image, instead of headers, sizes and checksums alone.

    Raises:
        UserError: for an unknown name, or a folder to search that is none.
    """
    for wanted in [source(name) for name in names]:
        for split in wanted.splits:
            yield _report(wanted, split, data_dir, thorough)


def _report(wanted: Source, split: Split, data_dir: Path | None, thorough: bool) -> Report:
    name = wanted.name
    found: tuple[str, Path] | None = find(wanted, data_dir, split)
    if wanted is DIGITS:
        found = ("the package", Path("scikit-learn")) if is_there("sklearn") else None
    if found is None:
        return Report(name, split, "", "", None, None)
    place, folder = found
    try:
        if thorough or wanted is DIGITS:
            data = load(name, split, data_dir)
            number, official = data.images.number, data.official
        else:
            paths = [folder / file for file in wanted.files(split)]
            number = wanted.count(paths)
            official = are_official(wanted, split, paths)
    except UserError as error:
        return Report(name, split, place, str(folder), None, None, error.message)
    return Report(name, split, place, str(folder), number, official)
