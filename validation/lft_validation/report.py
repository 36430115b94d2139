"""Tables as text."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

DIVERGED = 1e4  # an error beyond this is no error any more


def read_paper(name: str) -> dict[str, Any]:
    """Return what the paper says of a table or figure.

    Example:
        >>> read_paper("table1")["rows"][0]["method"]
        'MAML'
    """
    text = files("lft_validation").joinpath(f"paper/{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def known(value: Any) -> float | None:
    """Return a number as JSON has it: null for NaN, where there was nothing to measure."""
    return None if value != value else float(value)


def number(value: float | None) -> str:
    """Return an error with three decimals, or the word for one that ran away; a dash for none.

    Example:
        >>> number(1.23456), number(1e9)
        ('1.235', 'diverged')
    """
    if value is None:
        return "–"
    return "diverged" if abs(value) > DIVERGED else f"{value:.3f}"


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first row is its head.

    Example:
        >>> print(markdown_table([("a", "b"), ("1", "2")]), end="")
        | a | b |
        | --- | --- |
        | 1 | 2 |
    """
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
