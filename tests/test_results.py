"""The pages of results say what the JSON files beside them say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

RESULTS = Path(__file__).parents[1] / "docs" / "results"
NAMES = {"mnist": "MNIST", "cifar10": "CIFAR-10", "mnist+cifar10": "both", "none": "–"}


def tables(page: str) -> list[list[list[str]]]:
    """Return the rows of each table of a page, its head first."""
    found, rows = list[list[list[str]]](), list[list[str]]()
    for line in [*(RESULTS / page).read_text(encoding="utf-8").splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            found.append([rows[0], *rows[2:]])
            rows = []
    return found


def numbers(file: str) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads((RESULTS / file).read_text())
    return whole


def difference(cell: str) -> str:
    """Return a cell of differences without the paper's, and without the mark of our own claims."""
    return re.sub(r"^\S+; ", "", cell).rstrip("\\*")


def said(claim: dict[str, Any]) -> str:
    """Return what such a cell has to say of a claim about accuracy."""
    mean, low, high = (f"{100 * claim['difference'][k]:+.1f}" for k in ("mean", "low", "high"))
    return f"{mean} ({low} … {high}) {claim['verdict']}"


@pytest.mark.parametrize("page", ["figure4", "figure4-one-task"])
def test_figure_4s_pages_have_our_numbers_from_their_json(page):
    _, *found = tables(f"{page}.md")[0]
    wanted = []
    for row in numbers(f"{page}.json")["rows"]:
        at, beyond = row["at"]["200"], row["beyond"]["1000"]
        far = f"{beyond['mean']:.3f}" if beyond["mean"] < 1e3 else "diverged"
        wanted.append([
            row["setting"], row["method"], f"{at['mean']:.3f} ± {at['sd']:.3f}",
            f"{at['median']:.3f}", " ".join(f"{x:.3f}" for x in row["by_seed"]),
            f"{beyond['median']:.3f} ({far}), {row['long_tasks']}",
        ])  # fmt: skip
    assert sorted([*row[:2], *row[3:]] for row in found) == sorted(wanted)


@pytest.mark.parametrize("page", ["figure4", "figure4-one-task"])
def test_figure_4s_pages_have_the_claims_of_their_json(page):
    _, *found = tables(f"{page}.md")[1]
    wanted = []
    for claim in numbers(f"{page}.json")["claims"]:
        d = claim["difference"]
        wanted.append([
            claim["claim"] + " (not claimed by the paper)" * (not claim["of_the_paper"]),
            claim["setting"], f"{d['mean']:.3f}", f"{d['low']:.3f} … {d['high']:.3f}",
            " ".join(f"{x:.3f}" for x in d["by_seed"]), claim["verdict"],
        ])  # fmt: skip
    assert sorted(found) == sorted(wanted)


def test_table_1s_page_has_our_numbers_from_its_json():
    head, *found = tables("table1.md")[0]
    ours = [i for i, name in enumerate(head) if name.startswith("ours")]
    shown = [*range(3), ours[0], head.index("of each seed"), head.index("on D_tr"), ours[1]]
    wanted = []
    for row in numbers("table1.json")["rows"]:
        at = row["at"]["100"]
        wanted.append([
            NAMES[row["training"]], NAMES[row["testing"]], row["method"],
            f"{100 * at['val']:.1f} ± {100 * at['val_sd']:.0f} %",
            " ".join(f"{100 * x:.1f}" for x in row["success_by_seed"]),
            f"{100 * at['train']:.1f} %", f"{at['strength']:.3f}",
        ])  # fmt: skip
    assert sorted([row[i] for i in shown] for row in found) == sorted(wanted)


def test_table_1s_page_has_the_differences_of_its_json():
    head, *found = tables("table1.md")[1]
    by_cell = {
        (f"{c['claim']}: {c['measure'].replace('|θ|', 'abs θ')}",
         f"{NAMES[c['training']]} → {NAMES[c['testing']]}"): c
        for c in numbers("table1.json")["claims"]
    }  # fmt: skip
    shown = 0
    for name, *cells in found:
        percent, places = (100.0, 1) if "success" in name else (1.0, 3 if "abs θ" in name else 1)
        places = 0 if "steps to" in name else places
        for where, cell in zip(head[1:], cells, strict=True):
            if cell:
                claim, shown = by_cell[name, where], shown + 1
                d = claim["difference"]
                mean, low, high = (f"{percent * d[k]:+.{places}f}" for k in ("mean", "low", "high"))
                assert cell.endswith(f"; {claim['verdict']}: {mean} ({low} … {high})"), (
                    name,
                    where,
                )
    assert shown > 100


def test_table_2s_page_has_our_numbers_from_its_json():
    _, *found = tables("table2.md")[0]
    wanted = []
    for row in numbers("table2.json")["rows"]:
        at = row["at"]["40"]
        tasks, seeds = (row[f"interval_{of}"] for of in ("tasks", "seeds"))
        wanted.append([
            NAMES[row["training"]], NAMES[row["testing"]], row["method"],
            f"{100 * at['accuracy']:.1f} ± {100 * at['sd']:.0f}",
            f"{100 * tasks[0]:.1f} … {100 * tasks[1]:.1f}",
            " ".join(f"{100 * x:.1f}" for x in row["by_seed"]),
            f"{100 * seeds[0]:.1f} … {100 * seeds[1]:.1f}", f"{100 * at['train_accuracy']:.1f}",
            f"{at['loss']:.3f}" if at["loss"] < 10 else f"{at['loss']:,.1f}",
        ])  # fmt: skip
    assert sorted([*row[:3], *row[4:]] for row in found) == sorted(wanted)


def test_table_2s_page_has_the_differences_of_its_json():
    head, *found = tables("table2.md")[1]
    wanted = {
        (c["versus"], f"{NAMES[c['training']]} → {NAMES[c['testing']]}"): c
        for c in numbers("table2.json")["claims"]
        if c["metric"] == "accuracy"
    }
    shown = {
        (method, where): cell
        for method, *cells in found
        for where, cell in zip(head[1:], cells, strict=True)
        if cell != "n/a"
    }
    assert set(shown) == set(wanted)
    for key, cell in shown.items():
        assert difference(cell) == said(wanted[key]), key


def test_table_a1s_page_has_our_numbers_from_its_json():
    _, *found = tables("tableA1.md")[0]
    wanted = []
    for row in numbers("tableA1.json")["rows"]:
        at, tasks = row["at"]["40"], row["interval_tasks"]
        wanted.append([
            str(row["shots"]), row["method"], f"{100 * at['accuracy']:.1f} ± {100 * at['sd']:.0f}",
            f"{100 * tasks[0]:.1f} … {100 * tasks[1]:.1f}", f"{100 * at['train_accuracy']:.1f}",
            f"{at['loss']:.3f}" if at["loss"] < 10 else f"{at['loss']:,.1f}",
        ])  # fmt: skip
    assert sorted([*row[:2], *row[3:]] for row in found) == sorted(wanted)


def test_table_a1s_page_has_the_differences_of_its_json():
    _, methods, gains = tables("tableA1.md")
    claims = [c for c in numbers("tableA1.json")["claims"] if c["metric"] == "accuracy"]
    for head, *found in (methods, gains):
        for name, *cells in found:
            for where, cell in zip(head[1:], cells, strict=True):
                (claim,) = (c for c in claims if _is_about(c, name, where))
                assert difference(cell) == said(claim), (name, where)
    assert len(claims) == 6 * 4 + 4 * 2


def _is_about(claim: dict[str, Any], name: str, where: str) -> bool:
    if where.startswith("over"):
        gain = f"gain {where}: {name.replace(' less ', ' > ')}"
        return bool(claim["claim"] == gain)
    return (claim["versus"], str(claim["shots"])) == (name, where.split(maxsplit=1)[0])
