"""CuPy is reached with the CUDA twins on the GPU asked for, or says in one sentence why not."""

from __future__ import annotations

import sys
import types
from functools import partial

import numpy as np
import pytest

from lft_backends import backend as module
from lft_backends.backend import BackendUnavailable, get_backend
from tests.lft_backends.cuda_on_cpu.fake_cupy import fake_cupy
from tests.lft_backends.cuda_on_cpu.parity import load_backend


class _Error(RuntimeError):
    pass


def _fake_cupy(devices: int | Exception) -> types.SimpleNamespace:
    """Stand in for CuPy's probe only: no array is ever made on it."""

    def count() -> int:
        if isinstance(devices, Exception):
            raise devices
        return devices

    runtime = types.SimpleNamespace(getDeviceCount=count, CUDARuntimeError=_Error)
    return types.SimpleNamespace(__version__="14", cuda=types.SimpleNamespace(runtime=runtime))


def test_cupy_without_a_driver_says_so(monkeypatch):
    monkeypatch.setattr(
        module, "import_library", lambda *_: _fake_cupy(_Error("InsufficientDriver"))
    )
    with pytest.raises(BackendUnavailable, match=r"no usable GPU \(InsufficientDriver\)"):
        get_backend("cupy")


@pytest.mark.parametrize("device", ["2", "-1", "first"])
def test_a_gpu_number_out_of_range_names_the_range(monkeypatch, device):
    monkeypatch.setattr(module, "import_library", lambda *_: _fake_cupy(2))
    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", types.ModuleType("cupy"))
    with pytest.raises(ValueError, match=r"one of 2 GPUs \(0 … 1\)"):
        get_backend("cupy", device=device)


class _Device:
    """Stands in for ``cupy.cuda.Device``: within ``with`` it is the current one."""

    def __init__(self, cupy, number):
        self.id, self.mem_info = number, ((100, 2000)[number], 8000)
        self.use = lambda: cupy.used.append(number)
        self.current = cupy.current

    def __enter__(self):
        self.current.append(self.id)

    def __exit__(self, *_):
        self.current.pop()


def _working_cupy(monkeypatch, folder, version="14.2.0"):
    """A CuPy with two GPUs, of which the twins can be made."""
    cupy = fake_cupy(folder)
    cupy.__version__ = version
    cupy.used = []
    cupy.zeros, cupy.asnumpy = np.zeros, np.asarray
    cupy.current, cupy.cuda.Device = [0], partial(_Device, cupy)
    cupy.get_default_memory_pool = lambda: types.SimpleNamespace(
        free_bytes=lambda: (3, 40)[cupy.current[-1]]  # of the current device
    )
    cupy.cuda.runtime.getDeviceCount = lambda: 2
    cupy.cuda.runtime.CUDARuntimeError = _Error
    monkeypatch.setattr(module, "import_library", lambda *_: cupy)
    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", np)
    for name in ("cupy_backend", "cupy_mlp"):
        monkeypatch.setitem(sys.modules, f"lft_backends.{name}", load_backend(cupy, name))
    return cupy


def test_cupy_comes_with_the_cuda_twins_on_the_gpu_asked_for(monkeypatch, tmp_path):
    cupy = _working_cupy(monkeypatch, tmp_path)
    backend = get_backend("cupy", "float32", "1")
    assert {f.__module__ for f in backend.ops} == {"lft_backends.cupy_backend"}
    assert backend.fuse_optimizee.__module__ == "lft_backends.cupy_mlp"
    assert (cupy.used, backend.device.id) == ([1], 1)


@pytest.mark.parametrize(("device", "free"), [("0", 103), ("1", 2040)])
def test_cupy_says_what_is_free_on_its_gpu_and_in_its_pool(monkeypatch, tmp_path, device, free):
    cupy = _working_cupy(monkeypatch, tmp_path)
    assert get_backend("cupy", device=device).free_memory() == free
    assert cupy.current == [0]


def test_a_cupy_that_is_too_old_is_answered_with_the_update(monkeypatch, tmp_path):
    _working_cupy(monkeypatch, tmp_path, version="13.6.0")
    with pytest.raises(BackendUnavailable, match=r"13\.6\.0 is too old.*pip install -U 'lft-ref"):
        get_backend("cupy")


def test_a_cupy_that_cannot_compile_is_answered_with_cudas_libraries(monkeypatch, tmp_path):
    def fails(_):
        raise RuntimeError("CuPy failed to load libnvrtc.so.12:\n OSError")

    _working_cupy(monkeypatch, tmp_path).zeros = fails
    with pytest.raises(BackendUnavailable, match=r"libnvrtc.so.12: OSError\); install .*\[ctk\]"):
        get_backend("cupy")


def test_cupy_without_a_gpu_says_so(monkeypatch):
    monkeypatch.setattr(module, "import_library", lambda *_: _fake_cupy(0))
    with pytest.raises(BackendUnavailable, match="shows no GPU; look at nvidia-smi"):
        get_backend("cupy")
