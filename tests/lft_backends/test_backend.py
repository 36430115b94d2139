"""Backends are reached by name, or say in one sentence why not."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from lft_backends import backend as module
from lft_backends.backend import BackendUnavailable, get_backend
from tests.lft_backends.cuda_on_cpu.fake_cupy import fake_cupy
from tests.lft_backends.cuda_on_cpu.parity import load_backend


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["numpy", "strict"])
def test_arrays_survive_the_way_there_and_back_in_the_dtype_asked_for(name, dtype):
    backend = get_backend(name, dtype)
    host = backend.to_host(backend.asarray(np.arange(6.0).reshape(2, 3)))
    assert host.dtype == dtype
    np.testing.assert_array_equal(host, np.arange(6.0).reshape(2, 3))
    assert backend.to_host(backend.asarray(np.arange(3))).dtype == np.arange(3).dtype
    backend.synchronize()


def test_the_strict_backend_has_a_second_device():
    backend = get_backend("strict", device="device1")
    array = backend.asarray(np.ones(2))
    assert "device1" in repr(array.device)
    assert backend.to_host(array).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fortran",), "unknown backend 'fortran'; choose one of numpy"),
        (("numpy", "float16"), "unknown dtype 'float16'"),
        (("numpy", "float64", "gpu"), "found 'gpu'"),
        (("strict", "float64", "device9"), "unknown device 'device9'"),
    ],
)
def test_unknown_names_are_answered_with_the_known_ones(arguments, message):
    with pytest.raises(ValueError, match=message):
        get_backend(*arguments)


def test_a_missing_library_is_answered_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BackendUnavailable, match=r"numba is not installed.*lft-ref\[fast\]"):
        get_backend("numba")


def test_a_broken_library_is_told_from_a_missing_one(monkeypatch):
    def broken(_):
        raise ImportError("libcudart.so.12 not found")

    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(module.importlib, "import_module", broken)
    with pytest.raises(BackendUnavailable, match=r"installed but does not import \(libcudart"):
        get_backend("cupy")


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
    monkeypatch.setattr(module, "_import", lambda *_: _fake_cupy(_Error("InsufficientDriver")))
    with pytest.raises(BackendUnavailable, match=r"no usable GPU \(InsufficientDriver\)"):
        get_backend("cupy")


@pytest.mark.parametrize("device", ["2", "-1", "first"])
def test_a_gpu_number_out_of_range_names_the_range(monkeypatch, device):
    monkeypatch.setattr(module, "_import", lambda *_: _fake_cupy(2))
    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", types.ModuleType("cupy"))
    with pytest.raises(ValueError, match=r"one of 2 GPUs \(0 … 1\)"):
        get_backend("cupy", device=device)


def _working_cupy(monkeypatch, folder, version="14.2.0"):
    """A CuPy with two GPUs, of which the twins can be made."""
    cupy = fake_cupy(folder)
    cupy.__version__ = version
    cupy.used = []
    cupy.zeros, cupy.asnumpy = np.zeros, np.asarray
    cupy.cuda.Device = lambda k: types.SimpleNamespace(use=lambda: cupy.used.append(k), id=k)
    cupy.cuda.runtime.getDeviceCount = lambda: 2
    cupy.cuda.runtime.CUDARuntimeError = _Error
    monkeypatch.setattr(module, "_import", lambda *_: cupy)
    monkeypatch.setitem(sys.modules, "array_api_compat.cupy", np)
    monkeypatch.setitem(sys.modules, "lft_backends.cupy_backend", load_backend(cupy))
    return cupy


def test_cupy_comes_with_the_cuda_twins_on_the_gpu_asked_for(monkeypatch, tmp_path):
    cupy = _working_cupy(monkeypatch, tmp_path)
    backend = get_backend("cupy", "float32", "1")
    assert {f.__module__ for f in backend.ops} == {"lft_backends.cupy_backend"}
    assert (cupy.used, backend.device.id) == ([1], 1)


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
    monkeypatch.setattr(module, "_import", lambda *_: _fake_cupy(0))
    with pytest.raises(BackendUnavailable, match="shows no GPU; look at nvidia-smi"):
        get_backend("cupy")
