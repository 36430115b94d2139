"""The Numba twin of the attack loss gives the reference's results, to within rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lft_ref import AttackLoss, Conv2d, Data, Dense, Flatten, Network, digits_network, lenet5
from lft_ref.layers import Activation
from lft_ref.objectives import value_and_grad
from lft_ref.pooling import Pool2d
from tests.helpers import assert_close

pytest.importorskip("numba", reason="the extra 'fast' is not installed")

from lft_backends.backend import get_backend
from lft_backends.kernels import attack_cpu
from lft_backends.numba_attack import FusedAttack, fuse

BLOCK = (Pool2d("max", 2), Activation("relu"))
VICTIMS = {
    "digits": (digits_network(), (1, 8, 8)),
    "lenet 28": (lenet5(), (1, 28, 28)),
    "two classes": (Network((Conv2d(2, 3, 2), *BLOCK, Flatten(), Dense(6, 2))), (2, 3, 5)),
}
BATCHES = {  # of θ, of the data
    "one task": ((), ()),
    "tasks": ((3,), (3,)),
    "θ of several steps, the same data": ((5, 2), (2,)),
    "one θ, several sets of images": ((), (2, 2)),
    "axes of length one": ((2, 1), (1, 3)),
}


def draw(victim, batches, dtype, seed=0, **choices):
    """A loss, θ and images that reach beyond the box."""
    network, shape = VICTIMS[victim]
    rng, classes = np.random.default_rng(seed), network.layers[-1].n_out
    weights = (0.3 * rng.normal(size=network.size)).astype(dtype)
    theta = (0.3 * rng.normal(size=(*batches[0], int(np.prod(shape))))).astype(dtype)
    x = np.clip(0.4 * rng.normal(size=(*batches[1], 3, *shape)), -0.5, 0.5).astype(dtype)
    y = rng.integers(0, classes, x.shape[:-3])
    return AttackLoss(network, weights, **choices), theta, Data(x, y)


def assert_twin(loss, theta, data, roundings=64.0):
    twin, rtol = fuse(loss), roundings * np.finfo(theta.dtype).eps
    assert isinstance(twin, FusedAttack)
    for name in ("value", "grad", "logits"):
        wanted, found = (getattr(one, name)(theta, data) for one in (loss, twin))
        assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype), name
        assert_close(found, wanted, rtol)
    both = value_and_grad(twin, theta, data)
    for name, found in zip(("value", "grad"), both, strict=True):
        np.testing.assert_array_equal(found, getattr(twin, name)(theta, data))
    v = np.ones_like(theta)
    wanted, found = loss.hvp(theta, data, v), twin.hvp(theta, data, v)
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == wanted.dtype


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("batches", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("victim", VICTIMS)
def test_values_and_gradients_equal_the_reference(victim, batches, clip, dtype):
    assert_twin(*draw(victim, batches, dtype, kappa=0.5, l1=0.02, clip=clip))


@given(st.integers(0, 2**32), st.floats(0.0, 2.0), st.floats(0.0, 1.0), st.booleans())
def test_they_do_whatever_the_settings(seed, kappa, l1, clip):
    case = draw("digits", ((2,), (2,)), "float64", seed, kappa=kappa, l1=l1 + 0.01, clip=clip)
    assert_twin(*case)


def test_slopes_at_kinks_are_zero():
    loss, theta, data = draw("digits", ((), (4,)), "float64", clip=False)
    rng, theta = np.random.default_rng(1), np.zeros((4, 64))
    whole = loss.weights.shape, data.x.shape  # sums of integers are exact
    weights, x = (rng.integers(-1, 2, shape).astype("float64") for shape in whole)
    loss, data = loss._replace(weights=weights), data._replace(x=x)
    z, y = np.reshape(loss.logits(theta, data), (12, 10)), np.ravel(data.y)
    kappa = -min(attack_cpu.margin(*pair)[0] for pair in zip(z, y, strict=True))
    assert kappa > 0.0
    at, beyond = (loss._replace(kappa=k) for k in (kappa, kappa + 0.5))
    found = fuse(at).grad(theta, data)
    np.testing.assert_array_equal(found, at.grad(theta, data))
    assert not np.array_equal(found, fuse(beyond).grad(theta, data))
    with_l1 = fuse(at)._replace(l1=1.0)
    np.testing.assert_array_equal(with_l1.grad(theta, data), found)  # sign 0 = 0


def test_of_several_best_other_classes_the_first_counts():
    for y in range(4):
        for z in ([1.0, 3.0, 3.0, 2.0], [2.0, 2.0, 2.0, 2.0], [0.0, np.nan, 5.0, np.nan]):
            others = np.where(np.arange(4) == y, -np.inf, z)
            found, best = attack_cpu.margin(np.asarray(z), y)
            assert best == np.argmax(others)
            np.testing.assert_array_equal(found, z[y] - np.max(others))


def test_nan_reaches_what_it_reaches_in_the_reference():
    loss, theta, data = draw("digits", ((3,), (3,)), "float64", kappa=0.5, l1=0.1)
    data.x[1, 0, 0, 2, 2] = theta[2, 7] = np.nan
    twin = fuse(loss)
    np.testing.assert_allclose(twin.value(theta, data), loss.value(theta, data), rtol=1e-13)
    with np.errstate(invalid="ignore"):
        wanted = loss.grad(theta, data)
    np.testing.assert_allclose(twin.grad(theta, data), wanted, rtol=1e-12, atol=1e-13)


def test_pixels_at_the_ends_of_the_box_still_push():
    loss, theta, data = draw("digits", ((), ()), "float64", kappa=5.0)
    at_ends = data._replace(x=np.where(data.x > 0.0, 0.5, -0.5))
    assert np.count_nonzero(loss.grad(0.0 * theta, at_ends))
    assert_twin(loss._replace(l1=0.1), np.where(theta > 0.0, 0.5, 0.0), at_ends)


def test_read_only_arrays_and_labels_of_other_integer_types_are_fine():
    loss, theta, data = draw("digits", ((2,), (2,)), "float32", l1=0.1)
    wanted = fuse(loss).grad(theta, data)
    for a in (theta, data.x, loss.weights):
        a.flags.writeable = False
    found = fuse(loss).grad(theta, data._replace(y=data.y.astype(np.uint8)))
    np.testing.assert_array_equal(found, wanted)


def test_kernels_mean_the_same_compiled_and_interpreted(monkeypatch):
    loss, theta, data = draw("digits", ((2,), (2,)), "float64", kappa=0.5, l1=0.02)
    twin = fuse(loss)
    compiled = [getattr(twin, name)(theta, data) for name in ("value", "grad")]
    for name in ("perturbed", "margin", "losses", "logits_bar", "theta_bar"):
        monkeypatch.setattr(attack_cpu, name, getattr(attack_cpu, name).py_func)
    plain = [getattr(twin, name)(theta, data) for name in ("value", "grad")]
    for found, wanted in zip(plain, compiled, strict=True):
        assert_close(found, wanted, 1e-13)


@pytest.mark.parametrize("y", [-1, 10, 999])
def test_a_class_that_there_is_not_writes_nowhere(y):
    loss, theta, data = draw("digits", ((), ()), "float64", kappa=0.5, l1=0.1)
    assert_twin(loss, theta, data._replace(y=np.full(3, y)))


@pytest.mark.parametrize(
    "shapes",
    [
        ((64,), (3, 1, 8, 8), (4,)),
        ((63,), (3, 1, 8, 8), (3,)),
        ((128,), (3, 2, 8, 8), (3,)),
        ((144,), (3, 1, 12, 12), (3,)),
        ((9,), (3, 1, 3, 3), (3,)),
    ],
)
def test_shapes_that_do_not_fit_are_refused_before_a_kernel_runs(shapes):
    loss = fuse(draw("digits", ((), ()), "float64")[0])
    theta, x, y = (np.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=r"do not fit together|does not take images of shape"):
        loss.grad(theta, Data(x, y.astype(int)))


@pytest.mark.parametrize(
    "network",
    [
        digits_network(activation="tanh"),
        Network((Conv2d(2, 3, 2), *BLOCK, Flatten(), Dense(6, 1))),  # no other class
    ],
)
def test_other_victims_are_left_as_they_are(network):
    loss = AttackLoss(network, np.ones(network.size))
    assert fuse(loss) is loss


def test_a_twin_with_other_settings_is_still_a_twin():
    backend = get_backend("numba", "float64")
    loss, theta, data = draw("digits", ((), ()), "float64", l1=0.1)
    without = backend.fuse_attack(loss)._replace(l1=0.0)
    assert isinstance(without, FusedAttack)
    assert_close(without.grad(theta, data), loss._replace(l1=0.0).grad(theta, data), 1e-13)
