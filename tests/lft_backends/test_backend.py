"""Backends are reached by name, or say in one sentence why not."""

from __future__ import annotations

import pickle
import types

import numpy as np
import pytest

from lft_backends import backend as module
from lft_backends import libraries
from lft_backends.backend import BackendUnavailable, get_backend
from lft_ref import CrossEntropy, Data, NetworkLoss, Task, mlp
from tests.libraries import usable


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
    monkeypatch.setattr(libraries.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BackendUnavailable, match=r"numba is not installed.*lft-ref\[fast\]"):
        get_backend("numba")


def test_a_broken_library_is_told_from_a_missing_one(monkeypatch):
    def broken(_):
        raise ImportError("libcudart.so.12 not found")

    monkeypatch.setattr(libraries.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(libraries.importlib, "import_module", broken)
    with pytest.raises(BackendUnavailable, match=r"installed but does not import \(libcudart"):
        get_backend("cupy")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (AttributeError("no attribute 'cuda'"), "install it again with: pip install --force-re"),
        (ImportError("cannot import name 'njit'"), "install it again with: pip install --force-re"),
        (SystemExit("boo"), "install it again with: pip install --force-reinstall "),
        (RuntimeError("devices unavailable"), "mend that, or use another --backend"),
        (RuntimeError("set LIBRARY_PLATFORMS=''"), "unset LIBRARY_PLATFORMS, or give another val"),
    ],
)
def test_whatever_a_broken_library_raises_is_one_sentence(monkeypatch, error, remedy):
    def make(*_):
        raise error

    monkeypatch.setenv("LIBRARY_PLATFORMS", "abacus")
    monkeypatch.setitem(module.BACKENDS, "library", make)
    with pytest.raises(BackendUnavailable) as caught:
        get_backend("library")
    said = str(caught.value)
    kind = type(error).__name__
    assert said.startswith(f"library is installed but fails as a backend with {kind} ")
    assert f"({error}); {remedy}" in said


@pytest.mark.parametrize("error", [ValueError("device 9"), MemoryError("of the card")])
def test_wrong_arguments_and_want_of_memory_are_no_fault_of_the_library(monkeypatch, error):
    def make(*_):
        raise error

    monkeypatch.setitem(module.BACKENDS, "library", make)
    with pytest.raises(type(error), match=str(error)):
        get_backend("library")


def test_a_numba_that_compiles_nothing_is_answered_with_the_variable(monkeypatch):
    numba = pytest.importorskip("numba", reason="the extra 'fast' is not installed")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    with pytest.raises(BackendUnavailable, match=r"; unset NUMBA_DISABLE_JIT, or use --backend"):
        get_backend("numba")


def test_backends_on_the_host_leave_memory_to_the_host():
    assert get_backend("numpy").free_memory is None
    assert get_backend("strict").free_memory is None


# PyTorch and JAX ----------------------------------------------------------------------------------


JAX = pytest.param("jax", marks=pytest.mark.jax)


def test_torch_says_what_is_free_on_a_gpu_and_in_its_cache(monkeypatch):
    torch = pytest.importorskip("torch")
    from lft_backends.torch_backend import _free_on_gpu

    assert usable("torch").free_memory is None  # a CPU's is the host's
    sizes = {"memory_reserved": 70, "memory_allocated": 30, "mem_get_info": (500, 8000)}
    for name, size in sizes.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, size=size: size)
    assert _free_on_gpu(torch.device("cuda:1")) == 540


@pytest.mark.jax
def test_jax_says_what_is_free_where_it_keeps_account(x64):
    pytest.importorskip("jax")
    from lft_backends.jax_backend import _free_on_device

    assert usable("jax", "float64", "cpu").free_memory is None
    stats = {"bytes_limit": 900, "bytes_in_use": 200}
    assert _free_on_device(types.SimpleNamespace(memory_stats=lambda: stats)) == 700


@pytest.mark.jax
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("stats", "known"),
    [(None, False), ({"bytes_in_use": 3}, False), ({"bytes_limit": 9, "bytes_in_use": 3}, True)],
)
def test_some_allocators_of_jax_keep_no_account(monkeypatch, stats, known):
    jax = pytest.importorskip("jax")
    from lft_backends.jax_backend import make

    device = types.SimpleNamespace(memory_stats=lambda: stats)
    monkeypatch.setattr(jax, "devices", lambda: [device])
    assert (make("float64", None).free_memory is not None) == known


@pytest.fixture
def x64(monkeypatch):
    """JAX with 64 bits, as a user sets it."""
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["numpy", "torch", JAX])
def test_a_task_goes_there_and_back(name, dtype):
    backend = usable(name, dtype)
    data = Data(np.arange(6.0).reshape(2, 3), np.asarray([1, 0]))
    task = Task(NetworkLoss(mlp((3, 2)), CrossEntropy()), data, data, np.zeros(8))
    there = backend.put(task)
    assert there.objective == task.objective
    assert there.train.x.dtype == getattr(backend.xp, dtype)
    back = backend.get(there)
    np.testing.assert_array_equal(back.train.x, data.x)
    assert back.train.x.dtype == dtype
    assert back.val.y.dtype == np.int64
    backend.synchronize()


def test_torch_says_which_devices_it_has():
    usable("torch", "float64", "cpu")
    with pytest.raises(ValueError, match=r"PyTorch here has the devices cpu.*, found 'tpu'"):
        get_backend("torch", "float64", "tpu")


@pytest.mark.jax
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("device", ["nowhere", "cpu:99", "cpu:one"])
def test_jax_says_which_devices_it_has(device):
    assert usable("jax", "float64", "cpu").device.platform == "cpu"
    with pytest.raises(ValueError, match=rf"jax here has the devices .*, found '{device}'"):
        get_backend("jax", "float64", device)


@pytest.mark.jax
def test_jax_without_64_bits_is_answered_with_the_variable_that_sets_them():
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(BackendUnavailable, match="set the environment variable JAX_ENABLE_X64"):
            get_backend("jax")
    finally:
        jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("numba", "0.58.1", r"numba 0\.58\.1 is too old, 0\.60 .*pip install -U 'lft-ref\[fast\]'"),
        ("torch", "1.13.0", r"torch 1\.13\.0 is too old, 2\.4 .*pip install -U 'lft-ref\[torch\]'"),
        ("jax", "0.4.9", r"jax 0\.4\.9 is too old, 0\.4\.32 .*pip install -U 'lft-ref\[jax\]'"),
    ],
)
def test_a_library_that_is_too_old_is_answered_with_the_update(monkeypatch, name, version, message):
    old = types.SimpleNamespace(__version__=version)
    monkeypatch.setattr(libraries.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(libraries.importlib, "import_module", lambda _: old)
    with pytest.raises(BackendUnavailable, match=message):
        get_backend(name)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("numpy", None),
        ("strict", "device1"),
        ("torch", "cpu"),
        pytest.param("jax", "cpu:0", marks=pytest.mark.jax),
    ],
)
def test_a_backend_is_sent_to_a_worker_by_name(name, device):
    if name == "jax":
        pytest.importorskip("jax")
    backend = usable(name, "float32", device)
    sent = pickle.loads(pickle.dumps(backend))  # noqa: S301 - our own
    assert (sent.name, sent.dtype, sent.device, sent.ops) == (
        name, "float32", backend.device, backend.ops,
    )  # fmt: skip
    assert sent.xp is backend.xp


def test_a_gpu_is_sent_to_a_worker_by_number():
    assert module._device_name(types.SimpleNamespace(id=1)) == "1"
