"""``--backend`` and ``--device``, as every command that computes has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lft_backends.backend import Backend

DEVICE_HELP = "cpu; number of a CuPy GPU; cuda:N (torch), gpu:N (jax)."


def backend_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add both options to a command."""
    for option in (
        click.option("--device", help=f"Which device of the backend: {DEVICE_HELP}"),
        click.option(
            "--backend",
            default="numpy",
            show_default=True,
            help="numpy, numba, cupy, torch or jax; see lft doctor.",
        ),
    ):
        command = option(command)
    return command


def chosen_backend(name: str, device: str | None, dtype: str = "float64") -> Backend:
    """Return the backend that was asked for.

    Raises:
        UserError: if it is unknown or cannot be used here.
    """
    from lft_validation.experiments.usable import usable_backend

    return usable_backend(name, dtype, device)
