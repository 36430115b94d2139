"""Tasks of meta-validation choose among what a meta-training of Figure 4 met on its way."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from lft_backends.draws import Stage
from lft_validation.cli import main
from lft_validation.errors import UserError
from lft_validation.experiments.figure4.config import FIRST, ZEROTH, make_config
from lft_validation.experiments.figure4.methods import fine_tuner, make_setup
from lft_validation.experiments.figure4.run import VALIDATION, validation_error
from lft_validation.experiments.figure4.run import test_curve as curve_of

TINY = {
    "meta_tasks": 25,
    "meta_batch": 1,
    "test_tasks": 4,
    "steps": 4,
    "unroll": 2,
    "long_steps": 4,
    "hidden": (5,),
    "lstm_units": 3,
    "maml.batch": 5,
    "learning_rate": 0.05,
    "maml.learning_rate": 0.3,
}  # fmt: skip; rates so high that the last is not the best


@pytest.mark.parametrize("setting", [FIRST, ZEROTH])
@pytest.mark.parametrize("method", ["LFT", "L2O-train", "MAML"])
def test_what_is_chosen_has_the_least_error_on_tasks_of_meta_validation(tmp_path, setting, method):
    plain = {name: value for name, value in TINY.items() if name != "hidden"}
    chosen = {}
    for tasks in (0, 60):
        out, changes = tmp_path / str(tasks), plain | {"validation_tasks": tasks}
        result = CliRunner().invoke(
            main,
            ["reproduce", "figure4", "--preset", "smoke", "--methods", method, "--hidden", "5",
             *(f"--set={name}={value}" for name, value in changes.items()),
             f'--set=settings=["{setting}"]', "--out", str(out)],
            catch_exceptions=False,
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        (file,) = out.glob("jobs/*/result.npz")
        chosen[tasks] = np.load(file)["flat"]
    setup = make_setup(make_config("smoke", TINY | {"validation_tasks": 60}), setting, 0)
    errors = {tasks: validation_error(setup, method, flat) for tasks, flat in chosen.items()}
    assert errors[60] < errors[0]


def test_an_error_is_the_mean_over_all_tasks_after_the_last_step():
    setup = make_setup(make_config("smoke", TINY | {"validation_tasks": 60}), FIRST, 0)
    flat = np.random.default_rng(0).normal(0, 0.1, 76).astype("f4")
    rule = fine_tuner(setup, "LFT", flat)
    whole = curve_of(setup, rule, None, range(60), 4, VALIDATION)
    assert validation_error(setup, "LFT", flat) == pytest.approx(whole[:, -1].mean(), rel=1e-5)


def test_tasks_of_meta_validation_are_neither_trained_nor_tested_on():
    setup = make_setup(make_config("smoke", {}), FIRST, 0)
    stages = (Stage.META_TASK, Stage.TEST_TASK, Stage.VALIDATION_TASK)
    drawn = [setup.problem.data(0, stage, range(8))[0].x.ravel().tolist() for stage in stages]
    assert len({x for points in drawn for x in points}) == sum(map(len, drawn))


def test_their_number_is_a_whole_one():
    assert make_config("paper", {"validation_tasks": 100}).validation_tasks == 100
    with pytest.raises(UserError, match=r"^validation_tasks must be whole numbers of at least 0"):
        make_config("paper", {"validation_tasks": -1})
