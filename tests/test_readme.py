"""What the README says is true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found, f"no block after <!-- {marker} -->"
    return found[1]


def test_the_example_runs_and_the_fine_tuner_lowers_the_loss():
    command = [sys.executable, "-c", block("example")]
    output = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    for line in output.splitlines():
        before, after = re.fullmatch(r"\w+: ([\d.]+) -> ([\d.]+)", line).groups()
        assert float(after) < 0.5 * float(before)
    assert len(block("example").strip().splitlines()) <= 26


@pytest.mark.parametrize("marker", ["reproduce-command", "test-command"])
def test_each_command_is_one_line(marker):
    assert block(marker).count("\n") == 1


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))])
def test_links_lead_to_files(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"
