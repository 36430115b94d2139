"""The parts of few-shot classification: tasks, learners, measurement, tables, figures."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")  # the digits

from lft_backends.backend import get_backend
from lft_backends.draws import Stage
from lft_ref import Data
from lft_validation.experiments.fewshot import run as jobs_of
from lft_validation.experiments.fewshot.config import (
    METHODS,
    applicable,
    make_config,
    measured_steps,
    network_of,
    without,
)
from lft_validation.experiments.fewshot.methods import fine_tuner, learner, make_setup, meta_groups
from lft_validation.experiments.fewshot.metrics import RAN_AWAY, measure
from lft_validation.experiments.fewshot.plot import draw
from lft_validation.experiments.fewshot.report import summarise
from lft_validation.experiments.fewshot.tables import markdown, show
from lft_validation.experiments.fewshot.tasks import make_network, make_problem
from lft_validation.experiments.unions import NONE, parts, union
from lft_validation.experiments.usable import numbers_per_image
from lft_validation.report import read_paper
from tests.lft_validation.fewshot_results import made_up

NUMPY = get_backend("numpy", "float64")
BOTH = "digits+digits:cnn2"


def setup_of(training: str = BOTH, **changes):
    union = {"training": (training,), "testing": (training,), "dtype": "float64"}
    config = make_config("table2", "smoke", union | changes)
    return make_setup(config, training, 5, 0)


def tasks_of(setup, method, batch):
    return [group.task(*group.args) for group in meta_groups(setup, method, batch)]


def test_a_source_has_its_own_network():
    config = make_config("table2", "paper", {})
    sizes = {s: make_network(config, s).size for s in ("mnist", "cifar10", "digits:cnn2")}
    assert sizes == {"mnist": 26_242, "cifar10": 7_538, "digits:cnn2": 2_610}
    assert [network_of(s) for s in ("omniglot", "miniimagenet", "svhn")] == ["cnn2", "cnn4", "cnn4"]


def test_tasks_of_a_union_take_turns_between_networks_of_different_size():
    one = setup_of(meta_batch=1)
    sizes = [[t.theta_0.shape for t in tasks_of(one, "LFT", batch)] for batch in range(3)]
    mlp, cnn = (make_network(one.config, s).size for s in parts(BOTH))
    assert sizes == [[(1, mlp)], [(1, cnn)], [(1, mlp)]]
    assert mlp != cnn


def test_a_meta_batch_of_a_union_has_a_group_for_each_network():
    two = setup_of(meta_batch=4)
    mlp, cnn = (make_network(two.config, s).size for s in parts(BOTH))
    assert [t.theta_0.shape for t in tasks_of(two, "LFT", 0)] == [(2, mlp), (2, cnn)]


def test_a_meta_batch_cut_into_parts_has_the_tasks_of_one_that_is_not():
    whole, cut = (setup_of(meta_batch=4, meta_tasks=8, chunk=chunk) for chunk in (8, 1))
    (mlps, cnns), parts_ = (tasks_of(setup, "LFT", 1) for setup in (whole, cut))
    for tasks, two in ((mlps, parts_[:2]), (cnns, parts_[2:])):
        np.testing.assert_array_equal(tasks.theta_0, np.concatenate([t.theta_0 for t in two]))
        np.testing.assert_array_equal(tasks.val.x, np.concatenate([t.val.x for t in two]))


@pytest.mark.parametrize("meta_batch", [1, 2])
def test_one_phi_is_trained_on_networks_of_different_size(meta_batch):
    method = learner(setup_of(meta_batch=meta_batch), "LFT")
    state = method.init()
    flats = [state.flat]
    for batch in range(2):
        state, loss = method.update(state, batch)
        assert np.isfinite(loss)
        flats.append(state.flat)
    assert not np.array_equal(flats[0], flats[1])
    assert not np.array_equal(flats[1], flats[2])


def test_l2o_is_judged_on_what_it_is_fine_tuned_on():
    setup = setup_of("digits")
    lft, l2o, only = (tasks_of(setup, m, 0)[0] for m in ("LFT", "L2O", "L2O-train"))
    assert [t.train.x.shape[1] for t in (lft, l2o, only)] == [10, 16, 10]
    assert [t.val.x.shape[1] for t in (lft, l2o, only)] == [6, 16, 10]
    np.testing.assert_array_equal(l2o.train.x, l2o.val.x)
    np.testing.assert_array_equal(only.val.x, lft.train.x)


@pytest.mark.parametrize("training", ["digits", BOTH])
@pytest.mark.parametrize(("tasks", "size"), [(5, 1), (9, 3), (4, 2)])  # of meta-training, a batch
def test_a_task_met_again_has_its_data_its_source_and_another_start(training, tasks, size):
    setup = setup_of(training, passes=2, meta_tasks=tasks, meta_batch=size, maml_batch=1)
    for batch in range(tasks // size):
        firsts, again = (tasks_of(setup, "LFT", k) for k in (batch, batch + tasks // size))
        for one, other in zip(firsts, again, strict=True):
            np.testing.assert_array_equal(one.train.x, other.train.x)
            assert one.theta_0.shape == other.theta_0.shape
            assert not np.array_equal(one.theta_0, other.theta_0)


def test_maml_and_fomaml_learn_a_start_for_one_network():
    starts = {}
    for name in ("MAML", "FOMAML"):
        method = learner(setup_of("digits", maml_learning_rate=0.1), name)
        state = method.init()
        first = state.flat
        for batch in range(2):
            state, _ = method.update(state, batch)
        starts[name] = state.flat
        assert not np.array_equal(state.flat, first)
    assert not np.array_equal(starts["MAML"], starts["FOMAML"])


def test_methods_are_tested_where_they_fit():
    for method in ("MAML", "FOMAML"):
        assert applicable("mnist", method, "mnist")
        assert not applicable("mnist", method, "cifar10")
        assert not applicable("mnist+cifar10", method, "mnist+cifar10")
    assert applicable("mnist", "LFT", "cifar10")
    assert applicable(NONE, "Adam", "mnist+cifar10")
    assert not applicable("mnist", "Adam", "mnist")


def test_fine_tuning_lowers_the_loss_of_both_networks():
    config = make_config("table2", "smoke", {"dtype": "float64", "testing": (BOTH,)})
    setup = make_setup(config, NONE, 5, 0)
    for name in parts(BOTH):
        problem = setup.problems[name]
        train, _ = problem.data(0, Stage.FEWSHOT_TEST_TASK, range(3), 5, "test")
        theta = problem.theta_0(0, Stage.FEWSHOT_TEST_INIT, range(3))
        rule, before = fine_tuner(setup, "SGD", None), problem.loss.value(theta, train)
        state = rule.init(theta)
        for _ in range(5):
            delta, state = rule.update(problem.loss.grad(theta, train), state)
            theta = theta - delta
        assert (problem.loss.value(theta, train) < before).all()


def test_accuracy_is_the_share_of_images_whose_largest_logit_is_right():
    config = make_config("table2", "smoke", {})
    problem = make_problem(config, NUMPY, "digits:cnn2")
    sets = problem.data(0, Stage.FEWSHOT_TEST_TASK, range(3), 5, "test")
    theta = problem.theta_0(0, Stage.FEWSHOT_TEST_INIT, range(3))
    found = measure(NUMPY, problem.loss, theta, sets)
    for row, data in ((0, sets[1]), (2, sets[0])):
        z = problem.network.activations(theta, data.x)[-1]
        expected = [np.mean([np.argmax(a) == c for a, c in zip(z[i], data.y[i], strict=True)])
                    for i in range(3)]  # fmt: skip
        np.testing.assert_allclose(found[row], expected)
    np.testing.assert_allclose(found[1], problem.loss.value(theta, sets[1]))
    with np.errstate(all="ignore"):
        gone = measure(NUMPY, problem.loss, np.full_like(theta, np.nan), sets)
    np.testing.assert_array_equal(gone[[0, 2]], 0.0)
    np.testing.assert_array_equal(gone[1], RAN_AWAY)


def test_an_image_takes_its_activations_and_the_patches_of_every_convolution():
    config = make_config("table2", "smoke", {})
    shape = (1, 8, 8)
    mlp, cnn = (numbers_per_image(make_network(config, s), shape) for s in parts(BOTH))
    assert mlp == 64 + 64 + 8 + 8 + 8 + 8 + 2  # image, flattened, hidden, ReLU, hidden, ReLU, out
    patches = 9 * 64 + 4 * 9 * 16
    assert cnn == patches + 64 + 4 * (64 + 16 + 16) + 4 * (16 + 4 + 4) + 16 + 2


def test_figure_3_says_that_maml_does_not_apply(tmp_path, monkeypatch, capsys):
    config = make_config("figure3", "paper", {"seeds": (0,), "test_tasks": 8})
    results, drawn = made_up(config), list[str]()
    assert not {cell.method for cell in results} & {"MAML", "FOMAML"}
    summary = summarise(config, results, {})
    text = markdown(config, summary)
    for method in ("MAML", "FOMAML"):
        for testing in ("mnist", "cifar10"):
            assert f"| mnist+cifar10 | {testing} | any | {method} | n/a |" in text
    assert "do not apply to incongruous tasks" in text
    show(config, summary)
    assert "MAML, FOMAML: not applicable across networks" in capsys.readouterr().out
    monkeypatch.setattr("matplotlib.axes.Axes.text", lambda _, s, **__: drawn.append(s))
    draw(config, results, tmp_path)
    assert drawn == ["MAML, FOMAML: n/a"] * 4  # two panels of accuracy, two of loss
    alone = {"training": "mnist", "testing": "mnist", "methods": ("LFT", "MAML")}
    assert without(make_config("figure3", "paper", alone)) == []


def test_the_papers_tables_are_as_printed():
    counts = {table: len(read_paper(table)["rows"]) for table in ("table2", "tableA1", "tableA2")}
    assert counts == {"table2": 13, "tableA1": 8, "tableA2": 13}
    rows = {(r["training"], r["method"], r["testing"]): r for r in read_paper("table2")["rows"]}
    assert rows["mnist+cifar10", "LFT", "mnist+cifar10"]["accuracy"] == 0.72
    assert rows["cifar10", "MAML", "cifar10"]["sd"] == 0.008
    assert read_paper("figure3")["rows"] == []


def test_the_table_has_the_paper_beside_ours_and_says_where_a_method_does_not_apply(tmp_path):
    config = make_config("table2", "paper", {"seeds": (0,), "test_tasks": 8})
    results = made_up(config)
    summary = summarise(config, results, {})
    assert len(summary["rows"]) == 3 * 9 + 2 * 2 + 2 * 3
    by_cell = {(r["training"], r["method"], r["testing"]): r for r in summary["rows"]}
    assert by_cell["cifar10", "LFT", "mnist"]["paper"] == {"accuracy": 0.35, "sd": 0.019}
    assert by_cell["mnist", "LFT", "mnist"]["paper"] is None
    assert by_cell["mnist", "LFT", "mnist"]["interval_seeds"] is None
    low, high = by_cell["mnist", "LFT", "mnist"]["interval_tasks"]
    assert low < by_cell["mnist", "LFT", "mnist"]["by_seed"][0] < high
    text = markdown(config, summary)
    assert "| cifar10 | mnist | 5 | LFT | 35 % ± 1.9 % | 54." in text
    assert "| mnist+cifar10 | mnist | any | MAML | n/a |" in text
    assert "not the counts of the paper" in text
    assert {p.name for p in draw(config, results, tmp_path)} == {
        f"table2{what}.{kind}" for what in ("", "-loss") for kind in ("png", "svg")
    }


def test_what_stands_in_is_compared_with_what_it_stands_for():
    unions = dict.fromkeys(("training", "testing"), ("omniglot", "cifar10", "omniglot+cifar10"))
    config = make_config("tableA2", "paper", {"test_tasks": 8, "methods": ("LFT", "L2O")} | unions)
    summary = summarise(config, made_up(config), {"miniimagenet": "cifar10"})
    by_cell = {(r["training"], r["method"], r["testing"]): r for r in summary["rows"]}
    assert by_cell["omniglot+cifar10", "LFT", "cifar10"]["paper"]["accuracy"] == 0.45
    assert by_cell["cifar10", "LFT", "omniglot"]["paper"] is None
    text = markdown(config, summary)
    assert "cifar10 stands in the place of miniimagenet" in text
    assert "not the counts of the paper" in text


def test_a_unions_tasks_are_as_many_of_each_source():
    config = make_config("table2", "smoke", {"test_tasks": 5})
    a, b = np.zeros((3, 5, 4)), np.ones((3, 5, 4))
    joined = union(config, {"digits": a, "mnist": b}, ["digits", "mnist"])
    np.testing.assert_array_equal(joined[0, :, 0], [0, 0, 1, 1])
    np.testing.assert_array_equal(union(config, {"digits": a}, ["digits"]), a)
    tasks = np.broadcast_to(np.arange(5.0)[:, None], (3, 5, 4))
    both = {"digits": tasks, "digits:cnn2": 10.0 + tasks}  # task i has the same images in both
    joined = union(config, both, list(both))
    np.testing.assert_array_equal(joined[0, :, 0], [0, 1, 12, 13])


def test_maml_is_not_trained_where_no_cell_shows_it():
    methods, pair = ("MAML", "L2O"), "digits+digits:cnn2"
    changes = {"training": ("digits",), "testing": (pair,), "methods": methods}
    config = make_config("table2", "smoke", changes)
    assert {key.method for key in jobs_of.job_keys(config)} == {"L2O"}
    config = make_config("table2", "smoke", changes | {"testing": ("digits", pair)})
    found = {key.method: jobs_of.tested_on(config, key) for key in jobs_of.job_keys(config)}
    assert found == {"MAML": ["digits"], "L2O": ["digits", "digits:cnn2"]}


def test_a_source_that_names_its_usual_network_is_the_source():
    changes = {"training": "digits:mlp", "testing": ["digits", "digits:mlp+digits:cnn2"]}
    config = make_config("table2", "smoke", changes)
    assert config.training == ("digits",)
    assert config.testing == ("digits", "digits+digits:cnn2")


def test_images_that_are_not_the_official_ones_are_named_in_the_table():
    config = make_config("table2", "paper", {"seeds": (0,), "test_tasks": 8})
    data = {
        "cifar10": {
            "train": {"images": 50000, "official": True},
            "test": {"images": 1000, "official": False},
        }
    }
    text = markdown(config, summarise(config, made_up(config), {}, data))
    assert "cifar10's test images: 1,000, not the official file." in text
    assert "not the official" not in markdown(config, summarise(config, made_up(config), {}))


def test_every_method_has_a_colour_and_measured_steps_include_what_tables_show():
    from lft_validation.experiments.figures import COLOURS

    assert set(COLOURS) >= set(METHODS)
    config = make_config("table2", "paper", {"table_step": 33})
    steps = measured_steps(config)
    assert {0, 1, 2, 5, 10, 20, 33, config.steps} <= set(steps)
    assert steps == sorted(set(steps))


def test_d_tr_and_d_val_of_a_test_task_are_of_the_test_images():
    problem = make_problem(make_config("table2", "smoke", {}), NUMPY, "digits")
    train, test = (problem.data(0, Stage.FEWSHOT_TEST_TASK, [0], 5, goal)[0]
                   for goal in ("train", "test"))  # fmt: skip
    assert isinstance(train, Data)
    assert train.x.shape == test.x.shape == (1, 10, 1, 8, 8)
    assert not np.array_equal(train.x, test.x)
