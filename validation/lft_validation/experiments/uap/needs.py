"""What a run of Table 1 needs, found out before it starts: a backend, data, victims."""

from __future__ import annotations

from typing import Any

from lft_backends.backend import BackendUnavailable, get_backend
from lft_validation.errors import UserError
from lft_validation.experiments.uap.config import Config
from lft_validation.experiments.uap.run import record


def check_usable(config: Config) -> dict[str, Any]:
    """Return the record of all data and victims.

    Raises:
        UserError: if the backend is not there, or a source's files or its victim.
    """
    try:
        get_backend(config.backend, config.dtype, config.device)
    except (ValueError, BackendUnavailable) as error:
        raise UserError(str(error)) from error
    return {name: record(name) for name in config.sources}
