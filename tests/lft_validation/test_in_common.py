"""A cluster's worker whose images differ from the run's is refused, with what mends it."""

from __future__ import annotations

import os
import pickle
import socket
from concurrent.futures import Future
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from lft_backends.executors import Choice, Executor
from lft_validation import datasets, in_common
from lft_validation.cli import main
from lft_validation.datasets import read_once
from lft_validation.errors import UserError
from lft_validation.experiments import running
from lft_validation.files import write_bytes
from lft_validation.in_common import InCommon, check_worker, recorded
from lft_validation.jobs import Job, Plan, run_jobs
from lft_validation.runs import installed
from tests.lft_validation.image_files import images, write_cifar, write_idx, write_mnist

HOST = socket.gethostname()


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """A process that has read no image yet, here and on the other machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    forget()
    yield
    forget()


def forget() -> None:
    read_once.cache_clear()
    in_common._checksum.cache_clear()


def elsewhere(folder, monkeypatch) -> None:
    """From now on this process is one of another machine, whose data are in ``folder``."""
    monkeypatch.setenv("LFT_DATA", str(folder))
    forget()


def sums(*names):
    data = {n: {s: datasets.load(n, s).record() for s in ("train", "test")} for n in names}
    return recorded({"steps": 3, "data": data | {"digits": {"victim_accuracy": 0.9}}})


@pytest.fixture
def ours(tmp_path, monkeypatch):
    """This machine's data, and their checksums."""
    write_mnist(tmp_path / "ours" / "mnist")
    write_cifar(tmp_path / "ours" / "cifar-10-batches-bin")
    elsewhere(tmp_path / "ours", monkeypatch)
    return InCommon(installed(), sums("mnist", "cifar10"))


def test_the_same_images_pass_however_their_files_are_packed(ours, tmp_path, monkeypatch):
    assert len(ours.images) == 4
    write_mnist(tmp_path / "theirs" / "mnist")
    write_cifar(tmp_path / "theirs" / "cifar-10-batches-bin")
    file = tmp_path / "theirs" / "mnist" / "t10k-images-idx3-ubyte.gz"
    import gzip

    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()), compresslevel=1, mtime=1))
    elsewhere(tmp_path / "theirs", monkeypatch)
    check_worker(ours)


def test_a_worker_with_other_images_is_named_with_its_files_and_the_remedy(
    ours, tmp_path, monkeypatch
):
    write_mnist(tmp_path / "theirs" / "mnist")
    write_cifar(tmp_path / "theirs" / "cifar-10-batches-bin")
    write_idx(tmp_path / "theirs" / "mnist", "t10k", images(3, (1, 28, 28), seed=9))
    elsewhere(tmp_path / "theirs", monkeypatch)
    with pytest.raises(UserError) as caught:
        check_worker(ours)
    folder = tmp_path / "theirs" / "mnist"
    assert caught.value.message == (
        f"the worker of --executor on {HOST} has other test images of mnist than this run, in "
        f"{folder}/t10k-images-idx3-ubyte.gz, {folder}/t10k-labels-idx1-ubyte.gz; copy this "
        "machine's there (lft data list says where mnist is), start the worker again, and go on "
        "with --resume"
    )
    sent = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - as a cluster sends it
    assert sent.message == caught.value.message


def test_other_digits_are_another_scikit_learn(monkeypatch):
    wanted = InCommon(installed(), sums("digits"))
    check_worker(wanted)
    other = {("digits", "test"): "0" * 64}
    with pytest.raises(UserError, match="in scikit-learn; install the same scikit-learn there"):
        check_worker(wanted._replace(images=other))


def test_a_worker_without_images_is_named_and_may_get_them(ours, tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir()
    elsewhere(tmp_path / "theirs", monkeypatch)
    with pytest.raises(UserError) as caught:
        check_worker(ours)
    start = f"the worker of --executor on {HOST} cannot read its images: no mnist in "
    assert caught.value.message.startswith(start)
    assert "lft data fetch mnist" in caught.value.message
    write_mnist(tmp_path / "theirs" / "mnist")
    write_cifar(tmp_path / "theirs" / "cifar-10-batches-bin")
    check_worker(ours)


def on_other_machine(folder, monkeypatch) -> Executor:
    """A cluster whose one worker has its data in ``folder``; functions and results are pickled."""

    def submit(function, *arguments):
        future: Future = Future()
        here = os.environ["LFT_DATA"]
        elsewhere(folder, monkeypatch)
        try:
            sent = pickle.loads(pickle.dumps((function, arguments)))  # noqa: S301 - our own
            future.set_result(sent[0](*sent[1]))
        except Exception as error:  # noqa: BLE001 - a future carries any
            future.set_exception(error)
        finally:
            elsewhere(here, monkeypatch)
        return future

    return Executor("other", 1, submit, lambda _: "")


def leave(x, folder):
    (folder / f"{x}.txt").write_text("done")


def share_two(jobs, monitor):
    for _ in monitor.map(leave, [(1, jobs), (2, jobs)]):
        pass


def alone(jobs, monitor):
    write_bytes(jobs / "alone" / "left.txt", b"done")


@pytest.mark.parametrize("share", ["jobs", "tasks"])
@pytest.mark.parametrize("same", [True, False])
def test_nothing_is_computed_from_other_images(ours, tmp_path, monkeypatch, share, same):
    jobs, theirs = tmp_path / "jobs", tmp_path / "theirs"
    jobs.mkdir()
    write_mnist(theirs / "mnist", train=5 if same else 4)
    write_cifar(theirs / "cifar-10-batches-bin")
    job = Job("alone", alone if share == "jobs" else share_two, (jobs,), 1.0)
    plan = Plan(Choice("dask", address="node1:8786"), share)
    executor = on_other_machine(theirs, monkeypatch)
    if same:
        run_jobs([job], plan, lambda _: None, executor, ours.images)
    else:
        with pytest.raises(UserError, match="has other train images of mnist than this run"):
            run_jobs([job], plan, lambda _: None, executor, ours.images)
    assert any(jobs.rglob("*.txt")) == same


def test_a_run_hands_its_recorded_checksums_on(tmp_path, monkeypatch):
    @contextmanager
    def opened(_):
        yield on_other_machine(tmp_path, monkeypatch)

    def digits():
        found = right()
        if os.environ["LFT_DATA"] == str(tmp_path):
            found.pixels[-1, 0, 3, 3] += 1
        return found

    right = datasets.bundled_digits
    monkeypatch.setenv("LFT_DATA", str(tmp_path.parent))
    monkeypatch.setattr(datasets, "bundled_digits", digits)
    monkeypatch.setattr(running, "opened", opened)
    result = CliRunner().invoke(
        main,
        ["reproduce", "table2", "--preset", "smoke", "--methods", "SGD", "--set",
         'testing=["digits"]', "--executor", "dask://node1:8786", "--out", str(tmp_path / "run")],
    )  # fmt: skip
    assert result.exit_code == 2, result.output
    words = " ".join(result.output.split())
    assert f"on {HOST} has other test images of digits than this run" in words
    assert "Traceback" not in words
