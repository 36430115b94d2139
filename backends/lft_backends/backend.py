"""One small value that says which array library, device and precision a computation uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import is_array_api_obj

from lft_backends.libraries import (
    BROKEN,
    Unavailable,
    check_version,
    import_library,
    one_line,
    unusable,
)
from lft_ref import BLOCKWISE, AttackLoss, Network, Ops
from lft_ref.networks import Optimizee

BackendUnavailable = Unavailable  # what get_backend raises
CUPY_REMEDY = "pip install 'lft-ref[cuda12]' (or cuda13, to match the driver)"
DTYPES = ("float64", "float32")
# Arrays of earlier CuPy have no .mT, and earlier jax.numpy does not follow the standard.
MODULES = {"strict": "array_api_strict"}  # that are not called as their backend is
OLDEST = {"cupy": "14", "jax": "0.4.32", "numba": "0.60", "torch": "2.4"}


class Backend(NamedTuple):
    """How to reach an array library."""

    name: str
    xp: Any  # array namespace
    device: Any  # None for the library's default
    dtype: str
    to_host: Callable[[Any], np.ndarray]
    synchronize: Callable[[], None]
    ops: Ops = BLOCKWISE
    # Faster twins, where there are some: of an attack's loss, and of a network that is tuned.
    fuse_attack: Callable[[AttackLoss], AttackLoss] = lambda loss: loss
    fuse_optimizee: Callable[[Network], Optimizee] = lambda network: network
    # Bytes that arrays on the device can have; None where they lie in the host's memory.
    free_memory: Callable[[], int] | None = None

    def asarray(self, host: np.ndarray) -> Any:
        """Send a host array to the device; floating-point numbers are cast to ``dtype``."""
        host = np.asarray(host)
        kind = self.dtype if np.issubdtype(host.dtype, np.floating) else host.dtype.name
        dtype = getattr(self.xp, kind)
        return self.xp.asarray(host.astype(kind), dtype=dtype, device=self.device)

    def __reduce__(self) -> tuple[Any, ...]:
        """Be sent to a worker by name, which makes its own there."""
        return get_backend, (self.name, self.dtype, _device_name(self.device))

    def put(self, tree: Any) -> Any:
        """Send every host array in nested tuples and lists, such as a task, to the device."""
        return _map(self.asarray, tree, lambda a: isinstance(a, np.ndarray | np.generic))

    def get(self, tree: Any) -> Any:
        """Bring every array in nested tuples and lists to the host."""
        return _map(self.to_host, tree, is_array_api_obj)


def get_backend(name: str = "numpy", dtype: str = "float64", device: str | None = None) -> Backend:
    """Return the backend of that name.

    Args:
        name: one of :data:`BACKENDS`.
        dtype: ``float64`` or ``float32``.
        device: library-dependent, for example ``"1"`` for the second GPU; None for the default.

    Raises:
        ValueError: for an unknown name, dtype or device.
        BackendUnavailable: if the library or its device is missing, or fails.
    """
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}; choose one of {', '.join(BACKENDS)}")
    if dtype not in DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}; choose one of {', '.join(DTYPES)}")
    try:
        return BACKENDS[name](dtype, device)
    except (ValueError, MemoryError, BackendUnavailable):
        raise
    except (Exception, SystemExit) as error:  # a broken library may raise anything at all
        remedy = "" if isinstance(error, BROKEN) else "mend that, or use another --backend"
        failing = f"fails as a backend with {type(error).__name__}"
        raise unusable(MODULES.get(name, name), failing, error, remedy) from error


def _numpy(dtype: str, device: str | None) -> Backend:
    _only_cpu("numpy", device)
    import array_api_compat.numpy as xp

    return Backend("numpy", xp, None, dtype, np.asarray, lambda: None)


def _only_cpu(name: str, device: str | None) -> None:
    if device not in (None, "cpu"):
        raise ValueError(f"the {name} backend has one device, 'cpu', found {device!r}")


def _numba(dtype: str, device: str | None) -> Backend:
    """NumPy arrays, with the cell's step and vjp, and small networks, as Numba kernels."""
    _only_cpu("numba", device)
    numba = import_library("numba", "pip install 'lft-ref[fast]'", OLDEST["numba"])
    if numba.config.DISABLE_JIT:
        raise BackendUnavailable(
            "numba compiles nothing where NUMBA_DISABLE_JIT is set; unset NUMBA_DISABLE_JIT, or "
            "use --backend numpy"
        )
    from lft_backends.compiling import prepare
    from lft_backends.kernel_cache import keeping

    with keeping():
        from lft_backends import numba_attack, numba_cnn
        from lft_backends.kernels.lstm_cpu import step_pieces
        from lft_backends.numba_backend import OPS

    prepare(step_pieces.stats.cache_path)
    return _numpy(dtype, device)._replace(
        name="numba", ops=OPS, fuse_attack=numba_attack.fuse, fuse_optimizee=numba_cnn.fuse
    )


def _strict(dtype: str, device: str | None) -> Backend:
    """array-api-strict: NumPy that refuses everything outside the standard; for tests."""
    xp = import_library("array_api_strict", "pip install array-api-strict")
    known = {str(d.__repr__()).split("'")[1]: d for d in xp.__array_namespace_info__().devices()}
    known["cpu"] = xp.Device("CPU_DEVICE")
    if device is not None and device not in known:
        raise ValueError(f"unknown device {device!r} of strict; choose one of {sorted(known)}")
    cpu = xp.Device("CPU_DEVICE")
    return Backend(
        "strict",
        xp,
        None if device is None else known[device],
        dtype,
        lambda a: np.asarray(xp.asarray(a, device=cpu)),
        lambda: None,
    )


def _cupy(dtype: str, device: str | None) -> Backend:
    """CuPy arrays, with the cell's functions, and small perceptrons, as CUDA kernels."""
    cupy = import_library("cupy", CUPY_REMEDY)
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise BackendUnavailable(
            f"CuPy {cupy.__version__} is installed but finds no usable GPU ({error}); "
            "check the NVIDIA driver with nvidia-smi, or use --backend numpy"
        ) from error
    if count < 1:
        raise BackendUnavailable(
            f"CuPy {cupy.__version__} is installed but its driver shows no GPU; look at nvidia-smi "
            "and CUDA_VISIBLE_DEVICES, or use --backend numpy"
        )
    number = _device_number(device, count)
    check_version("cupy", cupy.__version__, OLDEST["cupy"], CUPY_REMEDY)
    cupy.cuda.Device(number).use()
    _compile_something(cupy)
    import array_api_compat.cupy as xp

    from lft_backends import cupy_mlp
    from lft_backends.cupy_backend import OPS

    return Backend(
        "cupy",
        xp,
        cupy.cuda.Device(number),
        dtype,
        cupy.asnumpy,
        lambda: cupy.cuda.get_current_stream().synchronize(),
        OPS,
        fuse_optimizee=cupy_mlp.fuse,
        free_memory=lambda: _free_on_gpu(cupy, number),
    )


def _free_on_gpu(cupy: Any, number: int) -> int:
    """Bytes that the GPU has free, and those that CuPy's pool keeps for its next arrays."""
    with cupy.cuda.Device(number):
        pooled = cupy.get_default_memory_pool().free_bytes()
    return int(cupy.cuda.Device(number).mem_info[0] + pooled)


def _compile_something(cupy: Any) -> None:
    """CuPy compiles every kernel when it is first used; find out now whether it can."""
    try:
        cupy.zeros(1) + 1.0
    except Exception as error:  # CUDA's libraries are missing, or of another version
        reason = one_line(error)
        raise BackendUnavailable(
            f"CuPy {cupy.__version__} finds the GPU but cannot compile for it ({reason}); install "
            "CUDA's libraries with: pip install 'cupy-cuda12x[ctk]' (13x for CUDA 13)"
        ) from error


def _device_number(device: str | None, count: int) -> int:
    number = 0 if device is None else int(device) if device.isdecimal() else -1
    if not 0 <= number < count:
        raise ValueError(
            f"device must be the number of one of {count} GPUs (0 … {count - 1}), found {device!r}"
        )
    return number


def _torch(dtype: str, device: str | None) -> Backend:
    """PyTorch tensors, on the CPU or a GPU."""
    import_library("torch", "pip install 'lft-ref[torch]'", OLDEST["torch"])
    from lft_backends.torch_backend import make

    return make(dtype, device)


def _jax(dtype: str, device: str | None) -> Backend:
    """JAX arrays; every operation runs at once, nothing is compiled ahead."""
    import_library("jax", "pip install 'lft-ref[jax]'", OLDEST["jax"])
    from lft_backends.jax_backend import make

    return make(dtype, device)


def _device_name(device: Any) -> str | None:
    """How ``--device`` calls it."""
    if hasattr(device, "platform"):  # JAX
        return f"{device.platform}:{device.id}"
    if hasattr(device, "id"):  # CuPy
        return str(device.id)
    if hasattr(device, "type"):  # PyTorch
        return str(device)
    return None if device is None else repr(device).split("'")[1]  # array-api-strict


def _map(f: Callable[[Any], Any], tree: Any, is_leaf: Callable[[Any], bool]) -> Any:
    if is_leaf(tree):
        return f(tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(_map(f, branch, is_leaf) for branch in tree))
    if isinstance(tree, tuple | list):
        return type(tree)(_map(f, branch, is_leaf) for branch in tree)
    return tree


BACKENDS: dict[str, Callable[[str, str | None], Backend]] = {
    "numpy": _numpy,
    "numba": _numba,
    "cupy": _cupy,
    "torch": _torch,
    "jax": _jax,
    "strict": _strict,
}
