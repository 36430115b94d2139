"""NVRTC compiles the kernels for the GPUs in use, within what their multiprocessors have."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import os
import re
from pathlib import Path

import pytest

from tests.lft_backends.cuda_on_cpu.fake_cupy import fake_cupy
from tests.lft_backends.cuda_on_cpu.parity import load_backend

pytestmark = pytest.mark.nvrtc
INSTALL = "pip install nvidia-cuda-nvrtc-cu12"  # 90 MB, so no extra asks for it
KERNELS = {"lft_pack", "lft_step", "lft_vjp", "lft_sum", "lft_forward"}
INPUT = {1: 1, 2: 2, 4: 0}  # m -> LFT_INPUT


def libraries() -> list[str]:
    """Where NVRTC may lie: in a wheel, in a toolkit, or where the loader looks."""
    found = []
    spec = importlib.util.find_spec("nvidia")
    roots = list(spec.submodule_search_locations or []) if spec is not None else []
    for root in [*roots, os.environ.get("CUDA_PATH", "/usr/local/cuda")]:
        found += [str(p) for p in sorted(Path(root).glob("**/libnvrtc.so.1[0-9]*"))]
    named = ctypes.util.find_library("nvrtc")
    return found + ([named] if named else [])


@pytest.fixture(scope="module")
def nvrtc() -> ctypes.CDLL:
    for name in libraries():
        try:
            return ctypes.CDLL(name)
        except OSError:  # for another machine, or without its own libraries
            continue
    pytest.skip(f"NVRTC is not installed: {INSTALL}")


def compile_for(nvrtc: ctypes.CDLL, arch: str, code: str, chosen: tuple[str, ...]) -> str:
    """Compile to machine code and return the compiler's log, with ptxas' account of resources."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    flags = [f"--gpu-architecture={arch}", "--ptxas-options=-v", *chosen]
    array = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
    arguments = ctypes.byref(program), code.encode(), b"kernels.cu", 0, None, None
    assert nvrtc.nvrtcCreateProgram(*arguments) == 0
    status = nvrtc.nvrtcCompileProgram(program, len(flags), array)
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    assert status == 0, log.value.decode()
    return log.value.decode()


def resources(log: str) -> dict[str, dict[str, int]]:
    """Registers, bytes of local memory ("stack frame" and spills), and of shared memory."""
    found = {}
    parts = re.split(r"Compiling entry function '(\w+)'", log)
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        patterns = {"registers": r"Used (\d+) registers", "shared": r"(\d+) bytes smem"}
        patterns |= {"local": r"(\d+) bytes stack frame", "spilled": r"(\d+) bytes spill stores"}
        matches = {key: re.search(pattern, text) for key, pattern in patterns.items()}
        found[name] = {key: int(match[1]) if match else 0 for key, match in matches.items()}
    return found


@pytest.mark.parametrize(
    ("arch", "dtype", "n", "m"),
    [
        ("sm_80", "float32", 10, 2),
        ("sm_90", "float64", 10, 2),
        ("sm_90", "float32", 3, 1),
        ("sm_80", "float64", 20, 2),
        ("sm_80", "float32", 64, 2),
        ("sm_90", "float64", 64, 4),
    ],
)
def test_kernels_compile_and_keep_to_registers(nvrtc, arch, dtype, n, m, tmp_path):
    backend = load_backend(fake_cupy(tmp_path))
    code = backend.SOURCE.read_text(encoding="utf-8")
    log = compile_for(nvrtc, arch, code, backend.options(n, m, dtype, INPUT[m]))
    assert "warning" not in log
    found = resources(log)
    assert set(found) == KERNELS
    for name, used in found.items():
        assert 0 < used["registers"] <= 255, (name, used)
        assert used["shared"] <= backend.SHARED_BYTES, (name, used)
        # ptxas gives up two or three registers where one more block then fits on a multiprocessor;
        # gates of all units at once would be thousands of bytes.
        most = 0 if n in (10, 64) else 16
        assert used["local"] <= most, (name, used)
        assert used["spilled"] <= most, (name, used)
    assert found["lft_vjp"]["shared"] > 0


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("widths", [(1, 40, 40, 1), (3, 2), (784, 32, 32, 5)])
def test_kernels_of_perceptrons_compile_and_keep_to_registers(nvrtc, arch, dtype, widths, tmp_path):
    twin = load_backend(fake_cupy(tmp_path), "cupy_mlp")
    code = twin.SOURCE.read_text(encoding="utf-8")
    log = compile_for(nvrtc, arch, code, twin.options(widths, dtype))
    assert "warning" not in log
    found = resources(log)
    assert set(found) == {f"lft_mlp_{name}" for name in twin.NAMES}
    for name, used in found.items():
        assert 0 < used["registers"] <= 64, (name, used)  # so that a multiprocessor holds 4 blocks
        assert used["local"] == used["spilled"] == 0, (name, used)


def test_a_kernel_that_spills_is_noticed(nvrtc, tmp_path):
    """Sixteen blocks on a multiprocessor leave each thread 32 registers, too few for the vjp."""
    backend = load_backend(fake_cupy(tmp_path))
    code = backend.SOURCE.read_text(encoding="utf-8")
    right = "__launch_bounds__(BLOCK)\n    lft_vjp"
    assert code.count(right) == 1
    wrong = code.replace(right, "__launch_bounds__(BLOCK, 16)\n    lft_vjp")
    log = compile_for(nvrtc, "sm_90", wrong, backend.options(20, 2, "float64", 2))
    assert resources(log)["lft_vjp"]["local"] > 16
