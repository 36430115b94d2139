"""Easily made mistakes in mlp.cu, planted one at a time: comparing with the reference sees it."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from tests.device_array import to_device, to_host
from tests.lft_backends.cuda_on_cpu.fake_cupy import GXX, fake_cupy
from tests.lft_backends.cuda_on_cpu.parity import cast, load_backend
from tests.lft_backends.cuda_on_cpu.planting import Mistake, plant
from tests.lft_backends.perceptrons import draw, everything

pytestmark = pytest.mark.skipif(GXX is None, reason="g++ is not installed")

MISTAKES = {
    "b is missing": Mistake("b[j]", "real(0)", "W + j) + b[j];"),
    "W is transposed": Mistake("b[k * STEP]", "b[k]"),
    "ReLU lets all through": Mistake("z_ij <= 0", "false", "LAST && z_ij <= 0"),
    "ReLU stands behind the last layer too": Mistake(
        "!Layer<K>::LAST", "true", "z[item] = !Layer<K>::LAST"
    ),
    "W̄ is that of the first input": Mistake(
        "h[i * IN + k]", "h[i * IN]", "h[i * IN + k] : real(1)) * z_bar"
    ),
    "b̄ counts one example": Mistake("real(1)", "real(i == 0)", "real(1)) * z_bar[i * OUT + j]"),
    "h̄ goes through units that are off": Mistake(
        "h[item] > 0", "true", "h[item] > 0 ? dot<OUT, 1>(z_bar"
    ),
    "θ̄ of a layer lands at the first": Mistake(
        "Layer<K>::START", "0", "theta_bar[Layer<K>::START + item]"
    ),
    "ż lacks ḣ W": Mistake(
        "units<K - 1>(hidden_dot, task)",
        "input<K>(hidden, task)",
        "s += dot<IN, OUT>(units<K - 1>(hidden_dot, task)",
    ),
    "ż lacks ḃ": Mistake("b_dot[j]", "real(0)", "+ b_dot[j];"),
    "ż goes through units that are off": Mistake("units<K>(hidden, task)[item] > 0", "true"),
    "W̄'s tangent lacks ḣ": Mistake(
        "units<K - 1>(hidden_dot, task)[i * IN + k] * bars.z[i * OUT + j]", "real(0)"
    ),
    "W̄'s tangent takes z̄ for its tangent": Mistake(
        "bars.z_dot[i * OUT + j]", "bars.z[i * OUT + j]"
    ),
    "h̄'s tangent lacks Ẇ": Mistake("W_dot + k * OUT", "W + k * OUT"),
    "h̄'s tangent goes through units that are off": Mistake("on", "true", "on ? dot<OUT, 1>(z_dot"),
    "h̄ beside it goes through units that are off": Mistake(
        "on", "true", "on ? dot<OUT, 1>(z, W + k"
    ),
    "tasks have the first one's examples": Mistake("number % x_tasks", "0"),
    "tasks have the first one's hidden units": Mistake("task.number * Layer<K>::OUT", "0"),
    "layers share their hidden units": Mistake(
        "Layer<K>::BEFORE", "0", "task.tasks * Layer<K>::BEFORE"
    ),
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """The results, from mlp.cu with all mistakes in it, and the switch."""
    folder = tmp_path_factory.mktemp("planted")
    fake = fake_cupy(folder)
    module = load_backend(fake, "cupy_mlp")
    code = plant(module.SOURCE.read_text(encoding="utf-8"), list(MISTAKES.values()))
    module.SOURCE = folder / "planted.cu"
    module.SOURCE.write_text(code, encoding="utf-8")
    network, *inputs = draw("narrow", "tasks", "float64")
    there, twin = cast(tuple(inputs), to_device), module.fuse(network)
    wanted = everything(network, *inputs)
    module._functions(twin.kernels.widths, "float64", 0)

    def switch(mistake: int) -> float:
        """Return the largest error in units of its bound."""
        for library in fake.libraries:
            ctypes.c_int.in_dll(library, "shim_mistake").value = mistake
        found = [to_host(a) for a in everything(twin, *there)]
        off = [
            np.max(np.nan_to_num(np.abs(a - b), nan=np.inf)) / np.max(np.abs(b))
            for a, b in zip(found, wanted, strict=True)
        ]
        return float(max(off)) / (64 * np.finfo("float64").eps)

    return switch


def test_nothing_is_found_where_nothing_is_planted(planted):
    assert planted(0) <= 1.0


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_is_found(planted, name):
    assert planted(1 + list(MISTAKES).index(name)) > 1e3
