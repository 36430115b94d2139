"""docs/paper_map.md and docs/errata.md name what exists, and the map leaves no equation out.

But for (S14), (S15) and (S17), of which the map says what they are.
"""

from __future__ import annotations

import ast
import pkgutil
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAP = (ROOT / "docs" / "paper_map.md").read_text(encoding="utf-8")
ERRATA = (ROOT / "docs" / "errata.md").read_text(encoding="utf-8")

# What is built; an equation that is built later is added here and in the map.
LABELS = {"(1)", "(2)", "(3)", "(4)", "(5)", "(6)", "(7)", "Statement 1", "(8)", "(9)"} | {
    "(10)", "(11)", "(12)", "(S1)", "(S2)–(S5)", "(S6)", "(S7)", "(S8)", "(S9)", "(S10), A2, A3",
    "(S11), (S12), A2, A3", "(S13)", "(S16)", "(S18), (S19)", "(S20)–(S22)", "(S23)–(S25)", "(S26)",
    "(S27)", "(S28)", "(S29)", "Algorithm 1, lines 1–3, 8, 10, 11", "Algorithm 1, lines 4–7",
    "Algorithm 1, line 9",
}  # fmt: skip


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows but heads and rules."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rules = {i for i, row in enumerate(cells) if set("".join(row)) <= set("- ")}
    return [row for i, row in enumerate(cells) if i not in rules | {i - 1 for i in rules}]


def names(text: str) -> list[str]:
    return re.findall(r"`(lft_\w+(?:\.\w+)+)`", text)


def cited(text: str) -> list[str]:
    return re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", text)


def exists(test: str) -> bool:
    """Whether a test's file exists, and defines it where one is named."""
    path, _, name = test.partition("::")
    if not (ROOT / path).is_file():
        return False
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return not name or name in functions


@pytest.mark.parametrize("name", sorted(set(names(MAP + ERRATA))))
def test_every_function_named_can_be_imported(name: str) -> None:
    assert callable(pkgutil.resolve_name(name))


@pytest.mark.parametrize("test", sorted(set(cited(MAP + ERRATA))))
def test_every_test_named_exists(test: str) -> None:
    assert exists(test)


@pytest.mark.parametrize("row", rows(MAP), ids=lambda row: row[0])
def test_every_row_has_a_function_and_a_test(row: list[str]) -> None:
    assert len(row) == 4
    assert names(row[2])
    assert all("::" in test for test in cited(row[3]))
    assert cited(row[3])


def test_no_code_is_named_in_a_way_that_goes_unchecked() -> None:
    for row in rows(MAP):
        assert row[2].count("`") == 2 * len(names(row[2]))
        assert row[3].count("`") == 2 * len(cited(row[3]))


def test_every_equation_that_is_built_has_a_row() -> None:
    assert {row[0] for row in rows(MAP)} >= LABELS


def test_wrong_names_are_caught() -> None:
    assert not exists("tests/no_such_file.py")
    assert not exists("tests/test_paper_map.py::test_no_such_test")
    with pytest.raises(AttributeError):
        pkgutil.resolve_name("lft_ref.unroll.no_such_function")
