from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from lft_ref import (
    Data,
    adam,
    adjoint,
    clip_by_norm,
    clip_each_task,
    flatten,
    forward_mode,
    initial_meta_state,
    l2o_data,
    l2o_train_data,
    lft_data,
    meta_update,
    sgd,
    sum_over_tasks,
    train_on,
    unroll,
    weights_every_step,
    weights_last_step,
    weights_linear,
    weights_mean,
)
from lft_ref.meta_gradient import weighted_sum
from lft_validation.autodiff_oracle import oracle
from tests.helpers import assert_close, relative_error
from tests.random_cases import random_case


def data(seed, N, outputs=None, batch=()):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(*batch, N) if outputs is None else (*batch, N, outputs))
    return Data(rng.normal(size=(*batch, N, 2)), y)


@pytest.mark.parametrize("outputs", [None, 3])
@pytest.mark.parametrize("batch", [(), (4,)])
def test_lft_and_both_l2o_are_the_choice_of_data(outputs, batch):
    train, val = data(0, 3, outputs, batch), data(1, 5, outputs, batch)
    assert lft_data(train, val) == (train, val)
    assert l2o_train_data(train, val) == (train, train)
    seen, judged = l2o_data(train, val)
    assert seen is judged
    axis = len(batch)
    for both, first, second in zip(seen, train, val, strict=True):
        assert both.shape[axis] == 8
        np.testing.assert_array_equal(both, np.concatenate([first, second], axis=axis))


@pytest.mark.parametrize("batch", [(), (4,)])
@pytest.mark.parametrize("labels", [(), (7,)])
def test_l2o_joins_images_along_their_examples(labels, batch):
    train, val = (
        Data(np.ones((*batch, N, 1, 5, 6)), np.ones((*batch, N, *labels))) for N in (3, 5)
    )
    seen, _ = l2o_data(train, val)
    assert seen.x.shape == (*batch, 8, 1, 5, 6)
    assert seen.y.shape == (*batch, 8, *labels)


def incongruous(K=3, estimator="first_order"):
    """Φ, and two groups of tasks that differ in objective, number of parameters and batch."""
    a = random_case(0, "quadratic", estimator, K=K, d=2, batch=(2,))
    b = random_case(1, "squared_mean_tanh", estimator, K=K)
    return a, [a.task, b.task]


def test_an_update_adds_up_the_gradients_of_incongruous_tasks():
    case, groups = incongruous()
    weights, optimizer = weights_every_step(3), sgd(0.1)
    meta = initial_meta_state(case.params, optimizer)
    after, carried, info = meta_update(meta, case.tuner, groups, weights, optimizer, [None, None])
    wants = [oracle(case.params, case.tuner, task, weights) for task in groups]
    total = sum(flatten(sum_over_tasks(want.grad)) for want in wants)
    assert_close(flatten(case.params) - flatten(after.params), 0.1 * total)
    assert_close(info.meta_loss, sum(np.sum(want.meta_loss) for want in wants))
    assert_close(info.grad_norm, np.linalg.norm(total))
    assert after.updates == 1
    for (theta, state), want in zip(carried, wants, strict=True):
        assert_close(theta, want.theta)
        assert_close(state.c, want.state.c)


def test_every_engine_gives_the_same_update():
    case, groups = incongruous()
    results = [
        meta_update(
            initial_meta_state(case.params, adam(1e-2)),
            case.tuner,
            groups,
            weights_every_step(3),
            adam(1e-2),
            [None, None],
            engine=engine,
        )[0]
        for engine in (adjoint, forward_mode, oracle)
    ]
    for other in results[1:]:
        moved = flatten(results[0].params) - flatten(case.params)
        assert_close(flatten(other.params) - flatten(case.params), moved, 1e-7)


def test_clipping_limits_the_summed_gradient_and_the_norm_is_reported_unclipped():
    case, groups = incongruous()
    arguments = (case.tuner, groups, weights_every_step(3), sgd(1.0), [None, None])
    meta = initial_meta_state(case.params, sgd(1.0))
    free, _, info = meta_update(meta, *arguments)
    limit = float(info.grad_norm) / 3.0
    clipped, _, same = meta_update(meta, *arguments, clip=limit)
    step = flatten(case.params) - flatten(free.params)
    assert_close(flatten(case.params) - flatten(clipped.params), clip_by_norm(step, limit), 1e-12)
    assert same.grad_norm == info.grad_norm


@pytest.mark.parametrize("inner", [adjoint, forward_mode])
def test_each_task_can_be_clipped_before_gradients_are_added_up(inner):
    case, groups = incongruous()
    weights, optimizer = weights_every_step(3), sgd(1.0)
    found = [flatten(oracle(case.params, case.tuner, task, weights).grad) for task in groups]
    each = [g for grad in found for g in grad.reshape(-1, grad.shape[-1])]
    lengths = sorted(np.linalg.norm(g) for g in each)
    limit = (lengths[0] + lengths[-1]) / 2.0  # some are clipped and others are not
    meta = initial_meta_state(case.params, optimizer)
    engine = partial(clip_each_task, limit=limit, engine=inner)
    after, _, info = meta_update(
        meta, case.tuner, groups, weights, optimizer, [None, None], engine=engine
    )
    total = sum(g * min(1.0, limit / np.linalg.norm(g)) for g in each)
    assert_close(flatten(case.params) - flatten(after.params), total)
    assert_close(info.grad_norm, np.linalg.norm(total))


@pytest.mark.parametrize("estimator", ["first_order", "gaussian"])
def test_training_carries_theta_and_h_from_one_unroll_to_the_next(estimator):
    case, groups = incongruous(K=6, estimator=estimator)
    weights, optimizer = weights_every_step(2), adam(1e-2)
    start = initial_meta_state(case.params, optimizer)
    meta, infos = train_on(start, case.tuner, groups, weights, 6, optimizer, clip=0.5)
    assert meta.updates == len(infos) == 3

    by_hand, states = start, [None, None]
    thetas = [task.theta_0 for task in groups]
    for segment in range(3):
        steps = slice(2 * segment, 2 * segment + 2)
        now = [
            task._replace(
                theta_0=theta,
                directions=None if task.directions is None else task.directions[steps],
            )
            for task, theta in zip(groups, thetas, strict=True)
        ]
        paths = [
            unroll(by_hand.params, case.tuner, task, 2, state)
            for task, state in zip(now, states, strict=True)
        ]
        by_hand, _, info = meta_update(
            by_hand, case.tuner, now, weights, optimizer, states, clip=0.5
        )
        assert info.meta_loss == infos[segment].meta_loss
        thetas, states = ([path.theta[-1] for path in paths], [path.state[-1] for path in paths])
    np.testing.assert_array_equal(flatten(meta.params), flatten(by_hand.params))
    assert meta.optimizer.updates == 3


def test_one_unroll_of_all_steps_is_not_the_same_as_several():
    case, groups = incongruous()
    optimizer = sgd(1e-2)
    start = initial_meta_state(case.params, optimizer)
    long, _ = train_on(start, case.tuner, groups, weights_every_step(4), 4, optimizer)
    short, _ = train_on(start, case.tuner, groups, weights_every_step(2), 4, optimizer)
    assert relative_error(flatten(short.params), flatten(long.params)) > 1e-6


def test_meta_training_lowers_the_meta_loss():
    case, groups = incongruous()
    optimizer, losses = adam(3e-2), []
    meta = initial_meta_state(case.params, optimizer)
    for _ in range(30):
        meta, infos = train_on(meta, case.tuner, groups, weights_every_step(5), 5, optimizer)
        losses.append(float(infos[0].meta_loss))
    assert losses[-1] < 0.5 * losses[0]


def test_the_same_arguments_give_the_same_bits():
    case, groups = incongruous()
    optimizer = adam(1e-2)
    runs = [
        train_on(
            initial_meta_state(case.params, optimizer),
            case.tuner,
            groups,
            weights_every_step(2),
            4,
            optimizer,
        )[0]
        for _ in range(2)
    ]
    np.testing.assert_array_equal(flatten(runs[0].params), flatten(runs[1].params))


def test_training_on_no_tasks_is_refused():
    params, tuner, *_ = random_case(0)
    with pytest.raises(ValueError, match="groups must hold at least one group of tasks"):
        train_on(initial_meta_state(params, sgd(0.1)), tuner, [], (1.0,), 2, sgd(0.1))


@pytest.mark.parametrize(
    ("choice", "four"),
    [
        (weights_every_step, (1.0, 1.0, 1.0, 1.0)),
        (weights_linear, (1.0, 2.0, 3.0, 4.0)),
        (weights_last_step, (0.0, 0.0, 0.0, 1.0)),
        (weights_mean, (0.25, 0.25, 0.25, 0.25)),
    ],
)
def test_weights_are_the_choices_of_equation_4_step_by_step(choice, four):
    assert choice(4) == four
    assert choice(1) == (1.0,)
    losses = np.asarray([[1.0], [10.0], [100.0], [1000.0]])  # of k = 1, ..., 4
    by_hand = four[0] + 10.0 * four[1] + 100.0 * four[2] + 1000.0 * four[3]
    assert weighted_sum(choice(4), losses).tolist() == [by_hand]
