"""Which tests are measured with ``--cov``: tracing lines adds half to the time of a long test."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def measured_once(values: Iterable[Any]) -> list[Any]:
    """Parameters of a test that runs the same lines with each of them: the first is measured."""
    first, *rest = values
    return [first, *(pytest.param(value, marks=pytest.mark.no_cover) for value in rest)]
