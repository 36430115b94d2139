"""Executors: every form of ``--executor``, and one sentence for a library that cannot be used."""

from __future__ import annotations

import os
import tomllib
import types
from pathlib import Path

import pytest

from lft_backends import libraries, ray_executor
from lft_backends.executors import RETRIES, Choice, open_executor, parse
from lft_backends.libraries import Unavailable, check_version, import_library


def _square(x: int) -> int:
    return x * x


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("local", Choice("local")),
        ("processes:3", Choice("processes", 3)),
        ("dask://node1:8786", Choice("dask", address="node1:8786")),
        ("ray", Choice("ray")),
        ("ray://node1:10001", Choice("ray", address="node1:10001")),
    ],
)
def test_every_form_of_executor_is_read(text, choice):
    assert parse(text) == choice


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"must be local, processes:N, dask://HOST:PORT, ray or .* found ''"),
        ("threads:2", r"must be local, processes:N.* found 'threads:2'"),
        ("processes", r"needs N of at least 1, found 'processes'"),
        ("processes:0", r"needs N of at least 1, found 'processes:0'"),
        ("processes:two", r"needs N of at least 1"),
        ("dask", r"must be local"),
        ("dask://", r"needs a host and a port, such as dask://node1:8786"),
        ("dask://node1", r"needs a host and a port"),
        ("dask://node1:high", r"needs a host and a port"),
        ("ray://:0", r"such as ray://node1:10001, found 'ray://:0'"),
        ("ray://node1:99999", r"needs a host and a port"),
    ],
)
def test_other_values_are_answered_with_the_known_forms(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


def _missing(monkeypatch):
    monkeypatch.setattr(libraries.importlib.util, "find_spec", lambda _: None)


def _broken(monkeypatch):
    def fails(name):
        raise AttributeError("module 'numpy' has no attribute\n'float'")

    monkeypatch.setattr(libraries.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(libraries.importlib, "import_module", fails)


def _old(monkeypatch):
    old = types.SimpleNamespace(__version__="2.9.3")
    monkeypatch.setattr(libraries.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(libraries.importlib, "import_module", lambda _: old)


CLUSTER = r"'lft-ref\[cluster\]'$"
SENTENCES = {
    _missing: rf"^KIND is not installed; install it with: pip install {CLUSTER}",
    _broken: (
        r"^KIND is installed but does not import \(module 'numpy' has no attribute 'float'\); "
        r"install it again with: pip install --force-reinstall KIND$"
    ),
    _old: rf"^KIND 2\.9\.3 is too old, OLDEST or newer is needed; .*: pip install -U {CLUSTER}",
}


@pytest.mark.parametrize(("kind", "oldest"), [("dask", "2024.8"), ("ray", "2.35")])
@pytest.mark.parametrize("damage", SENTENCES)
def test_a_library_that_cannot_be_used_is_named_with_the_command(monkeypatch, kind, oldest, damage):
    damage(monkeypatch)
    message = SENTENCES[damage].replace("KIND", kind).replace("OLDEST", oldest)
    with (
        pytest.raises(Unavailable, match=message),
        open_executor(Choice(kind, address="node1:8786")),
    ):
        pass


def test_versions_are_compared_as_numbers():
    check_version("x", "2024.10.1", "2024.8", "pip install x")
    check_version("x", "14.0.0rc1", "14", "pip install x")
    with pytest.raises(Unavailable, match=r"x 0\.4\.9 is too old, 0\.4\.32 or newer"):
        check_version("x", "0.4.9", "0.4.32", "pip install x")


def test_a_library_that_ends_the_program_when_imported_is_broken(monkeypatch):
    def ends(name):
        raise SystemExit("boo")

    monkeypatch.setattr(libraries.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(libraries.importlib, "import_module", ends)
    with pytest.raises(Unavailable, match=r"^dask is installed but does not import \(boo\); "):
        import_library("dask", "pip install dask")


def test_a_library_that_lacks_what_is_needed_is_broken(monkeypatch):
    part = types.SimpleNamespace(__version__="2099.1", __file__="there/distributed.py")
    monkeypatch.setattr(libraries.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(libraries.importlib, "import_module", lambda _: part)
    message = (
        r"^distributed is installed but has no Client \(there/distributed\.py\); install it again "
        r"with: pip install --force-reinstall distributed$"
    )
    with (
        pytest.raises(Unavailable, match=message),
        open_executor(Choice("dask", address="node1:8786")),
    ):
        pass


@pytest.mark.parametrize(
    ("error", "blamed"),
    [
        (ValueError("Number of threads specified must be > 0."), "NUMBA_NUM_THREADS"),
        (ValueError("invalid truth value 'x' for 'NUMBA_DEBUG'"), "NUMBA_DEBUG"),
        (ValueError("of another kind"), "NUMBA_DEBUG and NUMBA_NUM_THREADS"),
        (RuntimeError("NUMBA_DEBUG is odd"), "NUMBA_DEBUG"),
        (RuntimeError("of another kind"), ""),
    ],
)
def test_a_variable_that_a_library_refuses_is_named(monkeypatch, error, blamed):
    def refuses(name):
        raise error

    for name in [name for name in os.environ if name.startswith("NUMBA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NUMBA_DEBUG", "x")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "0")
    monkeypatch.setattr(libraries.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(libraries.importlib, "import_module", refuses)
    with pytest.raises(Unavailable) as caught:
        import_library("numba", "pip install numba")
    what, _, remedy = str(caught.value).rpartition("; ")
    assert str(error) in what
    if blamed:
        assert remedy == f"unset {blamed}, or give another value"
        assert all(f"{name}={os.environ[name]}" in what for name in blamed.split(" and "))
    else:
        assert remedy == "install it again with: pip install --force-reinstall numba"


def test_a_package_half_removed_counts_as_missing(monkeypatch):
    def fails(name):
        raise ValueError("x.__spec__ is None")

    monkeypatch.setattr(libraries.importlib.util, "find_spec", fails)
    with pytest.raises(Unavailable, match="x is not installed"):
        import_library("x", "pip install x")


class _FakeRay:
    """As much of Ray as is needed to see what its failures turn into."""

    exceptions = types.SimpleNamespace(
        WorkerCrashedError=type("WorkerCrashedError", (Exception,), {}),
        NodeDiedError=type("NodeDiedError", (Exception,), {}),
        RaySystemError=type("RaySystemError", (Exception,), {}),
    )

    def __init__(self, failure=None):
        self.failure, self.calls, self.up = failure, [], False

    def init(self, address, **settings):
        if self.failure is not None:
            raise self.failure
        self.calls.append((address, settings))
        self.up = True

    def remote(self, max_retries):
        self.calls.append(max_retries)
        future = types.SimpleNamespace

        def bind(function):
            return future(remote=lambda *a: future(future=lambda: function(*a)))

        return bind

    def is_initialized(self):
        return self.up

    def cluster_resources(self):
        return {"CPU": 3.0}

    def shutdown(self):
        self.up = False


def test_ray_does_tasks_again_and_says_what_is_lost(monkeypatch):
    ray = _FakeRay()
    monkeypatch.setattr(ray_executor, "import_library", lambda *_: ray)
    with open_executor(Choice("ray", address="node1:10001")) as executor:
        assert ray.calls[0][0] == "ray://node1:10001"
        assert (ray.calls[1], executor.workers, executor.submit(_square, 4)) == (RETRIES, 3, 16)
        assert executor.trouble(None) == executor.trouble(ValueError("own")) == ""
        assert "killed several workers" in executor.trouble(ray.exceptions.NodeDiedError())
        assert "ray://node1:10001 is gone" in executor.trouble(ConnectionError())
        ray.up = False
        assert "is gone; start it again" in executor.trouble(None)
    assert not ray.is_initialized()


def test_ray_elsewhere_needs_rays_client(monkeypatch):
    monkeypatch.setattr(
        ray_executor, "import_library",
        lambda name, *_: import_library("no_such_grpc", "pip install 'lft-ref[cluster]'")
        if name == "grpc" else _FakeRay(),
    )  # fmt: skip
    message = (
        r"^ray:// needs Ray's client, and no_such_grpc is not installed; install it with: "
        r"pip install 'lft-ref\[cluster\]'$"
    )
    with (
        pytest.raises(Unavailable, match=message),
        open_executor(Choice("ray", address="node1:10001")),
    ):
        pass
    with open_executor(Choice("ray")) as executor:  # which needs none
        assert executor.workers == 3


def test_the_extra_brings_rays_client():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    assert any(entry.startswith("ray[client]") for entry in extras["cluster"])


def test_a_ray_that_does_not_answer_is_answered_with_how_to_start_one(monkeypatch):
    ray = _FakeRay(ConnectionError("ray client\nconnection timeout"))
    monkeypatch.setattr(ray_executor, "import_library", lambda *_: ray)
    message = (
        r"^ray://node1:10001 does not answer \(ray client connection timeout\); start it with: "
        r"ray start --head --ray-client-server-port 10001$"
    )
    with (
        pytest.raises(Unavailable, match=message),
        open_executor(Choice("ray", address="node1:10001")),
    ):
        pass
