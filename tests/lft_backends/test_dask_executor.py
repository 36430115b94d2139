"""A Dask cluster that is not there, says nothing, or loses what works for it: one sentence each."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
import types
from concurrent.futures import CancelledError

import pytest

from lft_backends import dask_executor
from lft_backends.executors import Choice, Lost, open_executor
from lft_backends.libraries import Unavailable


def _square(x: int) -> int:
    return x * x


class _FakeDask:
    """As much of Dask as is needed to see what its failures turn into."""

    class KilledWorker(Exception):
        pass

    comm = types.SimpleNamespace(CommClosedError=type("CommClosedError", (OSError,), {}))

    def __init__(self, client):
        self.client = client

    def Client(self, address, **_):
        return self.client(address)


def _client(status="running", workers=True):
    def wait_for_workers(n, timeout):
        if not workers:
            raise TimeoutError

    return types.SimpleNamespace(
        status=status, wait_for_workers=wait_for_workers, nthreads=lambda: {"a": 1, "b": 2},
        get_executor=lambda pure: types.SimpleNamespace(submit=lambda f, *a: f(*a)),
        close=lambda timeout=None: None,
    )  # fmt: skip


def _connected(monkeypatch, client):
    fake = _FakeDask(client)
    monkeypatch.setattr(dask_executor, "import_library", lambda *_: fake)
    return fake, open_executor(Choice("dask", address="node1:8786"))


def test_a_scheduler_that_does_not_answer_is_answered_with_how_to_start_one(monkeypatch):
    def refuses(address):
        raise OSError(f"no answer from {address}")

    _, opened = _connected(monkeypatch, refuses)
    with (
        pytest.raises(Unavailable, match=r"dask://node1:8786; .* dask scheduler --port 8786"),
        opened,
    ):
        pass


def test_a_scheduler_without_workers_is_answered_with_how_to_start_one(monkeypatch):
    _, opened = _connected(monkeypatch, lambda _: _client(workers=False))
    with pytest.raises(Unavailable, match=r"no workers; .* --nthreads 1 tcp://node1:8786"), opened:
        pass


def test_a_lost_scheduler_and_a_deadly_task_are_told_apart(monkeypatch):
    client = _client()
    fake, opened = _connected(monkeypatch, lambda _: client)
    with opened as executor:
        assert (executor.workers, executor.submit(_square, 3)) == (3, 9)
        assert executor.trouble(None) == executor.trouble(ValueError("own")) == ""
        assert "killed several workers" in executor.trouble(fake.KilledWorker())
        assert "is gone" in executor.trouble(CancelledError())
        assert "is gone" in executor.trouble(fake.comm.CommClosedError())
        client.status = "connecting"
        with pytest.raises(Lost, match="scheduler of dask://node1:8786 is gone; start it again"):
            executor.submit(_square, 3)


def test_what_takes_a_connection_and_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(dask_executor, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(dask_executor, "GRACE_SECONDS", 0.1)
    end = threading.Event()
    _, opened = _connected(monkeypatch, lambda _: end.wait(60))
    message = r"^what listens at dask://node1:8786 does not answer as .*; .*: dask scheduler$"
    try:
        with pytest.raises(Unavailable, match=message), opened:
            pass
    finally:
        end.set()


ASK = """
import sys
from lft_backends import dask_executor
from lft_backends.executors import open_executor, parse
dask_executor.ANSWER_SECONDS = dask_executor.GRACE_SECONDS = 0.5
try:
    with open_executor(parse(sys.argv[1])):
        pass
except dask_executor.Unavailable as error:
    print(error)
"""


@pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None,
    reason="distributed is not installed: pip install 'lft-ref[cluster]'",
)
def test_a_port_where_another_program_listens_is_given_up():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"dask://127.0.0.1:{silent.getsockname()[1]}"
        found = subprocess.run(
            [sys.executable, "-c", ASK, where],
            env=environment, capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    assert found.stdout.startswith(f"what listens at {where} does not answer as a Dask scheduler")


class _Cluster:
    """Workers that come and go; says when it has been asked for them since."""

    def __init__(self, monkeypatch):
        monkeypatch.setattr(dask_executor, "LOOK_SECONDS", 0.01)
        self.client, self.asked = _client(), threading.Condition()
        self.workers, self.looks = {"a": 1}, 0
        self.client.nthreads = self._nthreads

    def _nthreads(self):
        with self.asked:
            self.looks += 1
            self.asked.notify_all()
            if self.workers is None:
                raise OSError("the connection is busy")
            return self.workers

    def has(self, workers):
        """Change the workers, and wait until what was heard of them has been written down."""
        with self.asked:
            self.workers, seen = workers, self.looks
            assert self.asked.wait_for(lambda: self.looks > seen + 1, 60)


def test_a_cluster_without_workers_for_a_while_is_lost_and_for_a_moment_is_not(monkeypatch):
    cluster = _Cluster(monkeypatch)
    _, opened = _connected(monkeypatch, lambda _: cluster.client)
    with opened as executor:
        cluster.has({})
        assert executor.trouble(None) == ""
        cluster.has({"a": 1})
        monkeypatch.setattr(dask_executor, "LOST_SECONDS", 0.1)
        time.sleep(0.2)
        assert executor.submit(_square, 3) == 9
        cluster.has({})
        time.sleep(0.2)
        with pytest.raises(Lost) as caught:
            executor.submit(_square, 3)
    assert str(caught.value) == (
        "the scheduler of dask://node1:8786 has had no workers for 0.1 s; start one on each "
        "machine with: dask worker --nthreads 1 tcp://node1:8786"
    )


def test_a_scheduler_that_cannot_be_asked_for_its_workers_is_not_called_deserted(monkeypatch):
    monkeypatch.setattr(dask_executor, "LOST_SECONDS", 0.05)
    cluster = _Cluster(monkeypatch)
    _, opened = _connected(monkeypatch, lambda _: cluster.client)
    with opened as executor:
        cluster.has(None)
        time.sleep(0.1)
        assert executor.trouble(None) == ""
