"""Easily made mistakes, planted one at a time: the comparison of test_engines catches each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lft_ref import (
    REFERENCE,
    Cell,
    FirstOrder,
    LogSign,
    LSTMParams,
    LSTMState,
    NetworkLoss,
    SquaredError,
    ZerothOrder,
    adjoint,
    flatten,
    forward_mode,
    jacobians,
    lstm,
    unflatten,
    unroll,
)
from lft_ref.layers import Activation, Dense
from lft_ref.networks import Network
from lft_ref.ops import recursion
from lft_ref.zeroth_order import _outer_product
from lft_validation.autodiff_oracle import oracle
from tests.helpers import assert_same_gradient, gradient_error, random_case

FIRST, ZEROTH = "first_order", "gaussian"


def sound(estimator=FIRST, **changes):
    """A case in which every term counts: some steps, a state to start from, uneven weights."""
    options = {"K": 4, "n": 2, "m": 2, "with_state": True, "weights": "linear", **changes}
    return random_case(6, "squared_sum_tanh_deep", estimator, **options)


def with_ops(case, **ops):
    return case._replace(tuner=case.tuner._replace(ops=REFERENCE._replace(**ops)))


# In forward mode: the recursion and its blocks ----------------------------------------------------


def with_recursion(wrong):
    """A forward update whose recursion is ``wrong(J, G, G_dot, H) -> (G⁺, H⁺)``."""

    def forward_update(params, cell, g, state, G, G_dot, H, columns):
        return wrong(jacobians(params, cell, g, state, columns), G, G_dot, H)

    return lambda case: with_ops(case, forward_update=forward_update)


def with_block(name, wrong):
    """The right recursion with one Jacobian block replaced by ``wrong(block)``."""
    return with_recursion(
        lambda J, *rest: recursion(J._replace(**{name: wrong(getattr(J, name))}), *rest)
    )


def swap_gates(a, n=2):
    """Exchange the columns of the input and forget gates on the last axis (4n or a multiple)."""
    gates = a.reshape(*a.shape[:-1], -1, 4, n)
    return gates[..., [1, 0, 2, 3], :].reshape(a.shape)


def swap_gates_of_phi(flat, n=2):
    dense = flat[..., : -(n + 1)]
    return np.concatenate([swap_gates(dense, n), flat[..., -(n + 1) :]], axis=-1)


FORWARD = {
    "Γ_h H is dropped from (8)": with_block("Gamma_h", np.zeros_like),
    "Γ_g Ġ is dropped from (8)": with_block("Gamma_g", np.zeros_like),
    "Γ_Φ has the wrong sign in (8)": with_block("Gamma_Phi", np.negative),
    "G is not carried on in (8)": with_recursion(
        lambda J, G, G_dot, H: recursion(J, np.zeros_like(G), G_dot, H)
    ),
    "Ġ is G: the Hessian is taken for the identity": with_recursion(
        lambda J, G, G_dot, H: recursion(J, G, G, H)
    ),
    "Π_g Ġ is dropped from (9)": with_block("Pi_g", np.zeros_like),
    "Π_h is transposed": with_block("Pi_h", lambda a: np.swapaxes(a, -1, -2)),
    "Π_h is diagonal, as the paper says": with_block("Pi_h", lambda a: a * np.eye(a.shape[-1])),
    "Π_h lacks ∂h⁺/∂c": with_block(
        "Pi_h", lambda a: a * (1 - np.kron([[0, 1], [0, 0]], np.ones((2, 2))))
    ),
    "H is updated before it is used in (8)": with_recursion(
        lambda J, G, G_dot, H: (
            recursion(J, G, G_dot, recursion(J, G, G_dot, H)[1])[0],
            recursion(J, G, G_dot, H)[1],
        )
    ),
    "G is updated before it is used in (9)": with_recursion(
        lambda J, G, G_dot, H: (
            recursion(J, G, G_dot, H)[0],
            recursion(J, G, recursion(J, G, G_dot, H)[0], H)[1],
        )
    ),
    "Γ_h lacks the output scale": with_block("Gamma_h", lambda a: a / 0.5),
    "two gates of Π_Φ are swapped": with_block("Pi_Phi", swap_gates_of_phi),
    "Γ_Φ misses b_o": with_block(
        "Gamma_Phi", lambda a: np.concatenate([a[..., :-1], np.zeros_like(a[..., :1])], axis=-1)
    ),
}


# In the adjoint: the cell's vjp -------------------------------------------------------------------


def with_vjp(wrong):
    """A cell's vjp ``wrong(right vjp, *arguments)``."""
    return lambda case: with_ops(case, vjp=lambda *arguments: wrong(lstm.vjp, *arguments))


def replace_fields(change):
    """The right vjp with a changed gradient with respect to Φ."""

    def wrong(vjp, *arguments):
        params_bar, g_bar, state_bar = vjp(*arguments)
        return change(params_bar), g_bar, state_bar

    return with_vjp(wrong)


def no_cell_path(vjp, params, cell, g, state, delta_bar, state_bar):
    return vjp(params, cell, g, state, delta_bar, LSTMState(state_bar.h, 0.0 * state_bar.c))


def no_forget(vjp, *arguments):
    params_bar, g_bar, state_bar = vjp(*arguments)
    return params_bar, g_bar, LSTMState(state_bar.h, 0.0 * state_bar.c)


BACKWARD = {
    "Δθ is added instead of subtracted": with_vjp(
        lambda vjp, p, c, g, s, delta_bar, s_bar: vjp(p, c, g, s, -delta_bar, s_bar)
    ),
    "input and forget gates are swapped": replace_fields(
        lambda p: p._replace(W_x=swap_gates(p.W_x), W_h=swap_gates(p.W_h), b=swap_gates(p.b))
    ),
    "gates are swapped in the biases only": replace_fields(lambda p: p._replace(b=swap_gates(p.b))),
    "b_o is missing": replace_fields(lambda p: p._replace(b_o=0.0 * p.b_o)),
    "W_h is transposed gate by gate": replace_fields(
        lambda p: p._replace(W_h=p.W_h.reshape(2, 4, 2).swapaxes(0, 2).reshape(2, 8))
    ),
    "c̄ of the next step is dropped": with_vjp(no_cell_path),
    "c̄ is not handed back": with_vjp(no_forget),
    "h̄ is not handed back": with_vjp(
        lambda vjp, *a: (*vjp(*a)[:2], LSTMState(0.0 * a[3].h, vjp(*a)[2].c))
    ),
    "ḡ has the wrong sign": with_vjp(lambda vjp, *a: (vjp(*a)[0], -vjp(*a)[1], vjp(*a)[2])),
    "the state after the step is used": with_vjp(
        lambda vjp, p, c, g, s, *bars: vjp(p, c, g, lstm.step(p, c, g, s)[1], *bars)
    ),
}


# In what both engines use: preprocessing, estimator, objective, weights ---------------------------


class DerivativeWithoutP(LogSign):
    def derivative(self, g):
        right = super().derivative(g)
        return np.stack([self.p * right[..., 0], right[..., 1]], axis=-1)


class DerivativeOfLogOfAbsolute(LogSign):
    def derivative(self, g):
        right = super().derivative(g)
        return np.stack([np.abs(right[..., 0]), right[..., 1]], axis=-1)


class LinearBranchForgotten(LogSign):
    def derivative(self, g):
        right = super().derivative(g)
        return np.stack([right[..., 0], 0.0 * right[..., 1]], axis=-1)


class SwappedProducts(ZerothOrder):
    def jvp(self, f, theta, data, u, v):
        return ZerothOrder.vjp(self, f, theta, data, u, v)

    def vjp(self, f, theta, data, u, v):
        return ZerothOrder.jvp(self, f, theta, data, u, v)


class HessianInstead(ZerothOrder):
    def jvp(self, f, theta, data, u, v):
        return f.hvp(theta, data, v)

    vjp = jvp


class NoGradientAtTheta(ZerothOrder):
    def jvp(self, f, theta, data, u, v):
        slopes = f.grad(theta + self.mu * u, data) / self.mu
        return self._factor(u) * _outer_product(u, slopes, v)

    def vjp(self, f, theta, data, u, v):
        slopes = f.grad(theta + self.mu * u, data) / self.mu
        return self._factor(u) * _outer_product(slopes, u, v)


class SumNotMean(ZerothOrder):
    def jvp(self, f, theta, data, u, v):
        return len(u) * super().jvp(f, theta, data, u, v)

    def vjp(self, f, theta, data, u, v):
        return len(u) * super().vjp(f, theta, data, u, v)


class HalfHessian(FirstOrder):
    def jvp(self, f, theta, data, u, v):
        return 0.5 * f.hvp(theta, data, v)

    vjp = jvp


class NoCurvature(Activation):
    def x_bar_dot(self, p, x, y_bar, p_dot, x_dot, y_bar_dot):
        return self.slope(x) * y_bar_dot


class NoMixedTerm(Dense):
    def x_bar_dot(self, p, x, y_bar, p_dot, x_dot, y_bar_dot):
        return y_bar_dot @ self.weight(p).mT


class LossWithoutHessian(SquaredError):
    def hvp(self, y, target, y_dot):
        return 0.0 * y_dot


def with_preprocess(kind):
    return lambda case: case._replace(
        tuner=case.tuner._replace(cell=Cell(kind(), case.tuner.cell.output_scale))
    )


def with_estimator(kind):
    return lambda case: case._replace(
        tuner=case.tuner._replace(estimator=kind(*case.tuner.estimator))
    )


def with_layers(old, new):
    def plant(case):
        f = case.task.objective
        layers = tuple(
            new(*layer) if isinstance(layer, old) else layer for layer in f.network.layers
        )
        return with_objective(case, NetworkLoss(Network(layers), f.loss))

    return plant


def with_objective(case, objective):
    return case._replace(task=case.task._replace(objective=objective))


def weights_late(case):
    return case._replace(weights=(0.0, *case.weights[:-1]))


SHARED: dict[str, tuple[str, Any]] = {
    "the log's derivative lacks 1/p": (FIRST, with_preprocess(DerivativeWithoutP)),
    "the log's derivative is 1/|g|": (FIRST, with_preprocess(DerivativeOfLogOfAbsolute)),
    "the second-order term is dropped": (
        FIRST,
        lambda case: case._replace(tuner=case.tuner._replace(second_order=False)),
    ),
    "the Hessian is halved": (FIRST, with_estimator(HalfHessian)),
    "the curvature of tanh is dropped": (FIRST, with_layers(Activation, NoCurvature)),
    "ȳ Ẇᵀ is dropped from the Hessian": (FIRST, with_layers(Dense, NoMixedTerm)),
    "the loss is taken for linear": (
        FIRST,
        lambda case: with_objective(
            case, NetworkLoss(case.task.objective.network, LossWithoutHessian())
        ),
    ),
    "w_k is off by one": (FIRST, weights_late),
    "w_k is not used": (FIRST, lambda case: case._replace(weights=(1.0,) * 4)),
    "D_val is D_tr": (
        FIRST,
        lambda case: case._replace(task=case.task._replace(val=case.task.train)),
    ),
    "h_0 is forgotten": (FIRST, lambda case: case._replace(state_0=None)),
    "the unroll is cut in the middle": (FIRST, lambda case: case._replace(truncate=2)),
    "jvp and vjp of (6) are swapped": (ZEROTH, with_estimator(SwappedProducts)),
    "the Hessian stands in for the Jacobian of (6)": (ZEROTH, with_estimator(HessianInstead)),
    "∇f(θ) is not subtracted in ∂g/∂θ": (ZEROTH, with_estimator(NoGradientAtTheta)),
    "∂g/∂θ sums over directions instead of averaging": (ZEROTH, with_estimator(SumNotMean)),
    "the factor d of the sphere is applied to Gaussian directions": (
        ZEROTH,
        lambda case: case._replace(
            tuner=case.tuner._replace(estimator=case.tuner.estimator._replace(scaling="sphere"))
        ),
    ),
    "every step uses the first step's directions": (
        ZEROTH,
        lambda case: case._replace(
            task=case.task._replace(
                directions=np.broadcast_to(case.task.directions[:1], case.task.directions.shape)
            )
        ),
    ),
}


def assert_caught(got: LSTMParams, want: LSTMParams) -> None:
    """The comparison fails, and not by a hair: no tolerance in use would have let it pass."""
    assert gradient_error(got, want) > 1e-4
    with pytest.raises(AssertionError, match="gradients differ"):
        assert_same_gradient(got, want)


@pytest.mark.parametrize("estimator", [FIRST, ZEROTH])
@pytest.mark.parametrize("engine", [adjoint, forward_mode])
def test_nothing_is_caught_where_nothing_is_planted(engine, estimator):
    case = sound(estimator)
    assert_same_gradient(engine(*case).grad, oracle(*case).grad)


@pytest.mark.parametrize("mistake", FORWARD)
def test_a_mistake_in_the_recursion_is_caught(mistake):
    case = sound()
    assert_caught(forward_mode(*FORWARD[mistake](case)).grad, oracle(*case).grad)


@pytest.mark.parametrize("mistake", BACKWARD)
def test_a_mistake_in_the_vjp_is_caught(mistake):
    case = sound()
    assert_caught(adjoint(*BACKWARD[mistake](case)).grad, oracle(*case).grad)


@pytest.mark.parametrize("mistake", SHARED)
@pytest.mark.parametrize("engine", [adjoint, forward_mode])
def test_a_mistake_in_what_both_engines_use_is_caught(engine, mistake):
    estimator, plant = SHARED[mistake]
    case = sound(estimator)
    assert_caught(engine(*plant(case)).grad, oracle(*case).grad)


@pytest.mark.parametrize("engine", [adjoint, forward_mode])
def test_a_forgotten_linear_branch_is_caught_where_gradients_are_tiny(engine):
    case = random_case(6, "quadratic", K=3, with_state=True, output_scale=1e-6)
    x, theta_0 = case.task.train.x, case.task.theta_0
    fitted = case.task.train._replace(y=x @ theta_0 + 1e-6)  # so θ stays next to a minimum
    case = case._replace(task=case.task._replace(train=fitted))
    path = unroll(*case[:3], K=3, state_0=case.state_0)
    assert np.abs(path.g).max() < np.exp(-10.0)
    assert_same_gradient(engine(*case).grad, oracle(*case).grad)
    assert_caught(engine(*with_preprocess(LinearBranchForgotten)(case)).grad, oracle(*case).grad)


@pytest.mark.parametrize("engine", [adjoint, forward_mode])
def test_a_zero_gradient_is_caught_however_small_the_right_one_is(engine):
    case = sound()
    want = LSTMParams(*(1e-12 * a for a in oracle(*case).grad))
    assert_caught(LSTMParams(*(0.0 * a for a in want)), want)


@pytest.mark.parametrize("index", [0, 20, -1])
def test_one_wrong_entry_among_all_is_caught(index):
    want = oracle(*sound()).grad
    flat = flatten(want)
    flat[index] *= 1.001
    with pytest.raises(AssertionError, match="gradients differ"):
        assert_same_gradient(unflatten(flat, 2, 2), want)
