"""Tasks of meta-validation choose among what a few-shot meta-training met on its way."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

pytest.importorskip("sklearn")  # the digits

from lft_backends.draws import Stage
from lft_validation.errors import UserError
from lft_validation.experiments.fewshot.config import make_config
from lft_validation.experiments.fewshot.methods import learner, make_setup
from lft_validation.experiments.fewshot.run import JobKey, owners, run_job
from lft_validation.experiments.fewshot.trial import _errors, validation_error
from lft_validation.jobs import Monitor

BOTH = "digits+digits:cnn2"
TINY = {
    "training": (BOTH,),
    "testing": (BOTH,),
    "meta_tasks": 24,
    "steps": 4,
    "unroll": 2,
    "table_step": 3,
    "learning_rate": 0.1,
    "maml_learning_rate": 0.3,
}  # rates so high that the last is not the best
MONITOR = Monitor(0, [0.0], threading.Event(), os.getpid())


def setup_of(training: str = BOTH, **changes):
    sources = {"training": (training,), "testing": (training,)}
    config = make_config("table2", "smoke", TINY | sources | changes)
    return make_setup(config, training, 2, 0)


@pytest.mark.parametrize(
    ("method", "training"), [("LFT", BOTH), ("L2O-train", "digits"), ("MAML", "digits:cnn2")]
)
def test_what_is_chosen_has_the_least_error_on_tasks_of_meta_validation(tmp_path, method, training):
    chosen, setup = {}, setup_of(training, validation_tasks=20)
    for tasks in (0, 20):
        config = setup_of(training, validation_tasks=tasks).config
        key = JobKey(training, method, 2, 0)
        folder = tmp_path / str(tasks)
        (folder / key.name).mkdir(parents=True)
        run_job(config, key, owners(config, key), folder, (), None, MONITOR)
        with np.load(folder / key.name / "learned.npz") as file:
            chosen[tasks] = file["flat"]
    errors = {tasks: validation_error(setup, method, flat) for tasks, flat in chosen.items()}
    assert errors[20] < errors[0]


def test_each_source_of_a_union_counts_as_much_as_the_other():
    setup = setup_of(validation_tasks=5)
    flat = np.full_like(learner(setup, "LFT").init().flat, 0.01)
    mlp, cnn = (setup.problems[source] for source in setup.training)
    errors = _errors(setup, "LFT", flat, mlp, range(0, 5, 2)).mean()
    errors += _errors(setup, "LFT", flat, cnn, range(1, 5, 2)).mean()
    assert validation_error(setup, "LFT", flat) == pytest.approx(errors / 2)


def test_tasks_of_meta_validation_are_drawn_for_themselves():
    setup = setup_of("digits")
    stages = (Stage.FEWSHOT_META_TASK, Stage.FEWSHOT_VALIDATION_TASK)
    problem = setup.problems["digits"]
    meta, own = (problem.data(0, stage, range(8), 2, "train")[0].x for stage in stages)
    assert not np.array_equal(meta, own)


def test_what_is_learned_depends_on_how_it_is_chosen():
    def learned(**changes):
        config = setup_of("digits", **changes).config
        return owners(config, JobKey("digits", "LFT", 2, 0)).learned

    assert learned(validation_tasks=20) != learned()
    assert learned(validation_tasks=20, table_step=4) != learned(validation_tasks=20)
    assert learned(table_step=4) == learned()


@pytest.mark.parametrize("tasks", [-1, 1])
def test_there_is_none_or_one_for_each_source(tasks):
    with pytest.raises(UserError, match=r"^validation_tasks must be .* at least"):
        setup_of(validation_tasks=tasks)
