"""With ``--no-skips`` a skip fails a run, however it came about; an expected failure does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOME = """
import pytest

def test_that_passes():
    pass

@pytest.mark.xfail(strict=True)
def test_that_fails_as_expected():
    assert False

def test_that_skips_itself():
    pytest.skip("no such device")

@pytest.mark.skipif(True, reason="no such compiler")
def test_that_is_marked():
    pass

@pytest.fixture
def library():
    pytest.skip("no such library")

def test_whose_fixture_skips(library):
    pass
"""
WHOLE_FILE = "import pytest\npytest.importorskip('no_such_module', reason='no such module')\n"
REASONS = [f"no such {what}" for what in ("device", "compiler", "library", "module")]


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_some.py").write_text(SOME)
    (folder / "test_file.py").write_text(WHOLE_FILE)
    command = [sys.executable, "-m", "pytest", "-p", "tests.no_skips", "-p", "no:cacheprovider"]
    command += ["-c", os.devnull, "--rootdir", str(folder), "--continue-on-collection-errors"]
    return subprocess.run(
        [*command, "-ra", *options], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_every_skip_is_a_failure_that_says_its_reason(tmp_path):
    found = run(tmp_path, "--no-skips")
    assert found.returncode == 1, found.stdout
    assert "1 failed, 1 passed, 1 xfailed, 3 errors" in found.stdout
    for reason in REASONS:
        assert f"{reason} (--no-skips was given)" in found.stdout


def test_without_the_option_nothing_changes(tmp_path):
    found = run(tmp_path)
    assert found.returncode == 0, found.stdout
    assert "1 passed, 4 skipped, 1 xfailed" in found.stdout
