"""The ``lft`` command. Subcommands are imported when they are called: help comes at once."""

from __future__ import annotations

import errno
import importlib
from typing import Any

import click

import lft_ref
from lft_validation.errors import UserError
from lft_validation.resources import keep_freed_memory

COMMANDS = {
    "attack": ("lft_validation.commands.attack", "Fool a victim with one perturbation."),
    "bench": ("lft_validation.commands.bench", "Time the unroll beside JAX and PyTorch."),
    "data": ("lft_validation.commands.data", "List, verify or download image data."),
    "doctor": ("lft_validation.commands.doctor", "Say what works on this machine."),
    "finetune": (
        "lft_validation.commands.finetune",
        "Fine-tune a network on few images of yours.",
    ),
    "gradcheck": (
        "lft_validation.commands.gradcheck",
        "Check a meta-gradient, ours or yours, term by term.",
    ),
    "reproduce": ("lft_validation.commands.reproduce", "Run an experiment of the paper."),
    "signal": (
        "lft_validation.commands.signal",
        "See how far tasks agree on a meta-gradient.",
    ),
    "theorem1": ("lft_validation.commands.theorem1", "Measure both sides of Theorem 1."),
    "vectors": ("lft_validation.commands.vectors", "Make or check test vectors."),
    "victims": ("lft_validation.commands.victims", "Train or show attacked classifiers."),
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what no command expects ends in a sentence all the same."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("\nstopped", err=True)
            raise click.exceptions.Exit(130) from None
        except MemoryError as error:
            reason = " ".join(str(error).split())[:150] or "no details"
            raise UserError(
                f"memory does not suffice ({reason}); use less data or smaller settings"
            ) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # as in lft … | head
                raise
            what = "the system" if error.filename is None else str(error.filename)[:200]
            raise UserError(
                f"cannot use {what} ({error.strerror or error}); check the path and its permissions"
            ) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(lft_ref.__version__, prog_name="lft")
def main() -> None:
    """Learned Fine-Tuner for Incongruous Few-Shot Learning (Zhao et al. 2022).

    Exit codes: 0 done and true, 1 a check failed, 2 wrong usage or bad input, 130
    stopped by Ctrl-C.
    """
    keep_freed_memory()
