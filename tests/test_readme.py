"""What the README says is true."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(marker: str, page: str = README) -> str:
    found = re.search(rf"<!-- {marker} -->\n```\w+\n(.*?)```", page, re.DOTALL)
    assert found, f"no block after <!-- {marker} -->"
    return found[1]


@pytest.mark.parametrize("name", ["README.md", "docs/meta_training.md"])
def test_the_example_prints_what_the_page_says(name, tmp_path):
    page = (ROOT / name).read_text(encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    output = subprocess.run(
        [sys.executable, "-c", block("example", page)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=tmp_path,
    ).stdout
    errors = ast.literal_eval(output)
    said = ast.literal_eval(re.search(r"It prints `(\{.*?\})`", page)[1])
    assert errors == pytest.approx(said, rel=0.1)
    assert errors["LFT"] < errors["Adam"]


@pytest.mark.parametrize("marker", ["reproduce-command", "test-command"])
def test_each_command_is_one_line(marker):
    assert block(marker).count("\n") == 1


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))])
def test_links_lead_to_files(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"
