"""What a few-shot run needs is said before it starts: settings, data, memory."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("sklearn")  # the digits

from lft_validation.cli import main
from lft_validation.experiments.fewshot import main as main_of
from lft_validation.experiments.fewshot import methods, needs
from lft_validation.experiments.fewshot.config import make_config
from lft_validation.experiments.fewshot.methods import learner, make_setup

BOTH = "digits+digits:cnn2"


def lft(*arguments: str):
    return CliRunner().invoke(main, ["reproduce", *arguments], catch_exceptions=False)


def test_cifar10_stands_in_the_place_of_miniimagenet_and_it_is_said(monkeypatch):
    paper = make_config("tableA2", "paper", {})
    monkeypatch.setattr(needs, "_is_there", lambda name: False)
    config, stand_in = needs.with_stand_in(paper, asked=False)
    assert stand_in == {"miniimagenet": "cifar10"}
    assert config.training == ("omniglot", "cifar10", "omniglot+cifar10")
    assert needs.with_stand_in(paper, asked=True) == (paper, {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "huge"], "unknown preset 'huge'; choose one of smoke"),
        (["--backend", "fortran"], "unknown backend 'fortran'"),
        (["--directions", "4"], "--directions does not apply to table2"),
        (["--set", "training=imagenet"], "the sources of training 'imagenet' must be some of"),
        (["--set", "training=digits:rnn"], "the network of 'digits:rnn' must be one of mlp"),
        (["--set", "training=digits:"], "the network of 'digits:' must be one of mlp"),
        (["--set", "training=[]"], "training must name at least one source"),
        (["--set", "steps=100000000"], "steps must be at most 1,000,000 in size, found 100000000"),
        (["--set", "test_tasks=100000000"], "test_tasks must be at most 1,000,000"),
        (["--set", "rotations=true"], "rotations turn the characters of omniglot, which is not"),
        (["--set", "testing=digits+digits"], "each once"),
        (["--set", "testing=[]"], "testing must name at least one source"),
        (["--set", "training=[3]"], "training must be names, found 3"),
        (["--set", "ways=1"], "ways must be at least 2, found 1"),
        (["--set", "ways=11"], "a task needs 11 classes, but digits (train) has 10"),
        (["--shots", "500"], "a task needs 500 + 3 images of a class"),
        (["--shots", "0"], "shots must be distinct whole numbers of at least 1"),
        (["--hidden", "4"], "hidden must be two widths"),
        (["--unroll", "7"], "steps must be a multiple of unroll"),
        (["--set", "maml_batch=3"], "meta_tasks must be a multiple of maml_batch"),
        (["--set", "table_step=11"], "table_step must be at most steps, found 11 and 10"),
        (["--test-tasks", "1"], "test_tasks must be at least 2 for each source of a union"),
        (["--methods", "LFT,Reptile"], "unknown 'Reptile'"),
        (["--set", "val_shots=3"], "unknown setting 'val_shots'"),
        (["--set", "shots=5", "--set", "val_shots=5"], "unknown setting 'val_shots'"),
        (["--shots", "5", "--set", "val_shots=5"], "unknown setting 'val_shots'"),
        (["--set", "table=figure3"], "table is chosen by its name: lft reproduce table2"),
        (["--set", "filters=1000000"], "this run needs about"),
        (["--set", "filters=1000000"], "use fewer --workers, or smaller --set filters"),
        (["--set", "hidden=[1000000000,8]"], "use fewer --workers, or smaller --hidden"),
        (["--set", 'training=["digits","digits"]'], "some of digits, each once"),
        (["--reuse", "nowhere"], "--reuse nowhere is not a run folder"),
        (
            ["--methods", "MAML", "--set", "training=digits", "--set", "testing=digits:cnn2"],
            "none of the methods MAML can be tested on digits:cnn2 after training on digits",
        ),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_2(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = lft("table2", "--preset", "smoke", *arguments)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())  # nothing was started


def test_shots_change_d_tr_alone_and_the_help_says_how_to_change_d_val(monkeypatch):
    seen = []

    def stop(config):
        seen.append(config)
        raise KeyError("this is far enough")

    monkeypatch.setattr(main_of, "check_usable", stop)
    for arguments in (["--shots", "2"], ["--set", "query=2", "--set", "test_query=4"]):
        with pytest.raises(KeyError, match="far enough"):
            lft("table2", "--preset", "smoke", *arguments)
    usual = make_config("table2", "smoke", {})
    of_d_tr, of_d_val = ((c.shots, c.query, c.test_query) for c in seen)
    assert of_d_tr == ((2,), usual.query, usual.test_query)
    assert of_d_val == (usual.shots, 2, 4)
    said = " ".join(lft("--help").output.split())
    assert "In the few-shot tables in D_tr alone: D_val has --set query=N" in said


def test_data_that_are_not_there_are_said_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LFT_DATA", str(tmp_path))
    monkeypatch.setattr("lft_validation.datasets.cache_folder", lambda: tmp_path / "none")
    result = lft("table2", "--preset", "smoke", "--set", "testing=svhn")
    assert result.exit_code == 2
    assert "no svhn in" in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())


def test_a_run_that_does_not_fit_into_memory_says_so_before_it_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lft_validation.experiments.usable.free_memory", lambda: 2**20)
    result = lft("table2", "--preset", "smoke")
    assert result.exit_code == 2
    message = " ".join(result.output.split())
    assert "GiB are free; use fewer --workers, or smaller --lstm-units" in message
    assert not list(tmp_path.iterdir())


def test_where_memory_is_short_the_unroll_is_computed_again_in_segments(monkeypatch):
    config = make_config("table2", "paper", {"meta_batch": 40, "chunk": 40})
    needed = {s: needs.memory_bytes(config, s) for s in (None, 12, 5)}
    assert needed[None] > needed[12] > needed[5]
    for segment, free in ((None, needed[None]), (12, needed[12])):
        monkeypatch.setattr("lft_validation.experiments.usable.free_memory", lambda f=free: 2 * f)
        assert needs.fitting_segment(config, 2) == segment
    cut = dataclasses.replace(config, chunk=2)
    assert needs.memory_bytes(cut) < needs.memory_bytes(config)


def test_segments_change_no_bit_of_what_is_learned(monkeypatch):
    config = make_config("table2", "smoke", {"dtype": "float64"})
    flats, cut = [], []
    engine = methods.ENGINE

    def spied(*arguments, segment, **more):
        cut.append(segment)
        return engine(*arguments, segment=segment, **more)

    monkeypatch.setattr(methods, "ENGINE", spied)
    for segment in (None, 2):
        method = learner(make_setup(config, BOTH, 5, 0, segment), "LFT")
        flats.append(method.update(method.init(), 0)[0].flat)
    np.testing.assert_array_equal(*flats)
    assert set(cut) == {None, 2}


def test_the_memory_of_an_unroll_grows_with_its_length_the_batch_and_the_network():
    small = {"maml_batch": 1, "meta_batch": 10, "chunk": 100}
    least = needs.memory_bytes(make_config("table2", "paper", small))
    for change in ({"unroll": 40}, {"filters": 64}, {"dtype": "float64"}, {"lstm_units": 40}):
        more = make_config("table2", "paper", small | change)
        assert needs.memory_bytes(more) > least
    large = make_config("table2", "paper", small | {"meta_batch": 100})
    assert needs.memory_bytes(large) > 8 * least
