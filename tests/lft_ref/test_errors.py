"""Every ValueError of lft_ref: it names the argument, what was found, and what to do."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lft_ref
from lft_ref import adjoint, forward_mode
from tests.lft_ref import wrong_arguments
from tests.lft_ref.wrong_arguments import WEIGHTS, ZEROTH
from tests.lft_ref.wrong_data import WRONG_DATA
from tests.lft_ref.wrong_settings import WRONG_SETTINGS

ERRORS = {**wrong_arguments.ERRORS, **WRONG_DATA, **WRONG_SETTINGS}


@pytest.mark.parametrize("name", ERRORS)
def test_a_wrong_argument_is_named_with_the_value_found_and_the_remedy(name):
    call, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_every_value_error_in_the_sources_is_raised_by_a_case():
    pytest.importorskip("array_api_strict")
    raised = set()
    for call, _ in ERRORS.values():
        with pytest.raises(ValueError, match=r".") as caught:
            call()
        last = caught.traceback[-1]
        raised.add((Path(str(last.path)).name, last.lineno + 1))
    for path in sorted(Path(lft_ref.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise):
                lines = range(node.lineno, node.end_lineno + 1)
                hit = any(name == path.name and line in lines for name, line in raised)
                assert hit, f"{path.name}:{node.lineno} is raised by none of the cases"


@pytest.mark.parametrize("engine", [adjoint, forward_mode])
def test_engines_check_the_task_too(engine):
    with pytest.raises(ValueError, match="directions must have shape"):
        engine(ZEROTH.params, ZEROTH.tuner, ZEROTH.task._replace(directions=None), WEIGHTS)
