"""Settings of an experiment: frozen dataclasses, changed by name and checked with one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from typing import Any, get_type_hints

from lft_validation.errors import UserError


def changed(settings: Any, name: str, value: Any) -> Any:
    """Return a frozen dataclass with one setting changed; a dot leads into a nested one."""
    first, _, rest = name.partition(".")
    known = {field.name: getattr(settings, field.name) for field in fields(settings)}
    if first not in known or bool(rest) != is_dataclass(known[first]):
        names = [f"{n}.…" if is_dataclass(v) else n for n, v in known.items()]
        raise UserError(f"unknown setting {name!r}; choose one of {', '.join(sorted(names))}")
    if rest:
        return replace(settings, **{first: changed(known[first], rest, value)})
    return replace(
        settings, **{first: _fitting(name, value, get_type_hints(type(settings))[first])}
    )


LARGEST = 10**9  # of numbers; beyond, sizes overflow
MOST = 10**6  # of tasks, steps, units, …: no machine gets through more
# The most that a file of Φ may say of its cell. In float32 log/sign has e^p up to p = 88.
OF_A_CELL = {"p": 80.0, "output_scale": 100.0}
LISTS = {tuple[int, ...]: "whole numbers such as [1,2]", tuple[str, ...]: 'words such as ["a","b"]'}
KINDS: dict[Any, tuple[type, str]] = {
    int: (int, "a whole number"),
    float: (float, "a number"),
    bool: (bool, "true or false"),
    str: (str, "a word"),
    str | None: (str, "a word or null"),
}


def _fitting(name: str, value: Any, hint: Any) -> Any:
    """Return a JSON value as a setting of the type ``hint``; what is in a list is checked later."""
    is_list = isinstance(value, list | tuple)
    for item in value if is_list else [value]:
        most = MOST if hint is int else LARGEST
        if type(item) is int and abs(item) > most:
            raise UserError(f"{name} must be at most {most:,} in size, found {str(item)[:20]}")
    if hint in LISTS:
        if not is_list:
            raise UserError(f"{name} must be a list of {LISTS[hint]}, found {json.dumps(value)}")
        return tuple(value)
    kind, wanted = KINDS[hint]
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is kind or (value is None and hint == str | None):
        return value
    found = json.dumps(value)
    remedy = f"; as a word it is written {name}='\"{found}\"'" if kind is str else ""
    raise UserError(f"{name} must be {wanted}, found {found}{remedy}")


def check_positive(numbers: Iterable[tuple[str, float]]) -> None:
    """Raise ``UserError`` for the first number that is not positive and finite."""
    for name, value in numbers:
        if not 0 < value < float("inf"):
            raise UserError(f"{name} must be positive and finite, found {value}")


def check_cell(config: Any) -> None:
    """Raise ``UserError`` where a Φ cannot be trained so, or could not be loaded again."""
    if not 0.0 <= config.task_clip < float("inf"):
        raise UserError(
            f"task_clip must be finite and not negative, found {config.task_clip}; 0 clips only "
            "the sum over tasks"
        )
    for name, most in OF_A_CELL.items():
        if getattr(config, name) > most:
            raise UserError(f"{name} must be at most {most:g}, found {getattr(config, name)}")


def check_choices(config: Any, choices: Mapping[str, tuple[str, ...]]) -> None:
    """Raise ``UserError`` for the first setting that is none of its choices."""
    for name, known in choices.items():
        found = getattr(config, name)
        if found not in known:
            raise UserError(f"{name} must be one of {', '.join(known)}, found {found!r}")


def check_whole(name: str, values: tuple[Any, ...], least: int, distinct: bool) -> None:
    """Raise ``UserError`` unless there are whole numbers of at least ``least``."""
    good = values and all(type(v) is int and v >= least for v in values)
    if not good or (distinct and len(set(values)) < len(values)):
        which = "distinct whole numbers" if distinct else "whole numbers"
        raise UserError(f"{name} must be {which} of at least {least}, found {values}")


def check_words(name: str, values: tuple[Any, ...], known: tuple[str, ...]) -> None:
    """Raise ``UserError`` unless ``values`` are some of ``known``, each once."""
    for value in values:
        if not isinstance(value, str):
            raise UserError(f"{name} must be names, found {value!r}")
    unknown = [value for value in values if value not in known]
    if not values or unknown or len(set(values)) < len(values):
        found = f"unknown {unknown[0]!r}" if unknown else f"found {values}"
        choice = ", ".join(dict.fromkeys(known))
        raise UserError(f"{name} must be some of {choice}, each once; {found}")


def from_preset(presets: Mapping[str, Any], preset: str, changes: Mapping[str, Any]) -> Any:
    """Return a preset's settings with changes applied, by name.

    Raises:
        UserError: for an unknown preset, or a change that does not fit a setting.
    """
    if preset not in presets:
        raise UserError(f"unknown preset {preset!r}; choose one of {', '.join(presets)}")
    config = presets[preset]
    for name, value in changes.items():
        config = changed(config, name, value)
    return config


def as_json(config: Any) -> dict[str, Any]:
    """Return the settings of a frozen dataclass as JSON values."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return plain
