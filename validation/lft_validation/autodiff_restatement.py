"""The paper's functions stated again in autograd, sharing no formula with ``lft_ref``.

Only the containers of data and settings of ``lft_ref`` are read, never their methods. One task,
one gate, one direction at a time, so that each line can be compared with the paper by eye.
:mod:`lft_validation.autodiff_oracle` differentiates them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import autograd.numpy as anp
import numpy as np
from autograd import grad
from autograd.scipy.special import expit, logsumexp
from autograd.tracer import getval, isbox

from lft_ref.attack import AttackLoss
from lft_ref.convolution import Conv2d
from lft_ref.layers import Activation, Dense
from lft_ref.lstm import Cell
from lft_ref.networks import Optimizee
from lft_ref.objectives import (
    CrossEntropy,
    Data,
    NetworkLoss,
    Objective,
    Quadratic,
    SquaredError,
)
from lft_ref.params import LSTMParams
from lft_ref.pooling import Flatten, Pool2d
from lft_ref.preprocess import Identity, LogSign, Preprocess
from lft_ref.zeroth_order import Estimator, FirstOrder, ZerothOrder
from lft_validation.autodiff_images import attack_loss, image_layer

Array = Any  # a NumPy array, or autograd's box around one


class OwnLoss(NamedTuple):
    """A user's own loss: it stands for itself, since nobody else has written it down."""

    value: Callable[[Array, Any], Array]


def flatten(params: LSTMParams) -> Array:
    """Φ as one axis, fields in order, row-major."""
    return np.concatenate([np.ravel(a) for a in params])


def fields(phi: Array, m: int, n: int) -> tuple[Array, Array, Array, Array, Array]:
    """W_x, W_h, b, w_o, b_o from the flattened Φ, or from many (..., P)."""
    a, b, c, d = 4 * n * m, 4 * n * (m + n), 4 * n * (m + n + 1), 4 * n * (m + n + 1) + n
    W_x = anp.reshape(phi[..., :a], (*phi.shape[:-1], m, 4 * n))
    W_h = anp.reshape(phi[..., a:b], (*phi.shape[:-1], n, 4 * n))
    return W_x, W_h, phi[..., b:c], phi[..., c:d], phi[..., d]


def rnn_step(
    phi: Array, m: int, n: int, cell: Cell, g: Array, h: Array, c: Array
) -> tuple[Array, Array, Array]:
    """One step of RNN_Φ, eq. (3): (Δθ (d,), h⁺ (d, n), c⁺ (d, n)), from the flattened Φ.

    ``phi`` is (P,), or (d, P): a Φ for each coordinate, so that one can be differentiated alone.
    """
    W_x, W_h, b, w_o, b_o = fields(phi, m, n)
    x = features(cell.preprocess, g)

    def gate(q: int) -> Array:
        own = slice(q * n, (q + 1) * n)
        from_x = anp.sum(x[:, :, None] * W_x[..., own], axis=-2)
        from_h = anp.sum(h[:, :, None] * W_h[..., own], axis=-2)
        return from_x + from_h + b[..., own]

    c_next = expit(gate(1)) * c + expit(gate(0)) * anp.tanh(gate(2))
    h_next = expit(gate(3)) * anp.tanh(c_next)
    return cell.output_scale * (anp.sum(h_next * w_o, axis=-1) + b_o), h_next, c_next


def features(preprocess: Preprocess, g: Array) -> Array:
    """What the cell is fed, (d, m): g itself, or logarithm and sign (Andrychowicz et al. 2016).

    Raises:
        ValueError: for another preprocessing.
    """
    if isinstance(preprocess, Identity):
        return g[:, None]
    if isinstance(preprocess, LogSign):
        p = preprocess.p
        large = anp.abs(constant(g)) >= math.exp(-p)
        log = anp.log(anp.abs(anp.where(large, g, 1.0))) / p
        first = anp.where(large, log, -1.0)
        second = anp.where(large, anp.sign(constant(g)), math.exp(p) * g)
        return anp.concatenate([first[:, None], second[:, None]], axis=1)
    raise _not_restated("preprocess", preprocess)


def estimate(
    estimator: Estimator, objective: Objective, theta: Array, data: Data, u: Array | None
) -> Array:
    """Return g(θ; D): autograd's gradient of the training loss, or (6) from function values.

    Raises:
        ValueError: for another estimator.
    """
    if isinstance(estimator, FirstOrder):
        return grad(lambda at: loss(objective, at, data))(theta)
    if isinstance(estimator, ZerothOrder) and u is not None:
        mu, q = estimator.mu, len(u)
        total = 0.0
        for u_j in u:
            ahead = loss(objective, theta + mu * u_j, data)
            if estimator.antithetic:
                total = total + u_j * (ahead - loss(objective, theta - mu * u_j, data)) / 2.0
            else:
                total = total + u_j * (ahead - loss(objective, theta, data))
        if estimator.scaling == "coordinate":
            return total / mu
        return total * len(theta) / (mu * q) if estimator.scaling == "sphere" else total / (mu * q)
    raise _not_restated("estimator", estimator)


def loss(objective: Objective, theta: Array, data: Data) -> Array:
    """Return f(θ; D) of one task, a scalar.

    Raises:
        ValueError: for another objective than the ones of ``lft_ref``.
    """
    if isinstance(objective, Quadratic):
        return anp.mean((anp.dot(data.x, theta) - data.y) ** 2) / 2.0
    own = getattr(objective, "loss", None)
    if isinstance(own, OwnLoss):
        return own.value(theta, data.given)  # type: ignore[attr-defined] # see gradcheck.own
    if isinstance(objective, AttackLoss):
        return attack_loss(objective, theta, data, output)
    if isinstance(objective, NetworkLoss):
        y = output(objective.network, theta, data.x)
        if isinstance(objective.loss, SquaredError):
            errors = (y - data.y) ** 2
        elif isinstance(objective.loss, CrossEntropy):
            log_p = y - logsumexp(y, axis=1, keepdims=True)
            errors = -anp.sum(log_p * np.eye(y.shape[1])[data.y], axis=1)
        else:
            raise _not_restated("loss", objective.loss)
        return anp.mean(errors) if objective.loss.reduction == "mean" else anp.sum(errors)
    raise _not_restated("objective", objective)


def output(network: Optimizee, theta: Array, x: Array) -> Array:
    """The network's output (N, out)."""
    start = 0
    for layer in network.layers:
        if isinstance(layer, Dense):
            middle = start + layer.n_in * layer.n_out
            stop = middle + layer.n_out
            W = anp.reshape(theta[start:middle], (layer.n_in, layer.n_out))
            x, start = anp.dot(x, W) + theta[middle:stop], stop
        elif isinstance(layer, Activation):
            x = anp.tanh(x) if layer.kind == "tanh" else anp.where(x > 0.0, x, 0.0)
        elif isinstance(layer, Conv2d | Pool2d | Flatten):
            stop = start + layer.size
            x, start = image_layer(layer, theta[start:stop], x), stop
        else:
            raise _not_restated("layer", layer)
    return x


def constant(a: Array) -> Array:
    """Stop-gradient: the value without any of autograd's boxes."""
    while isbox(a):
        a = getval(a)
    return a


def _not_restated(name: str, found: object) -> ValueError:
    return ValueError(
        f"{name} {type(found).__name__} is not restated in autograd; use one of lft_ref's own, "
        "or compare with finite differences"
    )
