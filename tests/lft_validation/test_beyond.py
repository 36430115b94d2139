"""`lft reproduce table1-beyond`: more steps, another victim, sources never seen in training."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("sklearn")  # the digits

from lft_validation.cli import main
from lft_validation.experiments.uap import beyond, beyond_report, run
from lft_validation.experiments.uap.config import make_config
from lft_validation.experiments.uap.metrics import NAMES
from lft_validation.experiments.uap.run import JobKey
from lft_validation.files import write_json
from lft_validation.victims import load_victim, logits, shipped
from tests.lft_validation.run_folders import changed

TINY = (
    "--preset", "smoke", "--workers", "1", "--meta-tasks", "2", "--test-tasks", "4",
    "--lstm-units", "3", "--steps", "4", "--unroll", "2", "--order", "first",
    "--set", "table_step=3", "--long-steps", "20", "--methods", "LFT,MAML,Adam",
)  # fmt: skip
LFT = "first-order-lft-digits-seed0"


def lft(*arguments):
    return CliRunner().invoke(main, ["reproduce", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LFT_DATA", raising=False)
        patch.setattr(beyond, "find", lambda source: None)  # as where there are no data
        out = tmp_path_factory.mktemp("runs") / "beyond"
        result = lft("table1-beyond", *TINY, "--out", out)
    assert result.exit_code == 0, result.output
    return out, result.output


def test_a_run_leaves_a_table_and_a_figure(finished):
    out, output = finished
    assert {"results.json", "table.md", "beyond-digits.png", "beyond-digits.svg"} <= {
        p.name for p in out.iterdir()
    }
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["LFT", "MAML", "Adam"]
    assert all(row["unseen"] is False for row in rows)
    assert list(rows[0]["success"]) == ["0", "10", "20"]
    assert max(len(line) for line in output.splitlines() if "beyond" not in line) <= 80
    assert "| Adam | " in (out / "table.md").read_text()


def test_the_own_victim_sees_what_table_1_measured(finished):
    with np.load(finished[0] / "jobs" / LFT / "result.npz") as table1:
        start = table1["digits"][:, :, 0]
    with np.load(finished[0] / "jobs" / LFT / "beyond.npz") as further:
        own = further["digits-own"]
    assert own.shape == (len(NAMES), 4, 3)  # at steps 0, 10, 20
    np.testing.assert_array_equal(own[:, :, 0], start)
    assert not np.array_equal(own[4, :, 1], own[4, :, 2])  # and θ moves on


def test_the_other_victim_looks_at_the_same_perturbations_with_its_own_eyes(finished):
    with np.load(finished[0] / "jobs" / LFT / "beyond.npz") as further:
        own, other = further["digits-own"], further["digits-other"]
    strength = NAMES.index("strength")
    np.testing.assert_array_equal(own[strength], other[strength])
    assert not np.array_equal(own[NAMES.index("loss")], other[NAMES.index("loss")])


@pytest.mark.usefixtures("undrawn")
def test_a_run_beside_it_is_not_trained_again_and_a_finished_one_resumes(
    finished, tmp_path, monkeypatch
):
    (tmp_path / "one").symlink_to(finished[0], target_is_directory=True)
    monkeypatch.delenv("LFT_DATA", raising=False)
    monkeypatch.setattr(beyond, "find", lambda source: None)

    def refuse(*_arguments):
        raise AssertionError("something is trained again")

    monkeypatch.setattr(run, "train", refuse)
    out = tmp_path / "two"
    assert lft("table1-beyond", *TINY, "--out", out).exit_code == 0
    assert (out / "results.json").read_bytes() == (finished[0] / "results.json").read_bytes()
    monkeypatch.setattr(beyond, "follow", refuse)
    assert lft("table1-beyond", *TINY, "--out", out, "--resume").exit_code == 0


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        (lambda _: {"digits-own": None}, "lacks 'digits-own'; delete it to compute it again"),
        (lambda a: {"digits-other": a["digits-other"][:, :2]},
         "digits-other must have shape (6, 4, 3), found (6, 2, 3); delete it to"),
        (lambda a: {"digits-own": a["digits-own"].astype(str)}, "must hold real numbers, found"),
    ],
)  # fmt: skip
def test_measurements_that_were_changed_are_refused(
    finished, tmp_path, monkeypatch, arrays, sentence
):
    monkeypatch.delenv("LFT_DATA", raising=False)
    monkeypatch.setattr(beyond, "find", lambda source: None)
    out = changed(finished[0], f"jobs/{LFT}/beyond.npz", arrays, tmp_path / "run")
    result = lft("table1-beyond", *TINY, "--out", out, "--resume")
    assert result.exit_code == 2, result.output
    assert sentence in " ".join(result.output.split())


@pytest.mark.usefixtures("undrawn")
def test_a_run_can_be_stopped_after_every_part_that_it_follows(finished, tmp_path, monkeypatch):
    monkeypatch.delenv("LFT_DATA", raising=False)
    monkeypatch.setattr(beyond, "find", lambda source: None)
    monkeypatch.setattr(run, "CHUNK", 3)  # two parts of four tasks
    (tmp_path / "one").symlink_to(finished[0], target_is_directory=True)
    out, stops, known = tmp_path / "two", 0, set()

    def there_is_a_new_part(_monitor):
        now = set(out.glob("jobs/*/curves-*"))
        new = not now <= known
        known.update(now)
        return new

    with monkeypatch.context() as impatient:
        impatient.setattr("lft_validation.jobs.Monitor.check", there_is_a_new_part)
        result = lft("table1-beyond", *TINY, "--out", out)
        while result.exit_code == 130:
            stops += 1
            result = lft("table1-beyond", *TINY, "--out", out, "--resume")
    assert result.exit_code == 0, result.output
    assert stops == 3 * 2  # of three methods
    assert not [*out.glob("jobs/*/curves-*")]
    files = [folder / "jobs" / LFT / "beyond.npz" for folder in (finished[0], out)]
    at_once, in_parts = (dict(np.load(file)) for file in files)
    np.testing.assert_allclose(in_parts["digits-own"], at_once["digits-own"], rtol=1e-4)


def test_where_no_image_counts_there_is_null_and_the_table_says_so(tmp_path, capsys):
    config = make_config("smoke", {"methods": ("PGD",), "long_steps": 20})
    own, other = np.random.default_rng(0).uniform(size=(2, len(NAMES), 3, 3))
    other[NAMES.index("val")] = np.nan
    found = {("first order", "none", "PGD", "digits"): [beyond.Measured(own, other)]}
    rows = beyond_report.rows(config, found)
    write_json(tmp_path / "results.json", {"rows": rows})
    assert rows[0]["success_other"] == {"10": None, "20": None}
    assert rows[0]["success"]["10"] == pytest.approx(own[NAMES.index("val"), :, 1].mean())
    assert "| none counts |" in beyond_report.markdown(config, rows)
    beyond_report.show(rows)
    shown = capsys.readouterr().out
    assert "none counts" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert beyond_report.draw(config, found, tmp_path)


@pytest.mark.parametrize(("steps", "instead"), [(5, 10), (15, 20), (1001, 1010)])
def test_a_last_step_that_is_not_measured_is_refused(tmp_path, steps, instead):
    result = lft("table1-beyond", *TINY, "--long-steps", steps, "--out", tmp_path / "run")
    assert result.exit_code == 2, result.output
    assert (
        f"long_steps must be a multiple of 10, since every 10th step is measured, found {steps}; "
        f"use for example --long-steps {instead}"
    ) in " ".join(result.output.split())
    assert not (tmp_path / "run").exists()


def test_sources_that_are_here_are_followed_too_and_said_to_be_unseen(monkeypatch):
    config = make_config("smoke", {})
    key = JobKey("first order", "digits", "LFT", 0)
    monkeypatch.setattr(beyond, "find", lambda source: source.name == "mnist")
    assert beyond.followed_on(config, key) == ["digits", "mnist"]
    assert beyond.followed_on(config, key._replace(method="MAML")) == ["digits"]
    assert beyond.seen("mnist+cifar10", "cifar10")
    assert not beyond.seen("digits", "mnist")


@pytest.mark.parametrize("name", [name for name in shipped() if name.endswith("-mlp")])
def test_every_shipped_victim_has_one_of_another_architecture(name):
    victim, own = load_victim(name), load_victim(name.removesuffix("-mlp"))
    assert victim.about["network"] == "mlp" != own.about["network"]
    assert victim.about["shape"] == own.about["shape"]
    assert victim.about["train_sha256"] == own.about["train_sha256"]
    images = np.zeros((2, *victim.about["shape"]), np.float32)
    assert logits(victim.network, victim.weights, images).shape == (2, 10)
    assert 0.4 < victim.about["accuracy"] < 1.0
