"""``lft reproduce figure4`` from the command line to a finished folder."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import threading

import numpy as np
import pytest
from click.testing import CliRunner

from lft_ref import LogSign
from lft_validation.cli import main
from lft_validation.errors import UserError
from lft_validation.experiments.figure4 import run as run_module
from lft_validation.experiments.figure4.config import (
    FIRST,
    METHODS,
    PRESETS,
    ZEROTH,
    Config,
    make_config,
)
from lft_validation.experiments.figure4.methods import make_setup, meta_task, training_batches
from lft_validation.experiments.figure4.run import JobKey, chunks, job_key
from lft_validation.experiments.method_jobs import Part, run_parts
from lft_validation.files import write_arrays
from lft_validation.jobs import Monitor
from tests.lft_validation.run_folders import told_divergence

TINY = (
    "--preset", "smoke", "--workers", "1", "--meta-tasks", "4", "--test-tasks", "6",
    "--hidden", "5", "--lstm-units", "3", "--steps", "4", "--unroll", "2", "--long-steps", "6",
)  # fmt: skip


def lft(*arguments: str):
    return CliRunner().invoke(main, ["reproduce", *arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    result = lft("figure4", *TINY, "--out", str(out))
    assert result.exit_code == 0, result.output
    return out, result.output


def test_a_run_leaves_everything_that_was_promised(finished):
    out, output = finished
    names = {p.name for p in out.iterdir()}
    wanted = {"config.json", "results.json", "table.md", "log.txt", "jobs"}
    wanted |= {f"figure4{long}.{kind}" for long in ("", "-long") for kind in ("png", "svg")}
    assert wanted <= names
    results = json.loads((out / "results.json").read_text())
    assert len(results["rows"]) == 2 * len(METHODS)
    assert all(row["tasks"] == 6 for row in results["rows"])
    assert "Figure 4" in output
    assert "verdict" in output
    table = (out / "table.md").read_text()
    assert all(f"| {method} |" in table for method in METHODS)
    config = json.loads((out / "config.json").read_text())
    assert config["config"]["unroll"] == 2
    assert "numpy" in config["versions"]


def test_every_method_starts_from_the_same_tasks_and_random_initialisation(finished):
    rows = json.loads((finished[0] / "results.json").read_text())["rows"]
    starts = {
        row["method"]: row["at"]["0"]["mean"]
        for row in rows
        if not row["method"].startswith("MAML")
    }
    assert len(set(starts.values())) == 1


def test_the_output_fits_eighty_columns(finished):
    assert max(len(line) for line in finished[1].splitlines() if "runs" not in line) <= 80


@pytest.mark.no_cover
def test_a_run_stopped_in_the_middle_resumes_to_the_same_results(finished, tmp_path, monkeypatch):
    looks = 0

    def stop_sometimes(self):
        nonlocal looks
        looks += 1
        return looks in (3, 9, 20, 31)

    out = tmp_path / "stopped"
    monkeypatch.setattr("lft_validation.jobs.Monitor.check", stop_sometimes)
    codes = [lft("figure4", *TINY, "--out", str(out)).exit_code]
    while codes[-1] == 130:
        codes.append(lft("figure4", *TINY, "--out", str(out), "--resume").exit_code)
    assert codes == [130, 130, 130, 130, 0]
    for name in ("results.json", "table.md", "figure4.svg", "figure4.png"):
        assert (out / name).read_bytes() == (finished[0] / name).read_bytes()


@pytest.mark.no_cover
@pytest.mark.usefixtures("undrawn")
def test_two_processes_give_the_same_bits_as_one(finished, tmp_path):
    two = [*TINY, "--out", str(tmp_path / "two")]
    two[two.index("--workers") + 1] = "2"
    assert lft("figure4", *two).exit_code == 0
    assert (tmp_path / "two" / "results.json").read_bytes() == (
        finished[0] / "results.json"
    ).read_bytes()


@pytest.mark.usefixtures("undrawn")
def test_finished_jobs_of_another_run_are_taken_over_and_others_computed(
    finished, tmp_path, monkeypatch
):
    trained = []
    original = run_module._train
    monkeypatch.setattr(run_module, "_train", lambda *a: trained.append(a[1].name) or original(*a))
    more = lft("figure4", *TINY, "--seeds", "2", "--methods", "SGD,MAML", "--order", "first",
               "--out", str(tmp_path / "more"), "--reuse", str(finished[0]))  # fmt: skip
    assert more.exit_code == 0
    assert sorted(trained) == ["first-order-maml-seed1", "first-order-sgd-seed1"]
    again = lft("figure4", *TINY, "--methods", "SGD", "--directions", "3",
                "--out", str(tmp_path / "other-q"), "--reuse", str(finished[0]))  # fmt: skip
    assert again.exit_code == 0
    assert trained[2:] == ["zeroth-order-sgd-seed0"]  # q does not touch the first order


@pytest.mark.usefixtures("undrawn")
def test_a_damaged_result_is_named_and_the_others_are_kept(finished, tmp_path):
    out = tmp_path / "damaged"
    assert lft("figure4", *TINY, "--methods", "SGD,Adam", "--out", str(out)).exit_code == 0
    victim = out / "jobs" / "first-order-sgd-seed0" / "result.npz"
    victim.write_bytes(victim.read_bytes()[:100])
    result = lft("figure4", *TINY, "--methods", "SGD,Adam", "--out", str(out), "--resume")
    assert result.exit_code == 2
    assert "result.npz is not a readable" in " ".join(result.output.split())
    victim.unlink()
    assert lft(
        "figure4", *TINY, "--methods", "SGD,Adam", "--out", str(out), "--resume"
    ).exit_code == 0  # fmt: skip


def test_a_finished_fine_tuner_comes_back_whatever_became_of_its_file(finished, tmp_path):
    out = tmp_path / "r"
    shutil.copytree(finished[0], out)
    there = [path.relative_to(out) for path in sorted(out.glob("jobs/*/phi.npz"))]
    assert len(there) == 6
    (out / there[0]).unlink()
    (out / there[1]).write_bytes(b"")
    (out / there[2]).write_bytes((out / there[3]).read_bytes())
    assert lft("figure4", *TINY, "--out", str(out), "--resume").exit_code == 0
    for path in there:
        assert (out / path).read_bytes() == (finished[0] / path).read_bytes()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(3), r"curves must have shape \(6, 7\), found \(3,\); delete it to compute it"),
        (np.full((6, 7), "x"), "curves must hold real numbers, found <U1; delete it to compute"),
        (None, "lacks 'curves'; delete it to compute it again"),
    ],
)
def test_tested_parts_that_do_not_fit_are_named(tmp_path, value, message):
    arrays = {} if value is None else {"curves": value}
    write_arrays(tmp_path / "curves-000.npz", "kind-1", "me", arrays)
    monitor = Monitor(0, [0.0], threading.Event(), os.getpid())
    part = Part("000", 1.0, lambda: np.zeros((6, 7)), (6, 7))
    with pytest.raises(UserError, match=message):
        run_parts([part], tmp_path, "kind-1", "me", monitor, 0.0)


def test_training_that_diverges_ends_with_exit_code_1(tmp_path):
    wild = ["--methods", "LFT", "--order", "first", "--learning-rate", "1e30"]
    result = lft("figure4", *TINY, *wild, "--out", str(tmp_path / "r"))
    assert result.exit_code == 1
    told = told_divergence(result, tmp_path)
    assert "at task batch 1 of 2: the loss of fine-tuning step 3 of 4 (update 2 of 2" in told


def test_maml_that_diverges_names_the_inner_step(tmp_path):
    wild = ["--methods", "MAML", "--order", "first", "--set", "maml.alpha=1e30"]
    result = lft("figure4", *TINY, *wild, "--out", str(tmp_path / "r"))
    assert result.exit_code == 1
    assert "at task batch 1 of 1: the loss of inner step" in told_divergence(result, tmp_path)


def test_job_keys_depend_on_what_the_job_depends_on_and_nothing_else():
    config = make_config("paper", {})
    key = JobKey(FIRST, "LFT", 0)
    same = dataclasses.replace(config, seeds=(5,), methods=("LFT",), mu=1.0, adam_zo_rate=1.0)
    assert job_key(config, key) == job_key(same, key)
    assert job_key(config, key) != job_key(dataclasses.replace(config, unroll=10), key)
    assert job_key(config, JobKey(ZEROTH, "LFT", 0)) != job_key(same, JobKey(ZEROTH, "LFT", 0))
    assert job_key(config, key) != job_key(config, JobKey(FIRST, "LFT", 1))


def test_any_setting_can_be_changed_by_name():
    config = make_config("quick", {"maml.passes": 3, "adam_rate": 1, "hidden": [7]})
    assert (config.maml.passes, config.adam_rate, config.hidden) == (3, 1.0, (7,))
    assert config.maml_tuned == PRESETS["quick"].maml_tuned


def test_a_second_pass_meets_the_same_tasks_from_other_starts():
    config = dataclasses.replace(PRESETS["smoke"], passes=2)
    first, again = (
        meta_task(config, FIRST, 0, "LFT", range(i, i + 1)) for i in (1, 1 + config.meta_tasks)
    )
    assert training_batches(config, "LFT") == 2 * config.meta_tasks // config.meta_batch
    np.testing.assert_array_equal(first.train.x, again.train.x)
    np.testing.assert_array_equal(first.val.y, again.val.y)
    assert not np.any(first.theta_0 == again.theta_0)


def test_the_fine_tuner_is_what_the_settings_say():
    config = make_config("smoke", {"p": 3, "second_order": False})
    tuner = make_setup(config, FIRST, 0).tuner
    assert (tuner.cell.preprocess, tuner.second_order) == (LogSign(3.0), False)
    with pytest.raises(UserError, match="p must be positive"):
        make_config("smoke", {"p": 0})


@pytest.mark.parametrize("long_steps", [4, 9])
def test_tasks_followed_as_long_as_all_others_are_still_told_from_them(long_steps):
    config = Config(test_tasks=130, long_tasks=60, steps=4, long_steps=long_steps)
    curves = [np.full((len(tasks), steps + 1), tasks.start) for tasks, steps in chunks(config)]
    joined = run_module._joined(config, curves)
    assert joined["short"].shape == (130, 5)
    assert joined["long"].shape == (60, long_steps + 1)


def test_chunks_cover_every_test_task_once_and_the_long_ones_first():
    for long in (130, 60):
        config = Config(test_tasks=130, long_tasks=long)
        parts = chunks(config)
        assert [task for tasks, _ in parts for task in tasks] == list(range(130))
        assert sum(len(tasks) for tasks, steps in parts if steps == config.long_steps) == long


def test_the_presets_are_valid_and_the_papers_counts_are_the_papers():
    for name in PRESETS:
        make_config(name, {})
    paper = make_config("paper", {})
    counts = (paper.meta_tasks, paper.unroll, paper.steps, paper.test_tasks, paper.lstm_units)
    assert counts == (1000, 20, 200, 500, 10)
    assert len(paper.seeds) >= 3
    with pytest.raises(UserError, match="unknown setting 'speed'"):
        make_config("paper", {"speed": 1})


def test_diverged_tasks_are_reported_and_not_hidden(finished):
    from lft_validation.experiments.figure4.report import Curves, capped, markdown, summarise

    config = make_config("smoke", {"methods": ("LFT", "SGD"), "settings": (FIRST,)})
    good = np.ones((4, config.steps + 1))
    long = np.ones((4, config.long_steps + 1))
    bad = good.copy()
    bad[1, -1] = np.inf
    results = {
        (FIRST, "LFT"): Curves([good], [long]),
        (FIRST, "SGD"): Curves([capped(bad)], [long]),
    }
    table = markdown(config, summarise(config, results))
    assert "| first order | SGD | curve | diverged" in table
