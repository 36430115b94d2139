"""The ways in which a command can end other than well, and their exit codes."""

from __future__ import annotations

import click


class UserError(click.ClickException):
    """Wrong usage or bad input: exit code 2.

    The message names the argument or file, what was found and what to do, in one sentence.
    """

    exit_code = 2


class NotFound(UserError):
    """Files of a source that are nowhere: another source may do."""


class CheckFailed(click.ClickException):
    """Everything ran, and a check said no: exit code 1."""

    exit_code = 1


class JobFailed(click.ClickException):
    """One job of several cannot go on; the others are finished before it is said: exit code 1."""

    exit_code = 1
