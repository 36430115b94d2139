"""The attack loss (12) by hand, at its kinks, and against differences of its values."""

from __future__ import annotations

import numpy as np
import pytest

from lft_ref import AttackLoss, Data, Dense, Flatten, Network
from tests.helpers import assert_close, assert_is_derivative, norm, taylor_slope
from tests.random_cases import image_network, random_objective

# Two pixels; three logits: the pixels themselves and 0.
LINEAR = Network((Flatten(), Dense(2, 3)))
WEIGHTS = np.asarray([1.0, 0, 0, 0, 1, 0, 0, 0, 0])


def victim(**changes):
    return AttackLoss(LINEAR, WEIGHTS, box=(0.0, 1.0))._replace(**changes)


def images(*pixels, classes):
    return Data(np.asarray(pixels).reshape(-1, 1, 1, 2), np.asarray(classes))


def test_the_loss_is_the_margin_over_the_best_other_class_plus_the_sum_of_all_pixels():
    data = images([0.9, 0.2], [0.3, 0.7], classes=[0, 2])
    # Margins at θ = 0: 0.9 − 0.2, and 0 − 0.7, which counts as −κ.
    zero = np.zeros(2)
    assert victim().value(zero, data) == pytest.approx(0.7, rel=1e-14)
    assert victim(kappa=0.5).value(zero, data) == pytest.approx(0.7 - 0.5, rel=1e-14)
    assert victim(kappa=2.0).value(zero, data) == pytest.approx(0.0, abs=1e-15)
    theta = np.asarray([-0.3, 0.1])
    assert victim(l1=0.5).value(theta, data) == pytest.approx(0.6 - 0.3 + 0.2, rel=1e-14)


def test_a_fooled_victim_leaves_the_penalty_alone():
    data, theta = images([0.9, 0.2], classes=[2]), np.asarray([0.05, -0.05])
    f = victim(l1=0.25)
    assert f.value(theta, data) == pytest.approx(0.025, rel=1e-14)
    np.testing.assert_array_equal(f.grad(theta, data), [0.25, -0.25])


def test_logits_and_log_probabilities_have_the_same_margins():
    f, _, draw = random_objective(np.random.default_rng(0), "attack_tanh")
    data, theta = draw(5), np.random.default_rng(1).normal(size=16)
    z = f.logits(theta, data)
    log_p = z - np.log(np.sum(np.exp(z), axis=-1, keepdims=True))
    margins, _ = f._margins(z, data.y, xp=np)
    assert_close(f._margins(log_p, data.y, xp=np)[0], margins, 1e-13)


def test_clipping_keeps_images_in_the_box_and_its_ends_belong_to_the_inside():
    data = images([0.0, 1.0], [0.5, 0.9], classes=[0, 0])
    theta = np.asarray([0.0, 0.2])
    np.testing.assert_allclose(
        victim().perturbed(theta, data.x)[:, 0, 0], [[0.0, 1.0], [0.5, 1.0]], rtol=1e-15
    )
    np.testing.assert_allclose(
        victim(clip=False).perturbed(theta, data.x)[:, 0, 0], [[0.0, 1.2], [0.5, 1.1]], rtol=1e-15
    )
    # The second pixel is beyond the box in both images; the first lies at its end or inside.
    wide = victim(kappa=9.0)
    np.testing.assert_array_equal(wide.grad(theta, data), [2.0, 0.0])
    np.testing.assert_array_equal(wide._replace(clip=False).grad(theta, data), [2.0, -2.0])


def test_kinks_take_the_side_that_the_docstring_says():
    f, zero = victim(l1=1.0, clip=False), np.zeros(2)
    equal = images([0.4, 0.4], classes=[0])  # margin 0 = −κ: nothing pulls, nor does |0|
    np.testing.assert_array_equal(f.grad(zero, equal), [0.0, 0.0])
    two_rivals = images([0.4, 0.4], classes=[2])
    np.testing.assert_array_equal(f._replace(kappa=1.0).grad(zero, two_rivals), [-1.0, 0.0])


@pytest.mark.parametrize("name", ["attack_tanh", "attack_relu"])
def test_gradient_and_hessian_are_limits_of_differences(name):
    for seed in range(200):  # the first case whose differences cross no kink
        rng = np.random.default_rng(seed)
        f, d, draw = random_objective(rng, name)
        data, theta, v = draw(3), rng.normal(size=d), 0.1 * rng.normal(size=d)
        smooth = all(same_piece(f, theta, e * v, data) for e in np.linspace(-0.02, 0.02, 9))
        if smooth and (not f.network.curved or norm(f.hvp(theta, data, v)) > 1e-2):
            break
    else:
        raise AssertionError("no case off the kinks")
    slope = f.grad(theta, data) @ v
    assert_is_derivative(lambda e: f.value(theta + e * v, data), slope)
    if f.network.curved:
        order = taylor_slope(lambda e: f.value(theta + e * v, data), slope)
        assert order == pytest.approx(2.0, abs=0.2)
        assert_is_derivative(lambda e: f.grad(theta + e * v, data), f.hvp(theta, data, v))
    else:
        np.testing.assert_allclose(f.grad(theta + 0.02 * v, data), f.grad(theta, data), rtol=1e-12)
        assert not f.hvp(theta, data, v).any()


def same_piece(f, theta, shift, data):
    """Whether no kink lies between θ and θ + shift, as far as the two ends show."""
    ends = [_signs(f, theta, data), _signs(f, theta + shift, data)]
    return all(np.array_equal(a, b) for a, b in zip(*ends, strict=True))


def _signs(f, theta, data):
    moved = data.x + theta.reshape(1, 4, 4)
    xs = f.network.activations(f.weights, f.perturbed(theta, data.x))
    margins, (_, rival) = f._margins(xs[-1], data.y, xp=np)
    shares = [np.asarray(share) for share in f.network.layers[1]._shares(xs[1])]
    inside = (moved >= f.box[0]) & (moved <= f.box[1]) if f.clip else moved > -np.inf
    return [np.sign(theta), inside, margins > -f.kappa, rival, xs[2] > 0, *shares]


def test_one_network_and_many_perturbations_give_what_single_calls_give():
    rng = np.random.default_rng(0)
    f, d, draw = random_objective(rng, "attack_tanh", (3,))
    data, theta, v = draw(4), rng.normal(size=(2, 3, d)), rng.normal(size=(2, 3, d))
    value, slope, product = f.value(theta, data), f.grad(theta, data), f.hvp(theta, data, v)
    for i, j in np.ndindex(2, 3):
        one = Data(data.x[j], data.y[j])
        assert_close(value[i, j], f.value(theta[i, j], one), 1e-13)
        assert_close(slope[i, j], f.grad(theta[i, j], one), 1e-13)
        assert_close(product[i, j], f.hvp(theta[i, j], one, v[i, j]), 1e-12)


def test_a_hessian_of_zeros_has_the_batch_axes_of_data_and_direction():
    network = image_network("relu")
    f = AttackLoss(network, np.ones(network.size))
    data = Data(np.zeros((3, 2, 1, 4, 4)), np.zeros((3, 2), dtype=int))
    assert f.hvp(np.zeros(16), data, np.ones((5, 1, 16))).shape == (5, 3, 16)
