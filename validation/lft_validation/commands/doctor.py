"""``lft doctor``. Prints without rich, which may be what is broken."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import click

from lft_validation.commands.json_option import json_option, write_report
from lft_validation.errors import CheckFailed

if TYPE_CHECKING:
    from lft_validation.doctor import Diagnosis, Finding

WIDTH = 80
TITLES = {
    "required": "Python and packages",
    "backends": "Backends (--backend NAME)",
    "executors": "Executors (--executor WHERE)",
    "extras": "Optional extras",
    "data": "Data (needed by image experiments only)",
    "machine": "Machine",
}


@click.command()
@json_option
def command(json_file: str | None) -> None:
    """Say what works on this machine, what does not, and what mends it.

    Exit codes: 0 all that is required works (optional parts may be missing), 1 it does not.
    """
    from lft_validation.doctor import diagnose

    diagnosis = diagnose()
    if json_file != "-":
        click.echo("\n".join(_lines(diagnosis)))
    if json_file is not None:
        write_report(json_file, _as_json(diagnosis))
    if not diagnosis.healthy:
        raise CheckFailed("something required does not work: see above")


def _lines(diagnosis: Diagnosis) -> list[str]:
    """Return the report, at most 80 columns wide."""
    lines: list[str] = []
    for section, findings in diagnosis._asdict().items():
        lines += ["", TITLES[section]] if lines else [TITLES[section]]
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            lines += _finding_lines(finding, width, _MARKS.get(section, ("yes", "no")))
    return lines


_MARKS = {"required": ("yes", "NO"), "machine": ("", "?")}


def _finding_lines(finding: Finding, width: int, marks: tuple[str, str]) -> list[str]:
    """One line with yes or no, name and detail; below it the remedy."""
    start = f"  {marks[not finding.works]:<3}  {finding.name:<{width}}  "
    indent = " " * len(start)
    lines = textwrap.wrap(
        finding.detail,
        WIDTH,
        initial_indent=start,
        subsequent_indent=indent,
        break_on_hyphens=False,
    ) or [start.rstrip()]
    if not finding.works and finding.remedy:
        lines += textwrap.wrap(
            finding.remedy,
            WIDTH,
            initial_indent=f"{indent}-> ",
            subsequent_indent=f"{indent}   ",
            break_on_hyphens=False,
        )
    return lines


def _as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    sections = {
        section: [finding._asdict() for finding in findings]
        for section, findings in diagnosis._asdict().items()
    }
    return {"healthy": diagnosis.healthy, **sections}
