"""A cluster's worker whose images differ from the run's is refused, with what mends it."""

from __future__ import annotations

import os
import pickle
import socket
from concurrent.futures import Future
from contextlib import contextmanager

import numpy as np
import pytest
from click.testing import CliRunner

from lft_backends.executors import Choice, Executor
from lft_validation import datasets, in_common
from lft_validation.cli import main
from lft_validation.datasets import read_once
from lft_validation.errors import UserError
from lft_validation.experiments import running
from lft_validation.experiments.groups import _made
from lft_validation.experiments.uap.config import make_config
from lft_validation.experiments.uap.methods import meta_task
from lft_validation.experiments.uap.needs import check_usable
from lft_validation.files import write_bytes
from lft_validation.in_common import check_worker, recorded
from lft_validation.jobs import Job, Plan, run_jobs
from lft_validation.victims import known_by, load_victim, save_victim, victim_with
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
    victim_with.cache_clear()


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
    return sums("mnist", "cifar10")


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
    wanted = sums("digits")
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
        run_jobs([job], plan, lambda _: None, executor, ours)
    else:
        with pytest.raises(UserError, match="has other train images of mnist than this run"):
            run_jobs([job], plan, lambda _: None, executor, ours)
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


# Victims ------------------------------------------------------------------------------------------


def retrained(file, times):
    """Write a victim of the digits whose weights are those of the package, times a number."""
    victim = load_victim("digits")
    save_victim(file, victim._replace(weights=victim.weights * victim.weights.dtype.type(times)))
    return file


def run_of(file):
    """The settings of a run with a victim of one's own, and what its workers must have."""
    config, data = check_usable(make_config("smoke", {"victims": (f"digits={file}",)}))
    return config, recorded(config.to_json() | {"data": data})


def first_task(config):
    """What a worker computes with, through all that it keeps from one job to the next."""
    return _made(meta_task, (config, "digits", 0, "LFT", range(2)))


def test_a_worker_that_lives_on_computes_with_a_victim_that_was_trained_anew(tmp_path):
    file = retrained(tmp_path / "mine.npz", 1)
    before, wanted = run_of(file)
    check_worker(wanted)
    old = first_task(before).objective.weights
    retrained(file, 2)
    after, wanted = run_of(file)
    check_worker(wanted)
    np.testing.assert_array_equal(first_task(after).objective.weights, 2 * old)
    np.testing.assert_array_equal(first_task(before).objective.weights, old)  # a run that goes on


def test_a_worker_with_another_victim_is_named_with_its_file_and_the_remedy(tmp_path):
    file = retrained(tmp_path / "mine.npz", 1)
    config, wanted = run_of(file)
    check_worker(pickle.loads(pickle.dumps(wanted)))  # noqa: S301 - as a cluster sends it
    forget()
    retrained(file, 2)
    with pytest.raises(UserError) as caught:
        check_worker(wanted)
    assert caught.value.message == (
        f"the worker of --executor on {HOST} has another victim digits than this run, in {file}; "
        "copy this machine's file there, and go on with --resume"
    )
    with pytest.raises(UserError, match="was changed after the run started; put that file back"):
        first_task(config)  # nor is it taken by a fresh process of this machine
    of_tanh = load_victim(retrained(file, 1))
    save_victim(file, of_tanh._replace(about=of_tanh.about | {"activation": "tanh"}))
    forget()
    with pytest.raises(UserError, match="has another victim digits than this run"):
        check_worker(wanted)  # the same weights in another network
    file.unlink()
    with pytest.raises(UserError, match=f"on {HOST} cannot read its victim digits: .*mine.npz"):
        check_worker(wanted)
    retrained(file, 1)
    check_worker(wanted)


def test_victims_of_other_architectures_and_of_the_package_are_compared_too(tmp_path):
    file = retrained(tmp_path / "mine.npz", 1)
    weights, settings = ("0" * 64, "1" * 64), ({"network": "small"}, {"network": "mlp"})
    digits = {"victim_sha256": weights[0], "other_victim_sha256": weights[1]}
    digits |= {"victim_settings": settings[0], "other_victim_settings": settings[1]}
    found = recorded({"victims": [f"digits-mlp={file}"], "data": {"digits": digits}}).victims
    first, second = map(known_by, weights, settings)
    assert found == {"digits": (None, first), "digits-mlp": (str(file), second)}
    for name, words in (("digits", "in lft-ref; install the same there"), ("digits-mlp", "copy")):
        with pytest.raises(UserError, match=f"another victim {name} than this run, .*{words}"):
            check_worker(recorded({})._replace(victims={name: found[name]}))
