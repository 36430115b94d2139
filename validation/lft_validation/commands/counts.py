"""Counts and a seed, given as options of a command."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lft_validation.errors import UserError
from lft_validation.experiments.settings import MOST


def check_counts(options: dict[str, Any], names: Iterable[str]) -> None:
    """Check that options of these names are from 1 to :data:`MOST`, and ``seed`` is not negative.

    Raises:
        UserError: naming the first that is not.
    """
    for name in names:
        if options[name] < 1:
            raise UserError(f"--{name} must be at least 1, found {options[name]}")
        if options[name] > MOST:
            raise UserError(f"--{name} must be at most {MOST:,}, found {options[name]}")
    if options["seed"] < 0:
        raise UserError(f"--seed must be at least 0, found {options['seed']}")
