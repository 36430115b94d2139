"""Fail unless the line coverage in a coverage.py JSON report reaches the project's bounds.

Every file of lft_ref must be covered entirely; lft_backends and lft_validation together to 90 %.
"""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any

COMPLETE = "lft_ref"
TOGETHER = ("lft_backends", "lft_validation")
TOGETHER_PERCENT = 90.0


def line_ranges(lines: list[int]) -> str:
    """Return sorted line numbers as text: [3, 4, 5, 9] gives "3-5, 9"."""
    starts = [b for a, b in pairwise([-1, *lines]) if b != a + 1]
    ends = [a for a, b in pairwise([*lines, -1]) if b != a + 1]
    return ", ".join(f"{a}-{b}" if a != b else f"{a}" for a, b in zip(starts, ends, strict=True))


def select(report: dict[str, Any], *packages: str) -> dict[str, Any]:
    """Return the entries of those files that lie in one of the packages."""
    return {
        name: entry
        for name, entry in sorted(report["files"].items())
        if not set(packages).isdisjoint(PurePath(name).parts)
    }


def percent(entries: dict[str, Any]) -> float:
    """Return the covered share of all statements of the entries."""
    covered = sum(entry["summary"]["covered_lines"] for entry in entries.values())
    statements = sum(entry["summary"]["num_statements"] for entry in entries.values())
    return 100.0 * covered / statements if statements else 0.0


def check(group: str, entries: dict[str, Any], bound: float) -> bool:
    """Print what the group misses and say whether it reaches its bound."""
    for name, entry in entries.items():
        if entry["missing_lines"]:
            print(f"  {name}: lines {line_ranges(entry['missing_lines'])} not covered")
    reached = percent(entries)
    passed = reached >= bound
    print(
        f"{group}: {reached:.2f} % of the lines covered, {bound:g} % required: "
        + ("passed" if passed else "FAILED")
    )
    return passed


def main(path: str) -> int:
    """Check both bounds and return the exit code."""
    report = json.loads(Path(path).read_text(encoding="utf-8"))
    complete = check(COMPLETE, select(report, COMPLETE), 100.0)
    together = check(" + ".join(TOGETHER), select(report, *TOGETHER), TOGETHER_PERCENT)
    return 0 if complete and together else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
