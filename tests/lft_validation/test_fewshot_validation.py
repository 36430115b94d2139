"""Tasks of meta-validation choose among what a few-shot meta-training met on its way."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

pytest.importorskip("sklearn")  # the digits

from lft_backends.draws import Stage
from lft_validation import datasets, episodes
from lft_validation.errors import UserError
from lft_validation.experiments.fewshot import needs
from lft_validation.experiments.fewshot.config import make_config
from lft_validation.experiments.fewshot.methods import learner, make_setup
from lft_validation.experiments.fewshot.run import JobKey, owners, record, run_job
from lft_validation.experiments.fewshot.trial import _errors, validation_error
from lft_validation.jobs import Monitor
from tests.lft_validation.image_files import write_miniimagenet

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


@pytest.fixture
def miniimagenet(tmp_path, monkeypatch):
    """Made-up images with a split for meta-validation, found in place of any others."""
    pytest.importorskip("PIL", reason="pictures are read with Pillow")
    write_miniimagenet(tmp_path / "miniimagenet")
    monkeypatch.setenv("LFT_DATA", str(tmp_path))
    read = (datasets.read_once, episodes.pool, record)
    for known in read:
        known.cache_clear()
    yield tmp_path / "miniimagenet"
    for known in read:
        known.cache_clear()


@pytest.mark.usefixtures("miniimagenet")
def test_tasks_of_meta_validation_have_classes_of_their_own_where_there_is_a_split_for_it():
    few = {"query": 1, "test_query": 1, "filters": 2, "lstm_units": 2}
    changes = {"training": ("miniimagenet",), "testing": ("miniimagenet",), "shots": 1} | few
    config = make_config("tableA2", "smoke", changes | {"validation_tasks": 3})
    assert list(needs.check_usable(config)["miniimagenet"]) == ["train", "val", "test"]
    setup, drawn = make_setup(config, "miniimagenet", 1, 0), list[str]()
    problem = setup.problems["miniimagenet"]
    rule = learner(setup, "LFT").init().flat
    with pytest.MonkeyPatch.context() as patch:
        original = type(problem).data
        patch.setattr(type(problem), "data", lambda *a: drawn.append(a[-1]) or original(*a))
        validation_error(setup, "LFT", rule)
    assert set(drawn) == {"val"}
    x = problem.data(0, Stage.FEWSHOT_VALIDATION_TASK, range(9), 1, "val")[0].x
    reds = {
        round(float(255 * (r + 0.5))) // 10 * 10 for r in x[:, :, 0].mean(axis=(-2, -1)).ravel()
    }
    assert reds <= {70, 80, 90, 100, 110}  # those of the classes 4 and 5 of 0 … 8
    usual = make_config("tableA2", "smoke", changes)
    assert list(needs.check_usable(usual)["miniimagenet"]) == ["train", "test"]


def test_what_is_learned_depends_on_the_images_of_meta_validation(miniimagenet):
    def learned(**more):
        for known in (datasets.read_once, episodes.pool, record):
            known.cache_clear()
        changes = dict.fromkeys(("training", "testing"), ("miniimagenet",)) | more
        config = make_config("tableA2", "smoke", changes)
        return owners(config, JobKey("miniimagenet", "LFT", 5, 0)).learned

    before = learned(), learned(validation_tasks=3)
    lines = (miniimagenet / "val.csv").read_text().splitlines()
    (miniimagenet / "val.csv").write_text("\n".join(lines[:-1]) + "\n")
    assert learned() == before[0]
    assert learned(validation_tasks=3) != before[1]


@pytest.mark.parametrize("tasks", [-1, 1])
def test_there_is_none_or_one_for_each_source(tasks):
    with pytest.raises(UserError, match=r"^validation_tasks must be .* at least"):
        setup_of(validation_tasks=tasks)
