"""Tables as text."""

from __future__ import annotations

from collections.abc import Sequence


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
