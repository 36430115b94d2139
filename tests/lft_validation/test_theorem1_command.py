"""``lft theorem1`` and ``lft reproduce theorem1`` from the command line to the end."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from lft_ref import size, unflatten
from lft_validation.cli import main
from lft_validation.errors import UserError
from lft_validation.experiments.theorem1 import closed_form, report
from lft_validation.experiments.theorem1.closed_form import Gradients
from lft_validation.experiments.theorem1.config import PRESETS, TRAINED, make_config
from lft_validation.experiments.theorem1.needs import peak_bytes
from lft_validation.tuners import load_tuner, save_tuner

TINY = (
    "--preset", "smoke", "--workers", "1", "--set", 'families=["sine"]',
    "--set", "train_sizes=[1,4,64]", "--set", "val_sizes=[1,4,64]", "--set", "unroll=2",
)  # fmt: skip


def lft(*arguments: str):
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    result = lft("reproduce", "theorem1", *TINY, "--out", str(out))
    assert result.exit_code == 0, result.output
    return out, result.output


def test_a_run_leaves_everything_that_was_promised(finished):
    out, output = finished
    wanted = {"config.json", "results.json", "table.md", "log.txt", "jobs"}
    assert wanted | {"theorem1.png", "theorem1.svg"} <= {p.name for p in out.iterdir()}
    results = json.loads((out / "results.json").read_text())
    assert [s["phi"] for s in results["series"]] == ["random", "trained"]
    for series in results["series"]:
        assert [(r["D_tr"], r["D_val"]) for r in series["grid"]] == [
            (a, b) for a in (1, 4, 64) for b in (1, 4, 64)
        ]
        for row in series["grid"]:
            assert row["gap"]["low"] <= row["gap"]["value"] <= row["gap"]["high"]
            assert row["gap"]["low"] < row["bound"]
            assert row["bound_of_parts"] <= row["bound"]
    assert "Theorem 1" in output
    assert (out / "jobs" / "sine-seed0" / "phi-trained.npz").exists()


def test_the_table_has_the_grid_exponents_checks_and_a_conclusion(finished):
    table = (finished[0] / "table.md").read_text()
    for text in ("| D_tr | D_val | gap |", "gap in D_tr", "(S13)", "(S26)", "A3", "the bound is"):
        assert text in table
    assert "nan" not in table


def test_the_output_fits_eighty_columns(finished):
    assert max(len(line) for line in finished[1].splitlines() if "runs" not in line) <= 80


def test_a_run_stopped_in_the_middle_resumes_to_the_same_results(finished, tmp_path, monkeypatch):
    looks = 0

    def stop_sometimes(self):
        nonlocal looks
        looks += 1
        return looks in (2, 6, 9)

    out = tmp_path / "stopped"
    monkeypatch.setattr("lft_validation.jobs.Monitor.check", stop_sometimes)
    run = ["reproduce", "theorem1", *TINY, "--out", str(out)]
    codes = [lft(*run).exit_code]
    while codes[-1] == 130:
        codes.append(lft(*run, "--resume").exit_code)
    assert codes == [130, 130, 130, 0]
    for name in ("results.json", "table.md", "theorem1.svg", "theorem1.png"):
        assert (out / name).read_bytes() == (finished[0] / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "huge"], "unknown preset 'huge'; choose one of smoke"),
        (["--backend", "cupy"], "backend must be one of numpy, numba, found 'cupy'"),
        (["--shots", "0"], "shots must be positive and finite, found 0"),
        (["--methods", "LFT"], "--methods does not apply to theorem1; leave it out"),
        (["--unroll", "0"], "unroll must be positive and finite, found 0"),
        (["--set", "draws=3"], "draws must be at least 4, found 3"),
        (["--set", "jacobian_draws=20"], "jacobian_draws must leave at least 2 of the 20 draws"),
        (["--set", "pool=3"], "pool must be 1, 2 or 4 (digits are 8 × 8), found 3"),
        (["--set", 'families=["cats"]'], "unknown 'cats'"),
        (["--set", 'phis=["best"]'], "unknown 'best'"),
        (["--set", "train_sizes=[0]"], "train_sizes must be distinct whole numbers of at least 1"),
        (
            ["--set", "tasks=1000000", "--set", 'families=["sine"]'],
            "this run needs about",
        ),
        (["--reuse", "."], "--reuse does not apply to theorem1"),
        (["--set", "train_sizes=3"], "train_sizes must be a list of whole numbers such as [1,2]"),
        (["--set", "device=0"], "unknown setting 'device'"),
        (["--set", "val_shots=999"], "unknown setting 'val_shots'"),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_2(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = lft("reproduce", "theorem1", "--preset", "smoke", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("undrawn")
def test_the_half_trained_tuner_stays_so_when_the_training_has_gone_on(tmp_path):
    run = ["reproduce", "theorem1", *TINY, "--set", 'phis=["trained","half-trained"]',
           "--set", "train_sizes=[1,4]", "--out", str(tmp_path / "r")]  # fmt: skip
    files = [tmp_path / "r" / "jobs" / "sine-seed0" / f"phi-{phi}.npz" for phi in TRAINED[1:]]
    assert lft(*run).exit_code == 0
    half, whole = (file.read_bytes() for file in files)
    assert half != whole
    assert lft(*run, "--resume").exit_code == 0
    assert [file.read_bytes() for file in files] == [half, whole]


def test_a_missing_point_is_named(finished, tmp_path):
    config = make_config("smoke", {"families": ("sine",)})
    with pytest.raises(UserError, match=r"random-1\.npz does not exist"):
        report.collect(config, tmp_path)


FAST = ("theorem1", "--tasks", "1", "--draws", "10", "--train-sizes", "1,4")


def test_the_command_measures_at_once_and_says_what_holds():
    result = lft(*FAST)
    assert result.exit_code == 0, result.output
    for text in ("Exponents", "Does it hold?", "(S13)", "closed-form case", "bound"):
        assert text in result.output
    assert max(len(line) for line in result.stdout.splitlines()) <= 80


def test_fine_tuning_that_diverges_is_told_in_one_sentence(tmp_path):
    wild = ["--set", "output_scale=1e300", "--set", 'families=["sine"]', "--workers", "1"]
    out = ["--out", str(tmp_path / "r")]
    result = lft("reproduce", "theorem1", "--preset", "smoke", *wild, *out)
    assert result.exit_code == 1
    assert "with |D_tr| = 1 not all gradients of seed 0 are finite" in " ".join(
        result.output.split()
    )


def test_the_command_takes_a_fine_tuner_from_a_file_and_writes_json(finished):
    file = finished[0] / "jobs" / "sine-seed0" / "phi-trained.npz"
    result = lft(*FAST, "--phi", str(file), "--json", "-")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["config"]["families"]
    assert "numpy" in found["versions"]
    assert found["estimator"]["covered"]
    assert found["series"][0]["phi"] == str(file)


def _scaled(factor: float, part: float = 1.0):
    """Closed-form draws that are too long or too short, or in which LFT's part is wrong."""

    def draws(*arguments):
        pairs = closed_form.draws(*arguments)
        return [Gradients(factor * a.l2o, factor * part * a.lft) for a in pairs]

    return draws


@pytest.mark.parametrize(
    "wrong",
    [
        {"draws": _scaled(0.5)},
        {"draws": _scaled(1.5)},
        {"draws": _scaled(1.0, part=-1.0)},
        {"with_control": lambda draws, control: draws - draws.mean(axis=0)},
    ],
    ids=["too short", "too long", "wrong sign", "mean taken off"],
)
def test_the_check_of_the_estimator_sees_a_planted_error(wrong, monkeypatch):
    right = report.estimator_check()
    assert right["covered"]
    assert right["low"] > right["truth"] / 2
    for name, function in wrong.items():
        monkeypatch.setattr(report, name, function)
    assert not report.estimator_check()["covered"]


def test_a_phi_that_needs_more_memory_than_there_is_is_refused(tmp_path, monkeypatch):
    n, cell = 40, load_tuner("sine")[1]
    file = tmp_path / "large.npz"
    save_tuner(file, unflatten(np.zeros(size(2, n)), 2, n), cell)
    few = "lft_validation.experiments.usable.free_memory"
    monkeypatch.setattr(few, lambda: peak_bytes(make_config("quick", {"families": ("sine",)}), 10))
    result = lft("theorem1", "--phi", str(file))
    assert result.exit_code == 2
    assert "or a Φ with fewer than its 40 hidden units" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--phi", "best"], "--phi must be a file or one of random, half-trained, trained, cifar"),
        (["--train-sizes", "1,x"], "--train-sizes must be numbers such as 1,8,64, found '1,x'"),
        (["--family", "cats"], "unknown 'cats'"),
        (["--seed", "-1"], "seeds must be distinct whole numbers"),
    ],
)
def test_the_command_refuses_bad_input_in_one_sentence(arguments, message):
    result = lft("theorem1", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"covered": False, "low": 1.0, "high": 2.0, "truth": 3.0}, "the estimator says 1 to 2"),
        (None, "the gap is above the bound"),
    ],
)
def test_what_is_not_true_ends_with_exit_code_1(wrong, message, monkeypatch):
    known = {"covered": True, "low": 1.0, "high": 2.0, "truth": 1.5, "value": 1.5}
    monkeypatch.setattr(report, "estimator_check", lambda: wrong or known)
    if wrong is None:
        monkeypatch.setattr(report, "bound", lambda *a: -1.0)
    result = lft(*FAST, "--json", "-")
    assert result.exit_code == 1
    assert message in result.output


def test_the_presets_are_valid_and_span_the_grid():
    for name in PRESETS:
        make_config(name, {})
    paper = make_config("paper", {})
    for sizes in (paper.train_sizes, paper.val_sizes):
        assert (min(sizes), max(sizes)) == (1, 512)


def test_a_conclusion_names_points_above_the_bound():
    from lft_validation.experiments.theorem1.tables import conclusion

    gap = {"resolved": True, "value": 2.0}
    row = {"above_bound": True, "ratio": 0.5, "gap": gap}
    said = conclusion({"series": [{"grid": [row], "exponents": {}}]})
    assert re.search("above the bound at 1 of 1", said)
