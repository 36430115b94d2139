"""Whatever ``--set`` is given: a setting has its type, or one sentence says what is wrong."""

from __future__ import annotations

import dataclasses
from typing import get_type_hints

import pytest

from lft_validation.commands.reproduce import _setting
from lft_validation.errors import UserError
from lft_validation.experiments.fewshot import config as fewshot
from lft_validation.experiments.figure4 import config as figure4
from lft_validation.experiments.theorem1 import config as theorem1
from lft_validation.experiments.uap import config as uap

VALUES = [
    *("0", "-1", "1", "1.5", "NaN", "Infinity", "-Infinity", "1e400", "1e300", "1" + 400 * "0"),
    *("abc", '"0"', "", "null", "true", "{}", '{"a":1}', "mnist:cnn2", "digits:", "+", "digits+"),
    *("[]", "[0]", "[-1]", "[1.5]", "[NaN]", "[null]", "[true]", "[[1]]", '["a"]', '[""]'),
    *('[["a"]]', "[1,1]", '["LFT","LFT"]', '["digits","digits+digits"]'),
]
MAKE = {
    "figure4": (figure4.Config, lambda changes: figure4.make_config("smoke", changes)),
    "table1": (uap.Config, lambda changes: uap.make_config("smoke", changes)),
    "theorem1": (theorem1.Config, lambda changes: theorem1.make_config("smoke", changes)),
    "tableA1": (fewshot.Config, lambda changes: fewshot.make_config("tableA1", "smoke", changes)),
}


def types_of(config: type, before: str = ""):
    """Names as ``--set`` takes them, with their types."""
    for name, hint in get_type_hints(config).items():
        if dataclasses.is_dataclass(hint):
            yield from types_of(hint, f"{name}.")
        else:
            yield before + name, hint


def is_of(value, hint) -> bool:
    if hint in (tuple[int, ...], tuple[str, ...]):
        return type(value) is tuple and all(type(v) is hint.__args__[0] for v in value)
    return value is None if value is None and hint == str | None else isinstance(value, hint) and (
        hint is bool or type(value) is not bool
    )  # fmt: skip


@pytest.mark.parametrize("experiment", MAKE)
def test_a_setting_has_its_type_or_is_refused_in_one_sentence(experiment):
    config, make = MAKE[experiment]
    types = dict(types_of(config))
    taken, told = 0, list[str]()
    for name in [*types, "nope", "maml", "maml.nope", "steps.x", "__class__", "seeds.0"]:
        for value in VALUES:
            try:
                found = make(dict([_setting(f"{name}={value}")]))
            except UserError as error:
                told.append(error.message)
                continue
            taken += 1
            for part in name.split("."):
                found = getattr(found, part)
            assert is_of(found, types[name]), f"{name}={value} is taken as {found!r}"
    assert taken > len(types) // 2
    assert not [message for message in told if "\n" in message]


@pytest.mark.parametrize("experiment", ["figure4", "table1", "tableA1"])
@pytest.mark.parametrize(("name", "most"), [("p", 80.0), ("output_scale", 100.0)])
def test_what_no_file_of_phi_may_say_is_not_trained(experiment, name, most):
    make = MAKE[experiment][1]
    assert getattr(make({name: most}), name) == most
    with pytest.raises(UserError, match=f"^{name} must be at most {most:g}, found 101.0$"):
        make({name: 101.0})
