"""``lft reproduce table1`` answers bad input with one sentence, before anything is started."""

from __future__ import annotations

import pytest

pytest.importorskip("sklearn")  # the digits

from tests.lft_validation.test_table1 import TINY, lft


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "huge"], "unknown preset 'huge'; choose one of smoke"),
        (["--backend", "fortran"], "unknown backend 'fortran'"),
        (["--hidden", "4"], "--hidden does not apply to table1"),
        (["--set", "training=omniglot"], "the sources of training 'omniglot' must be some of"),
        (["--set", "training=svhn"], "no victim for svhn is in the package; train one with lft"),
        (["--set", "testing=digits+digits"], "each once"),
        (["--set", "testing=[]"], "testing must be some of"),
        (["--set", "training=[3]"], "the sources of training 3 must be some of"),
        (["--set", "l1=-1"], "l1 must be finite and not negative, found -1.0"),
        (["--set", "kappa=NaN"], "kappa must be finite and not negative"),
        (["--set", "clip_images=3"], "clip_images must be true or false, found 3"),
        (["--set", "images=some"], "images must be one of correct, all"),
        (["--set", "classes=11"], "classes must be at most 10, found 11"),
        (["--set", "classes=0"], "classes must be positive"),
        (["--set", "pgd_radius=0"], "pgd_radius must be positive"),
        (["--set", "table_step=21"], "table_step must be at most steps, found 21 and 20"),
        (["--unroll", "7"], "steps must be a multiple of unroll"),
        (["--set", "maml_batch=3"], "meta_tasks must be a multiple of maml_batch"),
        (["--test-tasks", "1"], "test_tasks must be at least 2 for each source of a union"),
        (["--methods", "LFT,FGSM"], "unknown 'FGSM'"),
        (["--set", "speed=3"], "unknown setting 'speed'"),
        (["--reuse", "nowhere"], "--reuse nowhere is not a run folder"),
        (
            ["--methods", "MAML", "--set", 'training=["digits+mnist"]'],
            "none of the methods MAML can be tested on digits after training on digits+mnist",
        ),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_2(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = lft("table1", "--preset", "smoke", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())  # nothing was started


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "LFT"], "figureA3 compares LFT with PGD, found --methods LFT; leave --met"),
        (["--methods", "SGD"], "figureA3 compares LFT with PGD, found --methods SGD; leave --met"),
        (["--set", "testing=mnist+cifar10"], "testing source, found mnist+cifar10 alone; use"),
    ],
)  # fmt: skip
def test_a_figure_that_would_be_empty_is_refused_before_its_run(
    arguments, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    result = lft("figureA3", "--preset", "smoke", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())


def test_data_that_is_not_there_is_said_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LFT_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    monkeypatch.setattr("lft_validation.datasets.cache_folder", lambda: tmp_path / "none")
    result = lft("table1", "--preset", "smoke", "--set", "testing=cifar10")
    assert result.exit_code == 2
    assert "no cifar10 in" in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())


def test_a_task_that_needs_more_images_than_there_are_says_so(tmp_path):
    result = lft("table1", *TINY, "--methods", "SGD", "--order", "first", "--shots", "60",
                 "--out", str(tmp_path / "r"))  # fmt: skip
    assert result.exit_code == 2
    assert "usable test images of class" in " ".join(result.output.split())
