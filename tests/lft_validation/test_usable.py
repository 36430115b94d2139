"""What a run needs is compared with the memory that its arrays can have: the device's, or ours."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from lft_backends.backend import get_backend
from lft_validation.cli import main
from lft_validation.errors import UserError
from lft_validation.experiments import usable
from lft_validation.experiments.fewshot import needs
from lft_validation.experiments.fewshot.config import make_config


class Device:
    """A backend whose device has memory of its own, beside a host that has plenty."""

    def __init__(self, monkeypatch) -> None:
        self.free = 0
        monkeypatch.setattr(usable, "get_backend", self.backend)
        monkeypatch.setattr("lft_backends.backend.get_backend", self.backend)
        monkeypatch.setattr(usable, "free_memory", lambda: 10**15)

    def backend(self, _name, dtype="float64", _device=None):
        return get_backend("numpy", dtype)._replace(free_memory=lambda: self.free)


@pytest.fixture
def device(monkeypatch):
    return Device(monkeypatch)


def test_an_unroll_is_cut_to_the_memory_of_the_device(device):
    config = make_config("table2", "paper", {"meta_batch": 40, "chunk": 40})
    whole, cut = (needs.memory_bytes(config, s) for s in (None, 12))
    assert whole > cut
    device.free = 2 * whole
    assert needs.fitting_segment(config, 2) is None
    for workers in (1, 2):  # they share the device
        device.free = workers * cut
        assert needs.fitting_segment(config, workers) == 12
    device.free = 2**10
    with pytest.raises(UserError, match=r"and 0\.0 GiB are free on the device; use fewer"):
        needs.fitting_segment(config, 2)


@pytest.mark.parametrize(
    "command",
    [
        "reproduce figure4 --preset smoke",
        "reproduce table1 --preset smoke",
        "reproduce figureA4 --preset smoke",
        "reproduce table1-beyond --preset smoke",
        "finetune digits",
        "attack",
    ],
)
def test_a_command_that_does_not_fit_on_the_device_says_so(device, command, monkeypatch, tmp_path):
    pytest.importorskip("sklearn")  # the digits
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LFT_DATA", str(tmp_path))
    result = CliRunner().invoke(main, command.split())
    assert result.exit_code == 2
    assert "and 0.0 GiB are free on the device; use" in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ("--backend torch", "local"),
        ("--set backend=torch", "local"),
        ("--backend torch --share tasks", "local, tasks of one job at a time"),
        ("--backend torch --workers 2", "processes 2"),
        ("--backend torch --executor processes:3", "processes 3"),
        ("--backend torch --set device=1", "processes 5"),  # no name of a device: refused later
        ("--backend numpy", "processes 5"),
        ("", "processes 5"),
    ],
)
def test_on_a_gpu_one_process_works_unless_the_user_asks_for_more(monkeypatch, given, where):
    from lft_validation import jobs
    from lft_validation.experiments.figure4 import main as figure4

    def backend(name, dtype="float64", device=None):
        free = (lambda: 10**12) if name == "torch" else None
        return get_backend("numpy", dtype)._replace(free_memory=free)

    plans = []
    monkeypatch.setattr(usable, "get_backend", backend)
    monkeypatch.setattr(jobs, "cores", lambda: 5)
    monkeypatch.setattr(figure4, "reproduce", lambda *arguments: plans.append(arguments[4].fit(8)))
    result = CliRunner().invoke(main, ["reproduce", "figure4", *given.split()])
    assert result.exit_code == 0, result.output
    (plan,) = plans
    assert plan.describe() == where


def test_a_backend_that_is_not_there_shares_nothing():
    assert not usable.shares_one_device("no such backend")
    assert not usable.shares_one_device("numpy", "no such device")


def test_without_memory_of_its_own_a_backend_has_the_hosts(monkeypatch):
    monkeypatch.setattr(usable, "free_memory", lambda: 100)
    for backend in (None, get_backend("numpy")):
        assert usable.fits(50, 2, backend)
        assert not usable.fits(51, 2, backend)
        assert usable.free_words(backend) == "0.0 GiB are free"
