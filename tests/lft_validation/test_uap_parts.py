"""Attack tasks, what is measured on them, PGD, and how results are put together."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")  # the digits

from lft_backends.backend import get_backend
from lft_backends.draws import Stage
from lft_ref import AttackLoss, Data, unflatten
from lft_validation.errors import UserError
from lft_validation.experiments.uap import methods as methods_module
from lft_validation.experiments.uap import run
from lft_validation.experiments.uap import tasks as tasks_module
from lft_validation.experiments.uap.config import FIRST, ZEROTH, make_config
from lft_validation.experiments.uap.methods import (
    learner,
    make_setup,
    meta_groups,
    meta_task,
    tuned_loss,
)
from lft_validation.experiments.uap.metrics import (
    RAN_AWAY,
    first_step,
    fooled,
    known_mean,
    known_sd,
    make_meter,
    own_first_steps,
    share,
)
from lft_validation.experiments.uap.pgd import pgd
from lft_validation.experiments.uap.pictures import _sheet
from lft_validation.experiments.uap.tasks import make_problem, pool
from lft_validation.experiments.unions import NONE, union
from lft_validation.victims import load_victim, shipped

NUMPY = get_backend("numpy", "float64")
CONFIG = make_config("smoke", {"dtype": "float64"})
BOTH = "mnist+cifar10"


def problem(**changes):
    return make_problem(make_config("smoke", {"dtype": "float64", **changes}), NUMPY, "digits")


def rows_of(split: str) -> set[bytes]:
    x = pool("digits", split).dataset.scaled()
    return {image.tobytes() for image in x}


def test_a_task_has_the_same_few_classes_in_both_sets_each_from_its_own_split():
    train, val = problem(shots=3).data(0, Stage.UAP_TEST_TASK, range(5))
    assert train.x.shape == (5, 6, 1, 8, 8)
    assert val.x.shape == (5, 4, 1, 8, 8)
    for y, y_val in zip(train.y, val.y, strict=True):
        assert len(set(y)) == 2
        assert set(y) == set(y_val)
        assert sorted(np.bincount(y)[list(set(y))]) == [3, 3]
    for data, split in ((train, "train"), (val, "test")):
        images = {i.astype(np.float32).tobytes() for i in data.x.reshape(-1, 1, 8, 8)}
        assert images <= rows_of(split)
    assert len({x.tobytes() for x in train.x}) == 5  # tasks differ


def test_a_task_does_not_depend_on_its_neighbours():
    p = problem()
    together, _ = p.data(3, Stage.UAP_META_TASK, range(4))
    alone, _ = p.data(3, Stage.UAP_META_TASK, [2])
    np.testing.assert_array_equal(together.x[2], alone.x[0])
    np.testing.assert_array_equal(
        p.theta_0(3, Stage.UAP_META_INIT, range(4))[2], p.theta_0(3, Stage.UAP_META_INIT, [2])[0]
    )


@pytest.mark.parametrize(("images", "always"), [("correct", True), ("all", False)])
def test_images_that_the_victim_gets_wrong_are_left_out_unless_asked_for(images, always):
    p = problem(images=images)
    _, val = p.data(0, Stage.UAP_TEST_TASK, range(40))
    wrong = fooled(NUMPY, p.loss, np.zeros((40, 64)), val)
    assert wrong.any() != always


def test_initial_perturbations_are_small_and_normal():
    theta = problem().theta_0(0, Stage.UAP_TEST_INIT, range(50))
    assert theta.std() == pytest.approx(CONFIG.initial_scale, rel=0.05)
    assert abs(theta.mean()) < 0.01 * CONFIG.initial_scale * 10


def test_success_is_measured_on_images_in_their_box():
    p = problem(clip_images=False)
    data = p.data(0, Stage.UAP_TEST_TASK, range(8))
    theta = 5.0 * np.random.default_rng(0).standard_normal((8, 64))
    z = p.loss._replace(clip=True).logits(theta, data[1])
    outside = p.loss.logits(theta, data[1])
    assert (np.argmax(z, axis=-1) != np.argmax(outside, axis=-1)).any()
    expected = np.argmax(z, axis=-1) != data[1].y
    meter = make_meter(NUMPY, p.loss, data, theta)
    found = meter.measure(theta)
    np.testing.assert_allclose(found[1], expected.mean(axis=-1))
    np.testing.assert_allclose(found[4], np.abs(theta).mean(axis=-1))
    np.testing.assert_allclose(found[5], p.loss.value(theta, data[0]))


def test_a_perturbation_that_ran_away_fools_nobody():
    p = problem()
    data = p.data(0, Stage.UAP_TEST_TASK, range(2))
    meter = make_meter(NUMPY, p.loss, data, np.zeros((2, 64)))
    with np.errstate(all="ignore"):
        found = meter.measure(np.full((2, 64), np.nan))
    np.testing.assert_array_equal(found[:4], 0.0)
    np.testing.assert_array_equal(found[4:], RAN_AWAY)


def test_only_images_that_were_classified_correctly_count_for_success():
    won = np.asarray([[True, False, True], [True, True, True]])
    counted = np.asarray([[True, True, False], [False, False, False]])
    np.testing.assert_array_equal(share(won, counted), [0.5, np.nan])


def test_figure_a4_names_every_class_of_a_task_once():
    setup = make_setup(make_config("smoke", {"classes": 3}), FIRST, 0, NONE)
    sheet = _sheet(setup, "digits", {}, 0)
    first, second, third = dict.fromkeys(map(str, sheet.y))
    assert sheet.title == f"task 1: classes {first}, {second} and {third}"
    one = make_setup(make_config("smoke", {"classes": 1}), FIRST, 0, NONE)
    sheet = _sheet(one, "digits", {}, 0)
    assert sheet.title == f"task 1: class {sheet.y[0]}"


def test_means_are_over_the_tasks_where_an_image_counts():
    values = np.asarray([[0.5, np.nan, 1.0], [0.0, np.nan, np.nan]])
    np.testing.assert_array_equal(known_mean(values, axis=0), [0.25, np.nan, 1.0])
    np.testing.assert_array_equal(known_sd(values, axis=0), [0.25, np.nan, 0.0])
    assert known_mean(values) == 0.5
    assert first_step(np.full((2, 3), np.nan)) is None


def test_first_steps_are_of_the_mean_and_of_each_task():
    success = np.asarray([[0.0, 1.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    assert first_step(success) == 3
    assert first_step(success[:, :3]) is None
    np.testing.assert_array_equal(own_first_steps(success), [1, 2, 2])
    np.testing.assert_array_equal(own_first_steps(success[:, :2]), [1, 2, 2])


def test_pgd_steps_by_sign_and_stays_in_its_box():
    rule, theta = pgd(0.1, 0.25, np), np.asarray([0.0, 0.2, -0.2, 0.9])
    state = rule.init(theta)
    for expected in ([-0.1, 0.25, -0.25, 0.25], [-0.2, 0.25, -0.25, 0.25]):
        delta, state = rule.update(np.asarray([2.0, -3.0, 5.0, -0.1]), state)
        theta = theta - delta
        np.testing.assert_allclose(theta, expected)
    for bad in ((0.0, 1.0), (1.0, -1.0)):
        with pytest.raises(UserError, match="must be positive"):
            pgd(*bad, np)


def test_pgd_descends_on_the_attack_loss_without_l1_and_the_others_on_12():
    p = problem(l1=0.5)
    assert tuned_loss(p, "PGD").l1 == 0.0
    assert tuned_loss(p, "Adam") is p.loss
    data, theta = p.data(0, Stage.UAP_TEST_TASK, [0])[0], np.full((1, 64), 0.1)
    gap = p.loss.value(theta, data) - tuned_loss(p, "PGD").value(theta, data)
    np.testing.assert_allclose(gap, 0.5 * 6.4)


@pytest.fixture
def union_setup(monkeypatch):
    """Digits, and a second source of another size: their 6 × 6 pixels at the upper left."""
    config = make_config("smoke", {"dtype": "float64", "meta_batch": 2})
    setup = make_setup(config, FIRST, 0, "digits")

    class Cropped(tasks_module.AttackProblem):
        @property
        def d(self):
            return 36

        def data(self, seed, stage, tasks):
            sets = super().data(seed, stage, tasks)
            return tuple(Data(s.x[..., :6, :6], s.y) for s in sets)

    from lft_ref import AttackLoss, mlp
    from lft_ref.networks import Network
    from lft_ref.pooling import Flatten

    network = Network((Flatten(), *mlp((36, 5, 10)).layers))
    weights = np.random.default_rng(1).standard_normal(network.size)
    loss = AttackLoss(network, weights, 3.0, 0.02, clip=False)
    other = Cropped("mnist", NUMPY, config, setup.problems["digits"].victim, loss)
    monkeypatch.setattr(tasks_module, "pool", lambda _, split: pool("digits", split))
    problems = {**setup.problems, "mnist": other}
    monkeypatch.setattr(methods_module, "_problem", lambda _, name: problems[name])
    return setup._replace(problems=problems, training=("digits", "mnist"))


def test_meta_batches_of_a_union_alternate_between_sources_of_different_size(union_setup):
    batches = [meta_groups(union_setup, "LFT", batch) for batch in range(4)]
    sizes = [group.task(*group.args).theta_0.shape for (group,) in batches]
    assert sizes == [(2, 64), (2, 36), (2, 64), (2, 36)]


def test_one_phi_is_trained_on_tasks_of_different_size(union_setup):
    method = learner(union_setup, "LFT")
    state = method.init()
    flats = [state.flat]
    for batch in range(2):
        state, loss = method.update(state, batch)
        assert np.isfinite(loss)
        flats.append(state.flat)
    assert not np.array_equal(flats[0], flats[1])
    assert not np.array_equal(flats[1], flats[2])
    assert unflatten(state.flat, 2, 4).n == 4


def test_l2o_is_judged_on_what_it_is_fine_tuned_on():
    lft, l2o, only = (
        meta_task(CONFIG, "digits", 0, m, range(2)) for m in ("LFT", "L2O", "L2O-train")
    )
    assert [t.train.x.shape[1] for t in (lft, l2o, only)] == [4, 8, 4]
    np.testing.assert_array_equal(l2o.train.x, l2o.val.x)
    np.testing.assert_array_equal(only.val.x, lft.train.x)


def test_zeroth_order_fine_tuning_sees_values_alone_and_meta_training_gradients(monkeypatch):
    """As docs/deviations.md says: ∇f on D_val, and on D_tr inside ∂g/∂θ of (6)."""
    changes = {"settings": (ZEROTH,), "shots": 3, "val_shots": 1}
    setup = make_setup(make_config("smoke", changes), ZEROTH, 0, "digits")
    asked = []

    def spied(plain):
        def asking(self, theta, data):
            asked.append((theta.shape[0], data.y.shape[-1]))
            return plain(self, theta, data)

        return asking

    for name in ("grad", "value_and_grad"):
        monkeypatch.setattr(AttackLoss, name, spied(getattr(AttackLoss, name)))
    trained, config = learner(setup, "LFT"), setup.config
    state, _ = trained.update(trained.init(), 0)
    q, images = config.directions, config.classes * config.shots
    steps, unrolls = config.steps, config.steps // config.unroll
    on_val = [batch for batch, number in asked if number == config.classes]
    assert len(on_val) == unrolls  # of the step that w_k weighs
    assert len(asked) - len(on_val) == 2 * steps  # at θ, and at all θ + μ u_j
    assert {batch for batch, number in asked if number == images} == {1, q}
    asked.clear()
    for method, flat in (("LFT", state.flat), ("Adam", None)):
        curves = run.test_curves(setup, method, flat, "digits", range(2))
        assert np.isfinite(curves).all()
    assert not asked


def test_a_unions_tasks_are_as_many_of_each_source():
    config = make_config("smoke", {"test_tasks": 5})
    a, b = np.zeros((6, 5, 3)), np.ones((6, 5, 3))
    joined = union(config, {"digits": a, "mnist": b}, ["digits", "mnist"])
    np.testing.assert_array_equal(joined[0, :, 0], [0, 0, 1, 1])
    np.testing.assert_array_equal(union(config, {"digits": a}, ["digits"]), a)


def test_every_shipped_victims_source_has_a_key_and_keys_keep_their_places():
    sources = {load_victim(name).about["source"] for name in shipped()}
    assert sources <= set(tasks_module.KEYS)
    with pytest.raises(UserError, match="unknown 'digits-mlp'"):  # a victim, and no source
        make_config("smoke", {"training": ("digits-mlp",)})
    first = ("mnist", "cifar10", "fashion-mnist", "svhn", "digits")
    assert tasks_module.KEYS[:5] == first
