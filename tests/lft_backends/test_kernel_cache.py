"""Compiled kernels that were damaged or cannot be kept are compiled again: no run ends for them."""

from __future__ import annotations

import errno
import importlib.util
import subprocess
import sys

import pytest

pytest.importorskip("numba", reason="the extra 'fast' is not installed")

from numba.core import caching, dispatcher

from lft_backends import compiling, kernel_cache
from lft_backends.kernel_cache import KernelCache, keeping

KERNELS = """
from numba import njit

@njit(cache=True)
def twice(x):
    return x + x

@njit(cache=True)
def thrice(x):
    return x + x + x
"""
WIRED = """
import sys
from lft_backends.backend import get_backend
get_backend("numba")
caches = [
    type(f._cache).__name__
    for name, module in list(sys.modules.items()) if name.startswith("lft_backends.kernels.")
    for f in vars(module).values() if hasattr(f, "enable_caching")
]
print(*sorted(set(caches)))
"""


@pytest.fixture(autouse=True)
def nothing_was_said(monkeypatch):
    monkeypatch.setattr(kernel_cache.not_kept, "said", False)


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """Import the kernels as a new process would; their cache is in ``tmp_path``."""
    monkeypatch.setattr(caching.config, "CACHE_DIR", str(tmp_path / "kept"))
    file = tmp_path / "small_kernels.py"
    file.write_text(KERNELS)

    def load():
        spec = importlib.util.spec_from_file_location("small_kernels", file)
        module = importlib.util.module_from_spec(spec)
        with keeping():
            spec.loader.exec_module(module)
        return module

    return load


def hits(function) -> int:
    return sum(function.stats.cache_hits.values())


def test_what_is_kept_is_found_again_and_nothing_is_said(fresh, capsys):
    assert fresh().twice(1.5) == 3.0
    again = fresh().twice
    assert again(1.5) == 3.0
    assert hits(again) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("kind", "left"), [("nbi", 100), ("nbi", 0), ("nbc", 100), ("nbc", 0)])
def test_a_damaged_file_is_dropped_and_its_kernel_compiled_again(fresh, tmp_path, kind, left):
    first = fresh()
    assert (first.twice(1.5), first.twice(2), first.thrice(1.5)) == (3.0, 4, 4.5)
    kept = [*tmp_path.glob(f"kept/*/small_kernels.twice-*.{kind}")]
    assert len(kept) == {"nbi": 1, "nbc": 2}[kind]
    for file in kept:
        file.write_bytes(file.read_bytes()[:left])
    second = fresh()
    assert (second.twice(1.5), second.twice(2), second.thrice(1.5)) == (3.0, 4, 4.5)
    assert (hits(second.twice), hits(second.thrice)) == (0, 1)
    third = fresh()
    assert (third.twice(1.5), third.twice(2)) == (3.0, 4)
    assert hits(third.twice) == 2


def test_no_folder_that_can_be_written_is_said_once_and_costs_a_compilation(
    fresh, monkeypatch, capsys
):
    def refuses(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(caching.tempfile, "TemporaryFile", refuses)
    module = fresh()
    assert (module.twice(1.5), module.thrice(1.5)) == (3.0, 4.5)
    assert module.twice.stats.cache_path is None
    (line,) = capsys.readouterr().err.splitlines()
    assert "not kept (neither " in line
    assert "__pycache__ nor the user's cache folder can be written)" in line
    assert line.endswith("set NUMBA_CACHE_DIR to a folder that has room and can be written")


def test_a_full_disk_is_said_once_and_costs_a_compilation(fresh, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "_save_data", full)
    module = fresh()
    assert (module.twice(1.5), module.twice(2), module.thrice(1.5)) == (3.0, 4, 4.5)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"not kept ({tmp_path / 'kept'}" in line
    assert ": No space left on device), so" in line
    assert "set NUMBA_CACHE_DIR to a folder" in line


def test_a_file_that_cannot_be_read_or_removed_is_said_and_costs_a_compilation(
    fresh, tmp_path, capsys
):
    assert fresh().twice(1.5) == 3.0
    (index,) = tmp_path.glob("kept/*/small_kernels.twice-*.nbi")
    index.unlink()
    index.mkdir()
    assert fresh().twice(1.5) == 3.0
    assert f"not kept ({index.parent}: " in capsys.readouterr().err


def test_kernels_of_other_projects_keep_numbas_own_cache(fresh):
    assert isinstance(fresh().twice._cache, KernelCache)
    assert dispatcher.FunctionCache is caching.FunctionCache


def test_all_kernels_of_the_backend_have_this_cache():
    found = subprocess.run(
        [sys.executable, "-c", WIRED], capture_output=True, text=True, check=True
    ).stdout.split()  # fmt: skip
    assert found == ["KernelCache", "NullCache"], "NullCache: those that only kernels call"


def test_who_was_told_that_nothing_is_kept_is_not_told_that_it_is(monkeypatch, capsys):
    kernel_cache.not_kept("no room")
    kernel_cache.not_kept("still none")
    compiling.Announcer()._explain()
    (line,) = capsys.readouterr().err.splitlines()
    assert "not kept (no room)" in line
    monkeypatch.setattr(compiling.event, "register", lambda *_: None)
    compiling.prepare.__wrapped__(None)  # no folder, so nothing to drop
