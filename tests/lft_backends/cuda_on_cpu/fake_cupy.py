"""As much of CuPy as its twins use, on NumPy arrays and with kernels compiled by g++.

It is stricter than CuPy: a kernel's arguments must have exactly the types of its signature, new
arrays are filled with NaN, and whatever would bring a number to the host raises.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
import types
from pathlib import Path
from typing import Any

import numpy as np

from tests.device_array import DeviceArray

HERE = Path(__file__).parent
GXX = shutil.which("g++")
FLAGS = ("-std=c++17", "-O1", "-Wall", "-Wno-unknown-pragmas", "-Wno-unused-function")
EXACT = ("-ffp-contract=off", "-fno-gnu-unique")  # no fused multiply-add; each library its own data
LETTERS = {"int32": "i", "int64": "q", "float32": "f", "float64": "d"}
GRID_LIMIT = (2**31 - 1, 65535)


def compile_with_gxx(
    folder: Path, code: str, options: tuple[str, ...], main: str = "entry.cpp", *flags: str
) -> Path:
    """Compile a CUDA source's ``code`` behind the shim into a shared library, or a program."""
    defined = [option for option in options if option.startswith("-D")]
    kind = ("-shared", "-fPIC") if main == "entry.cpp" else ()
    key = hashlib.sha256(repr((code, defined, main, flags)).encode()).hexdigest()[:16]
    target = folder / f"{key}{'.so' if kind else ''}"
    if not target.exists():
        source = folder / f"{key}.cu"
        source.write_text(code, encoding="utf-8")
        command = [
            str(GXX), *FLAGS, *EXACT, *flags, *kind, *defined, f'-DLFT_SOURCE="{source}"',
            "-o", str(target), str(HERE / main), "-lpthread",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "warning" not in done.stderr, done.stderr
    return target


class Kernel:
    """Stands in for ``RawKernel``."""

    def __init__(self, library: ctypes.CDLL, name: str, log: list[str], backwards: bool) -> None:
        letters = ctypes.create_string_buffer(64)
        assert library.shim_signature(name.encode(), letters), f"no kernel {name}"
        self.signature = letters.value.decode()
        self.shim, self.name, self.log, self.backwards = library, name, log, backwards

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple) -> None:
        grid, block = (*grid, 1)[:2], (*block, 1)[:2]
        assert all(1 <= size <= most for size, most in zip(grid, GRID_LIMIT, strict=True)), grid
        assert 1 <= block[0] * block[1] <= 1024
        assert len(args) == len(self.signature), f"{self.name}: {len(args)} arguments"
        assert len({a.dtype for a in args if isinstance(a, np.ndarray)}) == 1
        values = [self._value(a, letter) for a, letter in zip(args, self.signature, strict=True)]
        pointers = (ctypes.c_void_p * len(args))(*(v.ctypes.data for v in values))
        sizes = (ctypes.c_uint * 2)(*grid), (ctypes.c_uint * 2)(*block)
        self.log.append(self.name)
        self.shim.shim_launch(self.name.encode(), pointers, *sizes, self.backwards)

    def _value(self, a: Any, letter: str) -> np.ndarray:
        if isinstance(a, np.ndarray):
            assert letter == "P", f"{self.name}: an array for {letter}"
            assert a.flags.c_contiguous
            return np.asarray(a.ctypes.data)
        assert isinstance(a, np.generic), f"{self.name}: {a!r} has no fixed size"
        assert LETTERS[a.dtype.name] == letter, f"{self.name}: {a.dtype} for {letter}"
        return np.asarray(a)


class ConstantMemory:
    """Stands in for the ``MemoryPointer`` of a constant symbol."""

    def __init__(self, library: ctypes.CDLL) -> None:
        size = ctypes.c_size_t()
        self.address, self.size = library.shim_constant(ctypes.byref(size)), 0
        self.size = size.value

    def copy_from_device_async(self, source: Any, size: int, stream: Any) -> None:
        assert stream is not None
        assert size == self.size, f"{size} bytes for a symbol of {self.size}"
        ctypes.memmove(self.address, np.asarray(source).ctypes.data, size)


class RawModule:
    """Stands in for ``cupy.RawModule``."""

    def __init__(self, *, code: str, options: tuple[str, ...]) -> None:
        self.log = self.made.log
        library = ctypes.CDLL(str(compile_with_gxx(self.made.folder, code, options)))
        library.shim_constant.restype = ctypes.c_void_p
        self.shim = library
        self.made.libraries.append(library)

    made: types.SimpleNamespace

    def get_function(self, name: str) -> Kernel:
        return Kernel(self.shim, name, self.log, self.made.backwards)

    def get_global(self, name: str) -> ConstantMemory:
        assert name == "lft_phi"
        return ConstantMemory(self.shim)


class Stream:
    """Remembers who waited for whom."""

    def __init__(self, ptr: int) -> None:
        self.ptr, self.waited_for = ptr, []

    def record(self) -> tuple[str, int]:
        return ("event", self.ptr)

    def wait_event(self, event: tuple[str, int]) -> None:
        self.waited_for.append(event)


def fake_cupy(folder: Path, *, backwards: bool = False) -> types.ModuleType:
    """Return a module to be put in CuPy's place; ``backwards`` runs blocks and threads so."""
    module: Any = types.ModuleType("cupy")
    module.log, module.libraries, module.folder, module.backwards = [], [], folder, backwards
    module.stream = Stream(0)
    module.RawModule = type("RawModule", (RawModule,), {"made": module})
    module.ascontiguousarray = lambda a: np.ascontiguousarray(a).view(DeviceArray)
    module.empty = lambda shape, dtype: np.full(shape, np.nan, dtype).view(DeviceArray)
    module.concatenate = lambda arrays: np.concatenate(arrays).view(DeviceArray)
    module.cuda = types.SimpleNamespace(
        get_current_stream=lambda: module.stream,
        runtime=types.SimpleNamespace(getDevice=lambda: 0),
    )
    return module
