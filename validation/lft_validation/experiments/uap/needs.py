"""What a run of Table 1 needs, found out before it starts: a backend, data, victims."""

from __future__ import annotations

from typing import Any

from lft_validation.experiments.uap.config import Config
from lft_validation.experiments.uap.run import record
from lft_validation.experiments.usable import usable_backend


def check_usable(config: Config) -> dict[str, Any]:
    """Return the record of all data and victims.

    Raises:
        UserError: if the backend is not there, or a source's files or its victim.
    """
    usable_backend(config.backend, config.dtype, config.device)
    return {name: record(name) for name in config.sources}
