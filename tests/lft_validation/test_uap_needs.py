"""What a run of Table 1 needs of memory is known before it starts."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest
from click.testing import CliRunner

pytest.importorskip("sklearn")  # the digits

from lft_validation.cli import main
from lft_validation.experiments.uap import needs, run
from lft_validation.experiments.uap.config import FIRST, ZEROTH, make_config
from lft_validation.experiments.uap.methods import learner, make_setup

DIGITS = {"seeds": (0,), "training": ("digits",), "testing": ("digits",), "methods": ("LFT",),
          "meta_tasks": 80, "steps": 20, "table_step": 10, "test_tasks": run.CHUNK}  # fmt: skip


def peak(compute) -> int:
    """Bytes that are asked for at most, once everything is loaded."""
    compute()
    tracemalloc.start()
    compute()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weighting": "every", "dtype": "float64"},
        {"meta_batch": 8, "lstm_units": 20},
        {"methods": ("L2O",), "shots": 6, "weighting": "every"},
        {"methods": ("MAML",), "maml_batch": 16},
        {"settings": (ZEROTH,), "meta_batch": 2},
        {"settings": (ZEROTH,), "methods": ("MAML",), "maml_batch": 8},
    ],
)
def test_meta_training_takes_about_what_was_estimated(changes):
    config = make_config("paper", DIGITS | changes)
    (method,), (setting,) = config.methods, config.settings
    trained = learner(make_setup(config, setting, 0, "digits"), method)
    state = trained.init()
    found = peak(lambda: trained.update(state, 0))
    assert 0.6 < found / needs._training_bytes(config, "digits") < 1.5


@pytest.mark.parametrize("changes", [{}, {"lstm_units": 40}, {"shots": 8}, {"settings": (ZEROTH,)}])
def test_testing_takes_about_what_was_estimated(changes):
    config = make_config("paper", DIGITS | changes)
    setting = config.settings[0]
    setup = make_setup(replace(config, steps=2), setting, 0, "digits")
    flat = learner(setup, "LFT").init().flat
    found = peak(lambda: run.test_curves(setup, "LFT", flat, "digits", range(run.CHUNK)))
    assert 0.6 < found / needs._testing_bytes(config, "digits") < 1.5


def test_what_is_not_run_is_not_counted():
    config = make_config("paper", DIGITS | {"maml_batch": 80, "settings": (FIRST,)})
    with_maml = replace(config, methods=("LFT", "MAML"))
    assert needs._training_bytes(with_maml, "digits") > 5 * needs._training_bytes(config, "digits")
    by_hand = replace(config, methods=("Adam",))
    assert needs._training_bytes(by_hand, "digits") == 0
    assert needs.memory_bytes(by_hand, ["digits"]) > needs._testing_bytes(by_hand, "digits")


@pytest.mark.parametrize("experiment", ["table1", "table1-beyond", "figureA4"])
def test_a_run_that_does_not_fit_into_memory_says_so_before_it_starts(
    tmp_path, monkeypatch, experiment
):
    monkeypatch.setattr("lft_validation.experiments.usable.free_memory", lambda: 2**20)
    out = tmp_path / "run"
    result = CliRunner().invoke(
        main, ["reproduce", experiment, "--preset", "smoke", "--out", str(out)]
    )
    assert result.exit_code == 2, result.output
    message = " ".join(result.output.split())
    assert "GiB are free; use fewer --workers, or smaller --shots, --lstm-units" in message
    assert not out.exists()
