"""Kernels that are tested were compiled from the sources that are there."""

from __future__ import annotations

import contextlib

import pytest

from lft_backends.backend import BackendUnavailable, get_backend


@pytest.fixture(scope="session", autouse=True)
def kernels_of_these_sources() -> None:
    """Let the backend drop what Numba keeps of older ones: twins are also used without it here."""
    with contextlib.suppress(BackendUnavailable):
        get_backend("numba")
