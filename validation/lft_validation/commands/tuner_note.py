"""What a command says about a trained fine-tuner before it uses it."""

from __future__ import annotations

import click


def note_purpose(tuner: str, experiment: str) -> None:
    """Say on standard error if a tuner was trained for something else than ``experiment``."""
    from lft_validation.tuners import other_purpose

    sentence = other_purpose(tuner, experiment)
    if sentence is not None:
        click.echo(f"note: {sentence}", err=True)
