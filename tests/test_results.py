"""The pages of results say what the JSON files beside them say."""

from __future__ import annotations

import json
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "docs" / "results"
NAMES = {"mnist": "MNIST", "cifar10": "CIFAR-10", "mnist+cifar10": "both", "none": "–"}


def first_table(page: str) -> list[list[str]]:
    """Return the rows of a page's first table, its head first."""
    lines = page.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    end = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:end]]
    return [rows[0], *rows[2:]]


def test_table_1s_page_has_our_numbers_from_its_json():
    head, *found = first_table((RESULTS / "table1.md").read_text(encoding="utf-8"))
    ours = [i for i, name in enumerate(head) if name.startswith("ours")]
    shown = [*range(3), ours[0], head.index("of each seed"), head.index("on D_tr"), ours[1]]
    wanted = []
    for row in json.loads((RESULTS / "table1.json").read_text())["rows"]:
        at = row["at"]["100"]
        wanted.append([
            NAMES[row["training"]], NAMES[row["testing"]], row["method"],
            f"{100 * at['val']:.1f} ± {100 * at['val_sd']:.0f} %",
            " ".join(f"{100 * x:.1f}" for x in row["success_by_seed"]),
            f"{100 * at['train']:.1f} %", f"{at['strength']:.3f}",
        ])  # fmt: skip
    assert sorted([row[i] for i in shown] for row in found) == sorted(wanted)


def test_table_2s_page_has_our_numbers_from_its_json():
    _, *found = first_table((RESULTS / "table2.md").read_text(encoding="utf-8"))
    wanted = []
    for row in json.loads((RESULTS / "table2.json").read_text())["rows"]:
        at, (low, high) = row["at"]["40"], row["interval_tasks"]
        wanted.append([
            NAMES[row["training"]], NAMES[row["testing"]], row["method"],
            f"{100 * at['accuracy']:.1f} ± {100 * at['sd']:.0f}",
            f"{100 * low:.1f} … {100 * high:.1f}",
            " ".join(f"{100 * x:.1f}" for x in row["by_seed"]), f"{100 * at['train_accuracy']:.1f}",
            f"{at['loss']:.3f}" if at["loss"] < 10 else f"{at['loss']:,.1f}",
        ])  # fmt: skip
    assert sorted([*row[:3], *row[4:]] for row in found) == sorted(wanted)
