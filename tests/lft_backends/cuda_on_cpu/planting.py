"""Mistakes in lstm.cu that a switch turns on, so that one compilation serves all of them."""

from __future__ import annotations

from typing import NamedTuple


class Mistake(NamedTuple):
    """``right`` is an expression in ``where``, which occurs once; it becomes ``wrong``."""

    right: str
    wrong: str
    where: str = ""


def plant(code: str, mistakes: list[Mistake]) -> str:
    """Return lstm.cu with all mistakes in it; the k-th is made where ``shim_mistake`` is k."""
    for k, (right, wrong, where) in enumerate(mistakes, start=1):
        where = where or right
        assert code.count(where) == 1, f"{where!r} occurs {code.count(where)} times"
        assert where.count(right) == 1, right
        either = f"(shim_mistake == {k} ? ({wrong}) : ({right}))"
        code = code.replace(where, where.replace(right, either))
    return code


def make_barriers_removable(code: str) -> str:
    """Return lstm.cu in which the k-th __syncthreads is left out where ``shim_mistake`` is k."""
    first, *rest = code.split("__syncthreads();")
    for k, part in enumerate(rest, start=1):
        first += f"if (shim_mistake != {k}) __syncthreads();{part}"
    return first
