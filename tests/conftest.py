"""Hypothesis profiles, and the array libraries that tests run on: the one place for both."""

from __future__ import annotations

import gc

import pytest
from hypothesis import HealthCheck, settings

from lft_backends.backend import BackendUnavailable
from tests.libraries import LIBRARIES, ON_A_GPU, Library
from tests.no_skips import (  # noqa: F401 - pytest finds hooks and options here
    pytest_addoption,
    pytest_make_collect_report,
    pytest_runtest_makereport,
)

# ``ci`` draws the same examples every time; ``--hypothesis-profile=explore`` draws new ones, and
# more of them: tests state their counts through ``tests.helpers.examples``.
settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "explore", settings.get_profile("ci"), derandomize=False, max_examples=1000, print_blob=True
)
settings.load_profile("ci")


def pytest_collection_finish() -> None:
    """Spare the collector what lives as long as the session: some tests call it again and again."""
    gc.collect()
    gc.freeze()


# With ``--cov``: the other libraries run the same lines. See ``tests.measuring``.
MEASURED = ("numpy", "strict")


def _each(names: list[str]) -> list[object]:
    def marks(name: str) -> list[pytest.MarkDecorator]:
        needs = [pytest.mark.gpu] if name in ON_A_GPU else []
        needs += [pytest.mark.jax] if name == "jax" else []
        return needs if name in MEASURED else [*needs, pytest.mark.no_cover]

    return [pytest.param(name, marks=marks(name)) for name in names]


def _library(name: str) -> Library:
    try:
        return LIBRARIES[name]()
    except (ImportError, BackendUnavailable, ValueError) as error:  # no library, no device
        pytest.skip(f"{name} cannot be used here: {error}")


@pytest.fixture(params=_each(sorted(LIBRARIES)))
def xp(request: pytest.FixtureRequest) -> Library:
    """Every array library in turn; one that is not installed or has no device is skipped."""
    return _library(request.param)


@pytest.fixture(params=_each(sorted(set(LIBRARIES) - {"jax"})))
def eager(request: pytest.FixtureRequest) -> Library:
    """Every library but JAX, which compiles for seconds what others compute in milliseconds."""
    return _library(request.param)
