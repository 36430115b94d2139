"""Importing the library and asking for help load no array library and nothing that draws.

`lft bench --case startup` measures the seconds; here is what they depend on, so that it does not
depend on how busy the machine is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

LOADED = """
import json, sys
before = {name.partition(".")[0] for name in sys.modules}

def loaded():
    names = {name.partition(".")[0] for name in sys.modules} - before
    return sorted(names - sys.stdlib_module_names)

import lft_ref
found = {"import lft_ref": loaded()}

from click.testing import CliRunner
from lft_validation.cli import COMMANDS, main
for words in [["--version"], ["--help"], *([name, "--help"] for name in COMMANDS)]:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    found[" ".join(words)] = loaded()
print(json.dumps(found))
"""
LIBRARY = {"lft_ref", "array_api_compat"}
HELP = LIBRARY | {"click", "lft_validation", "lft_backends"}


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """What is loaded after each step, in one new process: each has all that those before it had."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", LOADED],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_the_library_loads_one_small_package_beside_it(loaded):
    assert set(loaded["import lft_ref"]) == LIBRARY


def test_help_of_every_command_loads_no_library_that_computes_or_draws(loaded):
    guilty = {step: set(names) - HELP for step, names in loaded.items()}
    assert not {step: names for step, names in guilty.items() if names}
