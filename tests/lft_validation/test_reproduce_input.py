"""``lft reproduce`` answers bad input in one sentence, and starts nothing."""

from __future__ import annotations

import pytest

from lft_validation.experiments.theorem1 import main as theorem1
from tests.lft_validation.test_reproduce import lft


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["figure5"], "unknown experiment 'figure5'; choose one of figure4"),
        (["figure4", "--preset", "huge"], "unknown preset 'huge'; choose one of smoke"),
        (["figure4", "--backend", "fortran"], "unknown backend 'fortran'"),
        (["figure4", "--dtype", "float16"], "dtype must be one of float32, float64"),
        (["figure4", "--resume"], "--resume needs --out"),
        (["figure4", "--shots", "1000000"], "GiB are free; use fewer --workers, or smaller"),
        (["figure4", "--lstm-units", "20000"], "GiB are free; use fewer --workers, or smaller"),
        (["figure4", "--set", "test_points=1000000"], "GiB are free; use fewer --workers"),
        (["figure4", "--mu", "0.1", "--set", "mu=0.5"], "mu is given by an option and by --set"),
        (["figure4", "--shots", "3", "--set", "shots=5"], "shots is given by an option and by"),
        (["figure4", "--set", "seeds=" + "[" * 100_000], "--set seeds: the value is nested too"),
        (["figure4", "--backend", "numba", "--device", "7"], "the numba backend has one device"),
        (["figure4", "--workers", "0"], "--workers must be at least 1, found 0"),
        (["figure4", "--seeds", "0"], "--seeds must be at least 1"),
        (["figure4", "--first-seed", "-1"], "--first-seed"),
        (["figure4", "--unroll", "0"], "unroll must be positive and finite, found 0"),
        (["figure4", "--unroll", "30"], "steps must be a multiple of unroll"),
        (["figure4", "--lstm-units", "-1"], "lstm_units must be positive"),
        (["figure4", "--set", "task_clip=-1"], "task_clip must be finite and not negative"),
        (["tableA1", "--set", "task_clip=NaN"], "task_clip must be finite and not negative"),
        (["figure4", "--directions", "0"], "directions must be positive"),
        (["figure4", "--mu", "0"], "mu must be positive"),
        (["figure4", "--mu", "nan"], "mu must be positive and finite, found nan"),
        (["figure4", "--shots", "0"], "shots must be positive"),
        (["figure4", "--hidden", "4,x"], "--hidden must be numbers such as 40,40"),
        (["figure4", "--hidden", "0"], "hidden must be whole numbers of at least 1"),
        (["figure4", "--methods", "LFT,Magic"], "unknown 'Magic'"),
        (["figure4", "--methods", "LFT,LFT"], "methods must be some of"),
        (["figure4", "--set", 'settings=["foo"]'], "unknown 'foo'"),
        (["figure4", "--set", "seeds=[0.5]"], "seeds must be distinct whole numbers"),
        (["figure4", "--set", "seeds=[1,1]"], "seeds must be distinct whole numbers"),
        (["figure4", "--set", 'hidden=["a"]'], "hidden must be whole numbers"),
        (["figure4", "--test-tasks", "1"], "test_tasks must be at least 2"),
        (["figure4", "--hidden", "99999999,9"], "this run needs about"),
        (["figure4", "--out", "/proc/nope"], "cannot write to --out /proc/nope"),
        (["figure4", "--weighting", "none"], "weighting must be one of"),
        (["figure4", "--preset", "paper", "--meta-tasks", "40"], "multiple of MAML's batch of 25"),
        (
            ["figure4", "--preset", "paper", "--meta-tasks", "30"],
            "a multiple of meta_batch of 8, found 30; use for example --meta-tasks 200",
        ),
        (["figure4", "--set", "adam_rate"], "--set must be NAME=VALUE"),
        (["figure4", "--set", "speed=3"], "unknown setting 'speed'; choose one of adam_rate"),
        (["figure4", "--set", "maml=3"], "unknown setting 'maml'"),
        (["figure4", "--set", "maml.speed=3"], "unknown setting 'speed'; choose one of alpha"),
        (["figure4", "--set", "maml.passes=many"], "passes must be a whole number, found"),
        (["figure4", "--set", "passes=1.5"], "passes must be a whole number, found 1.5"),
        (["figure4", "--set", "passes=true"], "passes must be a whole number, found true"),
        (["figure4", "--set", "seeds=3"], "seeds must be a list of whole numbers such as [1,2]"),
        (["figure4", "--set", "methods=LFT,L2O"], 'a list of words such as ["a","b"], found'),
        (["figure4", "--set", "mu=small"], 'mu must be a number, found "small"'),
        (["figure4", "--set", "mu=1" + 400 * "0"], "mu must be at most 1,000,000,000 in size"),
        (
            ["figure4", "--set", "validation_tasks=1000001"],
            "validation_tasks must be at most 1,000,000",
        ),
        (["figure4", "--set", "seeds=[1" + 30 * "0" + "]"], "seeds must be at most 1,000,000,000"),
        (["figure4", "--set", "long_steps=-1"], "long_steps must be positive and finite, found -1"),
        (["figure4", "--set", "device=0"], "device must be a word or null, found 0"),
        (["figure4", "--set", 'device="gpu"'], "has one device, 'cpu', found 'gpu'"),
        (["figure4", "--set", "backend=null"], "backend must be a word, found null"),
        (["figure4", "--set", "maml_tuned.alpha=-1"], "maml_tuned.alpha must be positive"),
        (["figure4", "--reuse", "nowhere"], "--reuse nowhere is not a run folder"),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_2(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = lft(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())  # nothing was started


@pytest.mark.usefixtures("noon")
def test_runs_started_in_one_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = []

    def runs(_preset, changes, out, *_):
        found.append((out, changes["seeds"]))
        if len(found) < 2:
            assert lft("theorem1", "--preset", "smoke", "--first-seed", "1").exit_code == 0

    monkeypatch.setattr(theorem1, "reproduce", runs)
    assert lft("theorem1", "--preset", "smoke", "--seeds", "1").exit_code == 0
    assert len({out for out, _ in found}) == 2, found
