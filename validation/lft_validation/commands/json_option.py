"""``--json FILE|-``: what a command says, for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lft_validation.commands.outputs import report_file
from lft_validation.errors import UserError

json_option = click.option(
    "--json",
    "json_file",
    metavar="FILE|-",
    callback=report_file,
    help="Also write JSON; - for JSON alone, on stdout.",
)


def write_report(json_file: str, value: dict[str, Any]) -> None:
    """Write JSON to a file, or to stdout for ``-``.

    Raises:
        UserError: if the file cannot be written.
    """
    if json_file == "-":
        click.echo(json.dumps(value, indent=1, sort_keys=True))
        return
    try:
        from lft_validation.files import write_json
    except Exception as error:
        raise UserError(
            f"--json {json_file} needs NumPy ({error}); use --json - instead"
        ) from error
    try:
        write_json(Path(json_file), value)
    except OSError as error:
        raise UserError(
            f"--json {json_file} cannot be written ({error.strerror}); choose another file, "
            "or - for stdout"
        ) from error
