"""``lft reproduce table1`` from the command line to a finished folder."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("sklearn")  # the digits

from lft_validation.cli import main
from lft_validation.experiments.uap import run as run_module
from lft_validation.experiments.uap.config import (
    FIRST,
    METHODS,
    PRESETS,
    ZEROTH,
    applicable,
    make_config,
)
from lft_validation.experiments.uap.run import JobKey, job_key
from lft_validation.experiments.unions import NONE
from lft_validation.tuners import load_tuner
from tests.lft_validation.run_folders import changed, told_divergence

TINY = (
    "--preset", "smoke", "--workers", "1", "--meta-tasks", "2", "--test-tasks", "4",
    "--lstm-units", "3", "--steps", "4", "--unroll", "2", "--directions", "2",
    "--set", "table_step=3",
)  # fmt: skip


FIGURES = ("figure2", "figureA1", "figureA2", "figureA3")


def lft(*arguments: str):
    return CliRunner().invoke(main, ["reproduce", *arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    result = lft("table1", *TINY, "--out", str(out))
    assert result.exit_code == 0, result.output
    return out, result.output


def test_a_run_leaves_everything_that_was_promised(finished):
    out, output = finished
    names = {p.name for p in out.iterdir()}
    wanted = {"config.json", "results.json", "table.md", "log.txt", "jobs"}
    figures = [f"{name}{order}" for name in FIGURES for order in ("", "-zeroth")] + ["figureA4"]
    wanted |= {f"{name}.{kind}" for name in figures for kind in ("png", "svg")}
    assert wanted <= names
    results = json.loads((out / "results.json").read_text())
    assert len(results["rows"]) == 2 * len(METHODS)
    assert all(row["tasks"] == 4 for row in results["rows"])
    assert "Table 1, zeroth order" in output
    assert "verdict" in output
    table = (out / "table.md").read_text()
    assert all(f"| {method} |" in table for method in METHODS)
    config = json.loads((out / "config.json").read_text())
    digits = config["config"]["data"]["digits"]
    assert digits["train"]["official"]
    assert len(digits["test"]["sha256"]) == 64
    assert 0.9 < digits["victim_accuracy"] < 1.0
    params, _ = load_tuner(out / "jobs" / "first-order-lft-digits-seed0" / "phi.npz")
    assert params.n == 3


def test_every_method_but_maml_starts_from_the_same_tasks_and_perturbations(finished):
    rows = json.loads((finished[0] / "results.json").read_text())["rows"]
    starts = {tuple(r["at"]["0"].values()) for r in rows if r["method"] != "MAML"}
    assert len(starts) == 1
    maml = {tuple(r["at"]["0"].values()) for r in rows if r["method"] == "MAML"}
    assert not maml & starts


def test_zeroth_order_counts_its_queries_and_has_no_paper_beside_it(finished):
    rows = json.loads((finished[0] / "results.json").read_text())["rows"]
    assert {r["queries_per_step"] for r in rows if r["setting"] == FIRST} == {None}
    assert {r["queries_per_step"] for r in rows if r["setting"] == ZEROTH} == {4 * (2 + 1)}
    assert {r["paper"] for r in rows} == {None}  # the paper has no digits


def test_the_output_fits_eighty_columns(finished):
    assert max(len(line) for line in finished[1].splitlines() if "runs" not in line) <= 80


@pytest.mark.no_cover
@pytest.mark.usefixtures("undrawn")
def test_a_run_stopped_in_the_middle_resumes_to_the_same_results(finished, tmp_path, monkeypatch):
    looks = 0

    def stop_sometimes(self):
        nonlocal looks
        looks += 1
        return looks in (2, 3, 9)

    out = tmp_path / "stopped"
    monkeypatch.setattr("lft_validation.jobs.Monitor.check", stop_sometimes)
    codes = [lft("table1", *TINY, "--out", str(out)).exit_code]
    while codes[-1] == 130:
        codes.append(lft("table1", *TINY, "--out", str(out), "--resume").exit_code)
    assert codes == [130, 130, 130, 0]
    for name in ("results.json", "table.md"):
        assert (out / name).read_bytes() == (finished[0] / name).read_bytes()


@pytest.mark.no_cover
@pytest.mark.usefixtures("undrawn")
def test_two_processes_give_the_same_bits_as_one(finished, tmp_path):
    two = [*TINY, "--methods", "LFT,PGD", "--order", "first", "--out", str(tmp_path / "two")]
    two[two.index("--workers") + 1] = "2"
    assert lft("table1", *two).exit_code == 0
    for name in ("first-order-lft-digits-seed0", "first-order-pgd-none-seed0"):
        one, other = (folder / "jobs" / name / "result.npz" for folder in
                      (finished[0], tmp_path / "two"))  # fmt: skip
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.usefixtures("undrawn")
def test_finished_jobs_of_another_run_are_taken_over_and_others_computed(
    finished, tmp_path, monkeypatch
):
    tested = []
    original = run_module.test_curves
    monkeypatch.setattr(
        run_module, "test_curves", lambda *a: tested.append((a[0].seed, a[1])) or original(*a)
    )
    more = lft("table1", *TINY, "--seeds", "2", "--methods", "LFT,SGD", "--order", "first",
               "--out", str(tmp_path / "more"), "--reuse", str(finished[0]))  # fmt: skip
    assert more.exit_code == 0
    assert sorted(tested) == [(1, "LFT"), (1, "SGD")]
    assert (tmp_path / "more" / "jobs" / "first-order-lft-digits-seed0" / "phi.npz").exists()
    rate = ["--set", "sgd_rate=0.37", "--out", str(tmp_path / "rate")]
    other = lft("table1", *TINY, "--methods", "LFT,SGD", "--order", "first", *rate,
                "--reuse", str(finished[0]))  # fmt: skip
    assert other.exit_code == 0
    assert tested[2:] == [(0, "SGD")]  # LFT does not depend on SGD's rate


def test_methods_are_tested_where_they_fit():
    assert applicable("mnist", "MAML", "mnist")
    assert not applicable("mnist", "MAML", "cifar10")
    assert not applicable("mnist+cifar10", "MAML", "mnist+cifar10")
    assert applicable("mnist", "LFT", "cifar10")
    assert applicable(NONE, "PGD", "mnist+cifar10")
    assert not applicable("mnist", "PGD", "mnist")


def test_job_keys_depend_on_what_the_job_depends_on_and_nothing_else():
    config = make_config("smoke", {})
    key = JobKey(FIRST, "digits", "LFT", 0)
    same = dataclasses.replace(config, seeds=(5,), methods=("LFT",), mu=1.0, maml_alpha=1.0)
    assert job_key(config, key) == job_key(same, key)
    assert job_key(config, key) != job_key(dataclasses.replace(config, l1=1.0), key)
    assert job_key(config, key) != job_key(config, key._replace(seed=1))
    hand = JobKey(FIRST, NONE, "PGD", 0)
    assert job_key(config, hand) == job_key(dataclasses.replace(config, unroll=5), hand)
    assert job_key(config, hand) != job_key(dataclasses.replace(config, pgd_rate=1.0), hand)


def test_the_presets_are_valid_and_the_papers_counts_are_the_papers():
    for name in PRESETS:
        make_config(name, {})
    paper = make_config("paper", {})
    counts = (paper.meta_tasks, paper.unroll, paper.steps, paper.test_tasks, paper.lstm_units)
    assert counts == (1000, 20, 200, 100, 10)
    assert (paper.classes, paper.shots, paper.val_shots) == (2, 2, 2)
    assert len(paper.seeds) >= 3
    assert paper.sources == ["mnist", "cifar10"]


def test_training_that_diverges_ends_with_exit_code_1(tmp_path):
    wild = ["--methods", "LFT", "--order", "first", "--learning-rate", "1e38"]
    result = lft("table1", *TINY, *wild, "--out", str(tmp_path / "r"))
    assert result.exit_code == 1
    told = told_divergence(result, tmp_path)
    assert "at task batch 1 of 2: the loss of fine-tuning step 3 of 4 (update 2 of 2" in told


@pytest.mark.usefixtures("undrawn")
def test_images_may_be_drawn_from_all(tmp_path):
    result = lft("table1", *TINY, "--methods", "SGD", "--order", "first", "--set", "images=all",
                 "--test-tasks", "30", "--out", str(tmp_path / "r"))  # fmt: skip
    assert result.exit_code == 0, result.output
    (row,) = json.loads((tmp_path / "r" / "results.json").read_text())["rows"]
    # some of the digits' test images are misclassified as they are: fooled at once, but not counted
    assert row["at"]["0"]["val_all"] > row["at"]["0"]["val"]
    assert np.isfinite(row["at"]["0"]["val"])


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("method", "arrays", "sentence"),
    [
        ("maml", lambda _: {"flat": None}, "lacks 'flat'; delete it to compute it again"),
        ("maml", lambda _: {"flat": np.zeros(7)}, "flat must have shape (64,), found (7,)"),
        ("l2o", lambda a: {"flat": a["flat"] * np.nan}, "flat must hold finite numbers, found nan"),
    ],
)
def test_what_was_learned_and_then_changed_is_refused(finished, tmp_path, method, arrays, sentence):
    file = f"jobs/first-order-{method}-digits-seed0/result.npz"
    out = changed(finished[0], file, arrays, tmp_path / "run")
    result = lft("table1", *TINY, "--out", str(out), "--resume")
    assert result.exit_code == 2, result.output
    assert sentence in " ".join(result.output.split())


# The figures of the same runs ---------------------------------------------------------------------


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("figure", "methods"),
    [
        ("figure2", {"LFT", "L2O", "MAML"}),
        ("figureA1", {"LFT", "L2O", "MAML"}),
        ("figureA2", {"LFT", "L2O", "MAML"}),
        ("figureA3", {"LFT", "PGD"}),
        ("figureA4", {"LFT", "L2O", "MAML", "PGD"}),
    ],
)
def test_a_figure_takes_the_trainings_of_the_run_beside_it(
    finished, tmp_path, monkeypatch, figure, methods
):
    def refuse(*_arguments):
        raise AssertionError("something is trained or tested again")

    monkeypatch.setattr(run_module, "train", refuse)
    monkeypatch.setattr(run_module, "test_curves", refuse)
    (tmp_path / "one").symlink_to(finished[0], target_is_directory=True)
    out = tmp_path / "two"
    result = lft(figure, *TINY, "--order", "first", "--out", str(out))
    assert result.exit_code == 0, result.output
    written = {p.name for p in out.glob("figure*")}
    assert written == {f"{figure}.{kind}" for kind in ("png", "svg")} | (
        {"figureA4.npz"} if figure == "figureA4" else set()
    )
    assert (out / f"{figure}.svg").stat().st_size > 5000
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert {row["method"] for row in rows} == methods


def test_figure_a4_keeps_the_perturbations_that_its_curves_belong_to(finished):
    out, _ = finished
    with np.load(out / "figureA4.npz") as thetas:
        for method in ("LFT", "L2O", "MAML", "PGD"):
            assert thetas[method].shape == (3, 1, 8, 8)
            training = "none" if method == "PGD" else "digits"
            name = f"first-order-{method}-{training}-seed0".lower()
            with np.load(out / "jobs" / name / "result.npz") as result:
                strength = result["digits"][4, :3, 3]  # after table_step steps
            found = np.abs(thetas[method]).mean(axis=(1, 2, 3))
            np.testing.assert_allclose(found, strength, rtol=1e-5)


def test_table_1_without_the_methods_of_figure_a4_draws_none(finished, tmp_path):
    (tmp_path / "one").symlink_to(finished[0], target_is_directory=True)
    out = tmp_path / "two"
    result = lft("table1", *TINY, "--order", "first", "--methods", "SGD", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert {p.stem for p in out.glob("figure*")} == {"figure2", "figureA1", "figureA2"}


@pytest.mark.usefixtures("undrawn")
def test_a_damaged_run_beside_ours_is_left_alone(finished, tmp_path):
    broken = tmp_path / "one" / "jobs" / "first-order-pgd-none-seed0"
    broken.mkdir(parents=True)
    (broken / "result.npz").write_bytes(b"PK")
    out = tmp_path / "two"
    result = lft("figureA1", *TINY, "--order", "first", "--methods", "PGD", "--out", str(out))
    assert result.exit_code == 0, result.output
    name = "first-order-pgd-none-seed0/result.npz"
    assert (out / "jobs" / name).read_bytes() == (finished[0] / "jobs" / name).read_bytes()
