"""Easily made mistakes in lstm.cu, planted one at a time: the comparison of parity.py sees it."""

from __future__ import annotations

import ctypes

import pytest

from lft_ref.params import Columns
from tests.device_array import to_device, to_host
from tests.lft_backends.cuda_on_cpu.fake_cupy import GXX, fake_cupy
from tests.lft_backends.cuda_on_cpu.parity import (
    Twins,
    draw,
    errors,
    forward_errors,
    load_backend,
)
from tests.lft_backends.cuda_on_cpu.planting import Mistake, plant

pytestmark = pytest.mark.skipif(GXX is None, reason="g++ is not installed")

CELL = {
    "input and forget gate are swapped in c⁺": Mistake(
        "s.f * c_old + s.i * s.u", "s.i * c_old + s.f * s.u"
    ),
    "b is missing": Mistake("W.to[v][A]", "Quad{}"),
    "b_o is missing": Mistake("W.b_o", "real(0)", "real y = W.b_o;"),
    "the output gate is a tanh": Mistake("logistic(z.gate[3])", "tanh(z.gate[3])"),
    "σ lacks a ½": Mistake("HALF * tanh(HALF * z) + HALF", "HALF * tanh(z) + HALF"),
    "Δθ lacks the output scale": Mistake("scale * y", "y", "delta[task * d + j] = scale * y;"),
    "log|g| is not divided by p": Mistake("log(fabs(g)) / in.p", "log(fabs(g))"),
    "a small g is not scaled": Mistake("in.steep * g", "g"),
    "sign g is lost": Mistake("g > 0 ? ONE : -ONE", "ONE"),
    "∂ log|g| lacks 1/p": Mistake("ONE / (in.p * g)", "ONE / g"),
    "the slope of a small g is one": Mistake("in.steep", "ONE", "real(0) : in.steep;"),
}
VJP = {
    "c̄ lacks the slope of tanh c": Mistake(
        "h_bar * s.o * (ONE - s.tanh_c * s.tanh_c)", "h_bar * s.o"
    ),
    "z̄_f lacks c": Mistake("c_bar * c_old * s.f * (ONE - s.f)", "c_bar * s.f * (ONE - s.f)"),
    "z̄_i is z̄_f": Mistake("c_bar * s.u * s.i * (ONE - s.i)", "c_bar * c_old * s.f * (ONE - s.f)"),
    "z̄_u has a logistic slope": Mistake(
        "ONE - s.u * s.u", "s.u - s.u * s.u", "c_bar * s.i * (ONE - s.u * s.u), h_bar"
    ),
    "c̄ of the old state lacks f": Mistake("s.f", "ONE", "c_bar *= s.f;"),
    "h̄ lacks w_o ȳ": Mistake("W.w_o[v] * y_bar", "real(0)"),
    "W_h is transposed": Mistake(
        "W.to[v][a]",
        "W.to[a < M ? v : a - M][a < M ? a : M + v]",
        "in_bar[a] += W.to[v][a].gate[q] * z_bar.gate[q];",
    ),
    "ȳ lacks the output scale": Mistake(
        "scale * delta_bar[task * d + j]", "delta_bar[task * d + j]"
    ),
    "w̄_o lacks the output gate": Mistake("y_bar * s.o * s.tanh_c", "y_bar * s.tanh_c"),
    "a block keeps its last tile only": Mistake("*sum + value", "value"),
    "a tile's last coordinate is not summed": Mistake(
        "k < BLOCK", "k < BLOCK - 1", "for (int k = 0; k < BLOCK; ++k) {"
    ),
    "some blocks are not summed": Mistake("row < SUM_ROWS", "row < SUM_ROWS - 1"),
    "tasks share their partial sums": Mistake("task * gridDim.x + blockIdx.x", "blockIdx.x + 0u"),
}
FORWARD = {
    "the second-order term is dropped": Mistake("s.z_g.gate[q] * g_dot", "real(0)"),
    "Φ's own term is dropped": Mistake("v == fed && q == gate ? input : real(0)", "real(0)"),
    "two gates of Π_Φ are swapped": Mistake("q == gate", "q == (gate ^ 1)", "fed && q == gate"),
    "b's column is fed nothing": Mistake("ONE", "real(0)", "in_s[A] = ONE;"),
    "Π_h lacks ∂h⁺/∂c": Mistake("s.h_c * c_v", "real(0)"),
    "Π_h lacks f": Mistake(
        "s.f * H[at_H + Index(N + v) * width]", "H[at_H + Index(N + v) * width]"
    ),
    "Γ has the wrong sign in (8)": Mistake("scale * y", "-scale * y", "G[at_G] - scale * y;"),
    "G is not carried on": Mistake("G[at_G]", "real(0)", "G_next[at_G] = G[at_G]"),
    "Γ_Φ of w_o is wrong": Mistake("slopes_s[column - dense].h", "slopes_s[column - dense].f"),
    "Γ_Φ misses b_o": Mistake("ONE", "real(0)", ": ONE;"),
    "a block of columns starts at the first": Mistake(
        "first + column / (4 * N)", "column / (4 * N)"
    ),
}
MISTAKES = CELL | VJP | FORWARD


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """The twins, compiled from lstm.cu with all mistakes in it, and the switch."""
    folder = tmp_path_factory.mktemp("planted")
    fake = fake_cupy(folder)
    module = load_backend(fake)
    # Either branch of a mistake may be planted in code that holds another one.
    code = plant(module.SOURCE.read_text(encoding="utf-8"), list(MISTAKES.values()))
    module.SOURCE = folder / "planted.cu"
    module.SOURCE.write_text(code, encoding="utf-8")
    module.layout = lambda *_: (32, 2)
    module.vjp_grid = lambda d, block, _: (-(-d // (2 * block)), 2)
    twins = Twins(module.OPS, to_device, to_host, module, fake)

    def switch(mistake: int) -> dict[str, float]:
        for library in fake.libraries:
            ctypes.c_int.in_dll(library, "shim_mistake").value = mistake
        columns = Columns(1, 6, True)
        return {
            **errors(twins, draw("float64", 3, 2, (2, 1100))),
            **forward_errors(twins, draw("float64", 3, 2, (2, 3)), columns),
        }

    module.kernels(3, 2, "float64", module.LOG_SIGN)
    return switch


def test_nothing_is_found_where_nothing_is_planted(planted):
    assert max(planted(0).values()) <= 1.0


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_is_found(planted, name):
    found = planted(1 + list(MISTAKES).index(name))
    assert max(found.values()) > 1e3, f"errors in units of their bounds: {found}"
