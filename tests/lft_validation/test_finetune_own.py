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
from dataclasses import dataclass

import numpy as np

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

class Through(Layer):
    def x_bar(self, p, x, y_bar):
        return y_bar
    def p_bar(self, x, y_bar):
        return None

@dataclass
class Plain(Through):
    k: int = 1

class NoFanIn(Through):
    fan_in = property(lambda self: self.none)

class HalfSize(Through):
    size = 0.5

class OneTask(Through):
    size = fan_in = 1
    def forward(self, p, x):
        return x * p[0]
    def x_bar(self, p, x, y_bar):
        return y_bar * p[0]
    def p_bar(self, x, y_bar):
        return np.array([(x * y_bar).sum()])

class FirstTask(Through):
    size = fan_in = 1
    def forward(self, p, x):
        return x * p.ravel()[0]
    def x_bar(self, p, x, y_bar):
        return y_bar * p.ravel()[0]
    def p_bar(self, x, y_bar):
        return (x * y_bar).sum((-2, -1))[..., None]

class SummedGradient(OneTask):
    def forward(self, p, x):
        return x * p[..., None]
    def x_bar(self, p, x, y_bar):
        return y_bar * p[..., None]
    def p_bar(self, x, y_bar):
        return np.full((*x.shape[:-2], 1), (x * y_bar).sum())

class Fragile(Through):
    def forward(self, p, x):
        if x.ndim > 2:
            raise RuntimeError("one task alone")
        return x

class Leaves(Through):
    def forward(self, p, x):
        raise SystemExit(7)

class Late(Through):
    def forward(self, p, x):
        if x.shape[-2] == 30:  # of D_tr
            raise SystemExit("thirty")
        return x

def with_layer(layer):
    return Network((Flatten(), layer, Dense(64, 10)))

no_start, no_output, no_way_back = map(with_layer, (Scale(), Unwritten(), Layer()))
plain, no_fan_in, half_size = map(with_layer, (Plain(), NoFanIn(), HalfSize()))
one_task, first_task, summed = map(with_layer, (OneTask(), FirstTask(), SummedGradient()))
fragile, leaves, late, number = map(with_layer, (Fragile(), Leaves(), Late(), 3))
in_a_list = Network([*with_layer(Through()).layers])
no_layers, nothing = Network(3), Network(())
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_start", "Scale has 64 parameters and fan_in 0"),
        ("no_output", "(RuntimeError: not written yet)"),
        ("no_way_back", "--network has no gradient of its loss (AttributeError: 'Layer' object"),
        ("plain", "Plain cannot be hashed; make it a NamedTuple, or a dataclass with frozen=True"),
        ("no_fan_in", "NoFanIn has no fan_in that is a whole number of at least 0"),
        ("half_size", "HalfSize has no size that is a whole number of at least 0"),
        ("number", "int has no size that is a whole number"),
        ("one_task", "does not work on θ (tasks, 651) and images (tasks, N, 1, 8, 8)"),
        ("first_task", "its outputs for two tasks at once are not those of each alone"),
        ("summed", "its gradients for two tasks at once are not those of each alone"),
        ("fragile", "(RuntimeError: one task alone); its layers must take axes before"),
        ("leaves", "does not take images of shape (1, 8, 8) (SystemExit: 7)"),
        ("late", "own.py:late failed with SystemExit: thirty"),
        ("no_layers", "its layers must be a tuple, found int"),
        ("nothing", "must have one output for each of 10 classes"),
    ],
)
def test_mistakes_in_a_layer_of_ones_own_are_named(name, message, tmp_path):
    (tmp_path / "own.py").write_text(OWN_LAYERS, encoding="utf-8")
    result = lft("digits", *SMALL, "--network", f"{tmp_path / 'own.py'}:{name}")
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_layers_may_be_a_list(backend, tmp_path):
    if backend == "numba":
        pytest.importorskip("numba")
    (tmp_path / "own.py").write_text(OWN_LAYERS, encoding="utf-8")
    own = f"{tmp_path / 'own.py'}:in_a_list"
    result = lft("digits", *SMALL, "--network", own, "--backend", backend)
    assert result.exit_code == 0, result.output
