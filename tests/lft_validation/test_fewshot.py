"""``lft reproduce table2``, ``figure3``, ``tableA1``, ``tableA2``: from the command to a folder."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("sklearn")  # the digits

from lft_validation import jobs
from lft_validation.cli import main
from lft_validation.experiments.fewshot import run as run_module
from lft_validation.experiments.fewshot.config import METHODS, TABLES, make_config
from lft_validation.experiments.fewshot.run import JobKey, owners
from lft_validation.experiments.unions import NONE
from lft_validation.tuners import load_tuner
from tests.lft_validation.run_folders import changed, told_divergence

BOTH = "digits+digits:cnn2"
TINY = (
    "--preset", "smoke", "--workers", "1", "--meta-tasks", "2", "--test-tasks", "4",
    "--lstm-units", "3", "--steps", "4", "--unroll", "2", "--set", "table_step=4",
    "--set", f'training=["digits","{BOTH}"]', "--set", f'testing=["digits","{BOTH}"]',
)  # fmt: skip
LEARNT = "lft-digits-and-digits-cnn2-5shot-seed0"


def lft(*arguments: str):
    return CliRunner().invoke(main, ["reproduce", *arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    result = lft("table2", *TINY, "--out", str(out))
    assert result.exit_code == 0, result.output
    return out, result.output


@pytest.fixture
def trained(monkeypatch):
    """The methods that were meta-trained, in this order."""
    seen = []
    original = run_module.learner
    monkeypatch.setattr(run_module, "learner", lambda *a: seen.append(a[1]) or original(*a))
    return seen


def rows_of(out) -> list[dict]:
    return json.loads((out / "results.json").read_text())["rows"]


def test_a_run_leaves_everything_that_was_promised(finished):
    out, output = finished
    wanted = {"config.json", "results.json", "table.md", "log.txt", "jobs"}
    assert wanted | {"table2.png", "table2.svg"} <= {p.name for p in out.iterdir()}
    rows = rows_of(out)
    assert {r["method"] for r in rows} == set(METHODS)
    # three learned in four cells, MAML's where they fit, two by hand on two sources
    assert len(rows) == 3 * 4 + 2 + 2 * 2
    assert all(row["tasks"] == 4 for row in rows)
    assert all(row["paper"] is None for row in rows)  # the paper has no digits
    assert "Table 2" in output
    assert "not applicable across networks" in output
    table = (out / "table.md").read_text()
    assert all(f"| {method} |" in table for method in METHODS)
    assert f"| digits | {BOTH} | any | MAML | n/a |" in table
    data = json.loads((out / "config.json").read_text())["config"]["data"]
    assert len(data["digits:cnn2"]["test"]["sha256"]) == 64
    params, _ = load_tuner(out / "jobs" / LEARNT / "phi.npz")
    assert params.n == 3


def test_every_method_but_maml_starts_from_the_same_tasks_and_networks(finished):
    rows = [r for r in rows_of(finished[0]) if r["testing"] == "digits"]
    starts = {tuple(r["at"]["0"].values()) for r in rows if "MAML" not in r["method"]}
    assert len(starts) == 1
    maml = {tuple(r["at"]["0"].values()) for r in rows if "MAML" in r["method"]}
    assert not maml & starts


def test_the_output_fits_eighty_columns(finished):
    assert max(len(line) for line in finished[1].splitlines() if "runs" not in line) <= 80


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("method", ["LFT", "MAML"])
def test_what_was_learned_and_then_changed_is_refused(finished, tmp_path, method):
    file = f"jobs/{method.lower()}-digits-5shot-seed0/learned.npz"
    out = changed(finished[0], file, lambda _: {"flat": np.zeros(7)}, tmp_path / "run")
    result = lft("table2", *TINY, "--out", str(out), "--resume")
    assert result.exit_code == 2, result.output
    assert "found (7,); delete it to compute it again" in " ".join(result.output.split())


@pytest.mark.no_cover
def test_a_run_stopped_in_the_middle_resumes_to_the_same_results(finished, tmp_path, monkeypatch):
    looks = 0

    def stop_sometimes(self):
        nonlocal looks
        looks += 1
        return looks in (2, 5, 11)

    out = tmp_path / "stopped"
    monkeypatch.setattr("lft_validation.jobs.Monitor.check", stop_sometimes)
    codes = [lft("table2", *TINY, "--out", str(out)).exit_code]
    while codes[-1] == 130:
        codes.append(lft("table2", *TINY, "--out", str(out), "--resume").exit_code)
    assert codes == [130, 130, 130, 0]
    for name in ("results.json", "table.md", "table2.svg", f"jobs/{LEARNT}/phi.npz"):
        assert (out / name).read_bytes() == (finished[0] / name).read_bytes()
    assert not list(out.glob("jobs/*/curves-*"))
    assert not list(out.glob("jobs/*/checkpoint.npz"))


@pytest.mark.no_cover
@pytest.mark.parametrize("workers", ["2", "4"])
@pytest.mark.usefixtures("undrawn")
def test_incongruous_meta_training_gives_the_same_bits_on_more_processes(
    finished, tmp_path, monkeypatch, workers
):
    monkeypatch.setattr("lft_validation.jobs._run_here", _nothing_is_computed_here)
    more = [*TINY, "--methods", "LFT,L2O,Adam", "--out", str(tmp_path / "r")]
    more[more.index("--workers") + 1] = workers
    assert lft("table2", *more).exit_code == 0
    for file in ("phi.npz", "learned.npz", "test-digits.npz", "test-digits-cnn2.npz"):
        one, other = (out / "jobs" / LEARNT / file for out in (finished[0], tmp_path / "r"))
        assert one.read_bytes() == other.read_bytes()


def _nothing_is_computed_here(*_):
    raise AssertionError("in this process")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("workers", ["2", "4"])
def test_a_meta_batch_has_the_same_bits_when_processes_share_it(tmp_path, monkeypatch, workers):
    four = [*TINY, "--meta-tasks", "4", "--methods", "LFT,MAML,Adam"]
    four += ["--set", "meta_batch=4", "--set", "chunk=1"]
    alone, shared = (tmp_path / way / "r" for way in ("alone", "shared"))
    assert lft("table2", *four, "--out", str(alone)).exit_code == 0
    four[four.index("--workers") + 1] = workers
    sent, results = [], jobs.results
    monkeypatch.setattr(jobs, "results", lambda *a: (sent.append(a), results(*a))[1])
    assert lft("table2", *four, "--share", "tasks", "--out", str(shared)).exit_code == 0
    assert len(sent) >= 4, "unrolls and tests of the meta-batch's parts went to the processes"
    for file in ("results.json", f"jobs/{LEARNT}/phi.npz"):
        assert (shared / file).read_bytes() == (alone / file).read_bytes()


def test_a_table_takes_over_the_trainings_of_the_runs_beside_it(finished, tmp_path, trained):
    out = finished[0].parent / "figure3"
    arguments = [*TINY, "--set", f"training={BOTH}", "--set", 'testing=["digits","digits:cnn2"]']
    assert lft("figure3", *arguments, "--out", str(out)).exit_code == 0
    assert trained == []
    assert (out / "figure3.png").exists()
    same = f"jobs/{LEARNT}/phi.npz"
    assert (out / same).read_bytes() == (finished[0] / same).read_bytes()


@pytest.mark.usefixtures("undrawn")
def test_a_training_is_shared_even_where_the_tests_differ(finished, tmp_path, trained):
    other = lft("table2", *TINY, "--methods", "LFT,MAML", "--set", "test_query=3",
                "--out", str(tmp_path / "r"), "--reuse", str(finished[0]))  # fmt: skip
    assert other.exit_code == 0
    assert trained == []
    again = lft("table2", *TINY, "--methods", "LFT,MAML", "--learning-rate", "0.01",
                "--out", str(tmp_path / "rate"), "--reuse", str(finished[0]))  # fmt: skip
    assert again.exit_code == 0
    assert trained == ["LFT", "LFT"]  # Adam's rate on Φ is not MAML's


@pytest.mark.parametrize("table", ["tableA1", "tableA2"])
def test_the_tables_of_the_supplement_run_on_digits(table, tmp_path):
    small = TINY[: TINY.index("--set") + 2]
    result = lft(table, *small, "--methods", "LFT,L2O,SGD", "--out", str(tmp_path / "r"))
    assert result.exit_code == 0, result.output
    names = {p.name for p in (tmp_path / "r").iterdir()}
    assert {f"{table}.png", f"{table}.svg"} <= names
    assert (f"{table}-shots.png" in names) == (table == "tableA1")
    summary = json.loads((tmp_path / "r" / "results.json").read_text())
    gains = [c for c in summary["claims"] if c["claim"].startswith("gain")]
    assert len(gains) == (1 if table == "tableA1" else 0)
    assert summary["stand_in"] == {}


def test_fingerprints_cover_what_a_file_depends_on_and_nothing_else():
    config = make_config("table2", "smoke", {})
    key = JobKey("digits", "LFT", 5, 0)
    known = owners(config, key)
    other = {"seeds": (5,), "methods": ("LFT",), "maml_alpha": 1.0, "adam_rate": 1.0, "filters": 9,
             "testing": ("digits",), "training": ("digits",), "table": "figure3"}  # fmt: skip
    same = owners(dataclasses.replace(config, **other), key)
    assert same.learned == known.learned
    assert same.tests == {"digits": known.tests["digits"]}
    assert owners(dataclasses.replace(config, test_tasks=8), key).learned == known.learned
    assert owners(dataclasses.replace(config, test_tasks=8), key).tests != known.tests
    for change in ({"query": 9}, {"hidden": (3, 3)}, {"p": 3.0}, {"ways": 3}):
        assert owners(dataclasses.replace(config, **change), key).learned != known.learned
    hand = JobKey(NONE, "Adam", 5, 0)
    assert owners(dataclasses.replace(config, adam_rate=1.0), hand) != owners(config, hand)
    assert owners(dataclasses.replace(config, sgd_rate=1.0), hand) == owners(config, hand)


def test_the_presets_are_valid_and_the_papers_counts_are_the_papers():
    for table in TABLES:
        for preset in ("smoke", "quick"):
            config = make_config(table, preset, {})
            assert config.table == table
    paper = make_config("table2", "paper", {})
    assert (paper.ways, paper.shots, paper.test_tasks, paper.lstm_units) == (2, (5,), 500, 10)
    assert len(paper.seeds) >= 3
    assert make_config("figure3", "paper", {}).seeds == paper.seeds
    assert make_config("tableA1", "paper", {}).shots == (1, 3, 5, 10)
    assert make_config("tableA2", "smoke", {}).ways == 2


def test_training_that_diverges_ends_with_exit_code_1(tmp_path):
    wild = ["--methods", "LFT", "--learning-rate", "1e38"]
    result = lft("table2", *TINY, *wild, "--out", str(tmp_path / "r"))
    assert result.exit_code == 1
    told = told_divergence(result, tmp_path)
    assert "at task batch 1 of 2: the loss of fine-tuning step 3 of 4 (update 2 of 2" in told
