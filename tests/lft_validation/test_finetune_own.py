"""``lft finetune --network FILE.py:NAME``: mistakes in a network of one's own are named."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

pytest.importorskip("sklearn")  # the digits

from lft_validation.cli import main

SMALL = ("--draws", "2", "--steps", "5", "--shots", "3", "--query", "4")


def lft(*arguments: str):
    return CliRunner().invoke(main, ["finetune", *arguments], catch_exceptions=False)


OWN_LAYERS = """
from lft_ref import Dense, Flatten, Network

class Layer:
    size = fan_in = 0
    curved = False
    def keep(self, p, x):
        return x
    def forward(self, p, x):
        return x

class Scale(Layer):
    size = 64
    def forward(self, p, x):
        return x * p[..., None, :]

class Unwritten(Layer):
    def forward(self, p, x):
        raise RuntimeError("not written yet")

def with_layer(layer):
    return Network((Flatten(), layer, Dense(64, 10)))

no_start, no_output, no_way_back = map(with_layer, (Scale(), Unwritten(), Layer()))
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_start", "Scale has 64 parameters and fan_in 0"),
        ("no_output", "(RuntimeError: not written yet)"),
        ("no_way_back", "--network has no gradient of its loss (AttributeError: 'Layer' object"),
    ],
)
def test_mistakes_in_a_layer_of_ones_own_are_named(name, message, tmp_path):
    (tmp_path / "own.py").write_text(OWN_LAYERS, encoding="utf-8")
    result = lft("digits", *SMALL, "--network", f"{tmp_path / 'own.py'}:{name}")
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split())
