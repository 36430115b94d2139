"""Who waits for kernels to be compiled is told so, once."""

from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("numba", reason="the extra 'fast' is not installed")

from numba.core.event import Event, EventStatus

from lft_backends import compiling
from lft_backends.compiling import LINE, Announcer

KERNEL = "lft_backends.kernels.lstm_cpu"
FIRST_USE = """
import numpy as np
from lft_backends import compiling
from lft_backends.backend import get_backend
compiling.PATIENCE = 0.0
backend = get_backend("numba")
from lft_ref import Network, Dense, mlp
network = backend.fuse_optimizee(mlp((1, 2, 1)))
network.activations(np.zeros(network.size), np.zeros((3, 1)))
"""


def compile_for(announcer, seconds, module=KERNEL):
    """Two events as Numba sends them, one within the other."""
    data = {"dispatcher": SimpleNamespace(py_func=SimpleNamespace(__module__=module))}
    start, end = (Event("numba:compile", s, data) for s in (EventStatus.START, EventStatus.END))
    for one in (start, start, end):
        announcer.notify(one)
    time.sleep(seconds)
    announcer.notify(end)


def test_a_long_wait_is_explained_once_and_a_short_one_not_at_all(monkeypatch, capsys):
    monkeypatch.setattr(compiling, "PATIENCE", 0.2)
    announcer = Announcer()
    compile_for(announcer, 0.0)
    assert capsys.readouterr().err == ""
    for _ in range(2):
        compile_for(announcer, 1.0)
    assert capsys.readouterr().err == f"{LINE}\n"


def test_many_short_waits_are_a_long_one(monkeypatch, capsys):
    monkeypatch.setattr(compiling, "PATIENCE", 0.5)
    announcer = Announcer()
    for _ in range(7):
        compile_for(announcer, 0.1)
    time.sleep(0.1)
    assert capsys.readouterr().err == f"{LINE}\n"


def test_what_others_compile_is_their_affair(monkeypatch, capsys):
    monkeypatch.setattr(compiling, "PATIENCE", 0.0)
    compile_for(Announcer(), 0.3, "somebody.elses")
    assert capsys.readouterr().err == ""


def test_the_first_use_of_a_network_is_explained_and_the_second_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    said = [
        subprocess.run(
            [sys.executable, "-c", FIRST_USE], capture_output=True, text=True, check=True
        ).stderr
        for _ in range(2)
    ]
    assert said == [f"{LINE}\n", ""]


def test_kernels_of_other_sources_are_forgotten_and_nothing_else(tmp_path):
    sources, kept = tmp_path / "kernels", tmp_path / "cache"
    for folder in (sources, kept):
        folder.mkdir()
    for name in ("a.py", "b.py"):
        (sources / name).write_text("1")
    compiling.forget_stale(kept, sources)
    compiled = [kept / name for name in ("a.f-1.py311.nbi", "b.g-2.py311.1.nbc")]
    others = [kept / name for name in ("ab.f-1.py311.nbi", "a.cpython-311.pyc")]
    for file in [*compiled, *others]:
        file.touch()
    compiling.forget_stale(kept, sources)
    assert all(file.exists() for file in [*compiled, *others])
    (sources / "b.py").write_text("2")
    compiling.forget_stale(kept, sources)
    assert not any(file.exists() for file in compiled)
    assert all(file.exists() for file in others)


def test_a_folder_that_cannot_be_written_is_left_alone(tmp_path):
    (tmp_path / "no folder").write_text("")
    compiling.forget_stale(tmp_path / "no folder", tmp_path)
