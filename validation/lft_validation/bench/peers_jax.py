"""JAX's contestants: the paper's unroll written anew, differentiated and compiled by JAX.

Nothing of ``lft_ref`` computes here; its layers are read as descriptions of a network only. The
cell comes in two layouts: (d, n), as most people write it, and (n, d), whose long rows suit
compilers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax as typed_jax
import jax.numpy as jnp
import numpy as np

from lft_ref import Activation, Conv2d, Dense, Flatten, Network, Pool2d, flatten
from lft_validation.bench.contestant import Contestant, Field, Point, Result, Update
from lft_validation.bench.problems import CLIP, LEARNING_RATE, Problem

jax: Any = typed_jax  # only parts of it have types
P_LOG, OUTPUT_SCALE = 10.0, 0.1
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class Style(NamedTuple):
    """How the same mathematics is written down."""

    name: str
    wide: bool  # layout (n, d)
    checkpoint: bool  # compute a step again on the way back
    constant_gradient: bool  # do not differentiate g where its derivative is 0


PLAIN = Style("JAX jit, (d, n)", wide=False, checkpoint=False, constant_gradient=False)
WIDE = Style("JAX jit, (n, d)", wide=True, checkpoint=False, constant_gradient=True)
# Best where memory is slow, as for large d; where a step costs much, it is not worth doing twice.
AGAIN = Style("JAX jit, (n, d), checkpoint", wide=True, checkpoint=True, constant_gradient=True)
STYLES = (PLAIN, WIDE, AGAIN)


def contestants(problem: Problem, dtype: str, measure: str, device: str = "cpu") -> Field:
    """JAX written plainly, in the layout that suits compilers, and with recomputation.

    Arguments as for ours. Forward mode keeps nothing, so recomputation has no part in it.
    """
    jax.config.update("jax_enable_x64", True)
    if device == "gpu":  # which otherwise multiplies float32 with the 10 bits of TF32
        jax.config.update("jax_default_matmul_precision", "highest")
    styles = STYLES[:2] if measure == "forward" else STYLES
    return [_contestant(style, problem, dtype, measure, device) for style in styles]


def _contestant(
    style: Style, problem: Problem, dtype: str, measure: str, device: str
) -> Contestant:
    where = jax.devices(device)[0]

    def put(a: Any) -> Any:
        a = np.asarray(a)
        return jax.device_put(a.astype(dtype) if a.dtype.kind == "f" else a, where)

    flat, start = put(flatten(problem.params)), _start(problem, put)
    unroll = _unroll(style, problem, put)
    if measure == "training":
        return _training(style, flat, start, unroll, problem)

    def loss(flat: Any, start: Any) -> Any:
        return unroll(flat, start)[0]

    def forward(flat: Any, start: Any) -> Any:
        return loss(flat, start), jax.jacfwd(loss)(flat, start)

    compute = jax.jit(forward if measure == "forward" else jax.value_and_grad(loss))
    name = style.name.replace("jit", "jacfwd") if measure == "forward" else style.name

    def run() -> Any:
        return jax.block_until_ready(compute(flat, start))

    return Contestant(name, "jax", run, lambda found: _result(*found))


def _start(problem: Problem, put: Callable[[Any], Any]) -> tuple[Any, Any, Any]:
    """θ^(0) (tasks, d), h_0 and c_0 (n, tasks · d)."""
    theta = np.reshape(problem.task.theta_0, (problem.tasks, problem.d))
    zero = np.zeros((problem.params.n, theta.size))
    return put(theta), put(zero), put(zero)


def _unroll(style: Style, problem: Problem, put: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return (Φ, start) → (Σ_k w_k f(θ^(k); D_val), (θ^(K), h_K, c_K))."""
    train, val = (_loss(problem, data, put) for data in (problem.task.train, problem.task.val))
    n, weights = problem.params.n, np.asarray(problem.weights)
    last_only = not weights[:-1].any()

    def step(flat: Any, carry: Any, w: Any) -> Any:
        theta, h, c = carry
        g = jax.grad(train)(theta)
        if style.constant_gradient and problem.kind == "attack":
            g = jax.lax.stop_gradient(g)  # f is piecewise linear: ∂g/∂θ = 0
        delta, h, c = (_wide if style.wide else _tall)(flat, n, g.reshape(-1), h, c)
        theta = theta - delta.reshape(theta.shape)
        return (theta, h, c), 0.0 if last_only else w * val(theta)

    if style.checkpoint:
        step = jax.checkpoint(step)

    def unroll(flat: Any, start: Any) -> Any:
        theta, h, c = start
        carry = start if style.wide else (theta, h.T, c.T)
        ws = jnp.asarray(weights, flat.dtype)
        (theta, h, c), losses = jax.lax.scan(lambda a, w: step(flat, a, w), carry, ws)
        total = weights[-1] * val(theta) if last_only else jnp.sum(losses)
        return total, (theta, h if style.wide else h.T, c if style.wide else c.T)

    return unroll


def _training(
    style: Style, flat: Any, start: Any, unroll: Callable[..., Any], problem: Problem
) -> Contestant:
    """One task: unrolls of K steps, each followed by an update of Φ with Adam."""

    @jax.jit  # type: ignore[untyped-decorator]
    def advance(flat: Any, moments: Any, start: Any, count: Any) -> Any:
        (value, end), g = jax.value_and_grad(unroll, has_aux=True)(flat, start)
        clipped = g * jnp.minimum(1.0, CLIP / jnp.linalg.norm(g))
        mean = BETA_1 * moments[0] + (1.0 - BETA_1) * clipped
        square = BETA_2 * moments[1] + (1.0 - BETA_2) * clipped * clipped
        root = jnp.sqrt(square / (1.0 - BETA_2**count)) + EPSILON
        step = LEARNING_RATE * (mean / (1.0 - BETA_1**count)) / root
        return (value, g), (flat - step, (mean, square), end)

    def run() -> Any:
        at = (flat, (0.0 * flat, 0.0 * flat), start)
        for count in range(1, problem.updates + 1):
            _, at = advance(*at, jnp.asarray(count, flat.dtype))
        return jax.block_until_ready(at)

    def update(point: Point) -> Update:
        phi, mean, square = (_put_like(a, flat) for a in point[:3])
        theta, h, c = (_put_like(a, b) for a, b in zip(_wide_cells(point), start, strict=True))
        count = jnp.asarray(point.updates + 1, flat.dtype)
        (value, g), at = advance(phi, (mean, square), (theta, h, c), count)
        return Update(_result(value, g), _point(at, point))

    return Contestant(style.name, "jax", run, lambda at: _result(0.0, at[0]), update)


def _result(value: Any, flat: Any) -> Result:
    return Result(float(value), np.asarray(flat, np.float64))


def _put_like(a: np.ndarray, b: Any) -> Any:
    return jax.device_put(a.astype(b.dtype), b.device)


def _wide_cells(point: Point) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """θ (tasks, d), h and c (n, tasks · d)."""
    h, c = (a.reshape(-1, a.shape[-1]).T for a in (point.h, point.c))
    return point.theta, h, c


def _point(at: Any, before: Point) -> Point:
    flat, (mean, square), (theta, h, c) = jax.tree.map(lambda a: np.asarray(a, np.float64), at)
    cells = (a.T.reshape(before.h.shape) for a in (h, c))
    return Point(flat, mean, square, before.updates + 1, theta, *cells)


def _features(g: Any) -> tuple[Any, Any]:
    """(log|g| / p, sign g), or (-1, e^p g) for small g."""
    large = jnp.abs(g) >= math.exp(-P_LOG)
    safe = jnp.where(large, g, 1.0)
    first = jnp.where(large, jnp.log(jnp.abs(safe)) / P_LOG, -1.0)
    return first, jnp.where(large, jnp.sign(safe), math.exp(P_LOG) * g)


def _weights(flat: Any, n: int) -> tuple[Any, Any, Any, Any, Any]:
    W_x, rest = flat[: 8 * n].reshape(2, 4 * n), flat[8 * n :]
    W_h, rest = rest[: 4 * n * n].reshape(n, 4 * n), rest[4 * n * n :]
    return W_x, W_h, rest[: 4 * n], rest[4 * n : 5 * n], rest[5 * n]


def _tall(flat: Any, n: int, g: Any, h: Any, c: Any) -> tuple[Any, Any, Any]:
    """The cell with h and c (d, n)."""
    W_x, W_h, b, w_o, b_o = _weights(flat, n)
    x = jnp.stack(_features(g), axis=-1)
    i, f, u, o = jnp.split(x @ W_x + h @ W_h + b, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(u)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return OUTPUT_SCALE * (h @ w_o + b_o), h, c


def _wide(flat: Any, n: int, g: Any, h: Any, c: Any) -> tuple[Any, Any, Any]:
    """The cell with h and c (n, d)."""
    W_x, W_h, b, w_o, b_o = _weights(flat, n)
    x = jnp.stack(_features(g), axis=0)
    i, f, u, o = jnp.split(W_x.T @ x + W_h.T @ h + b[:, None], 4, axis=0)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(u)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return OUTPUT_SCALE * (w_o @ h + b_o), h, c


def _loss(problem: Problem, data: Any, put: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return θ (tasks, d) → Σ over tasks of f(θ; D)."""
    f: Any = problem.task.objective
    x, y = put(data.x), put(data.y)
    if problem.kind == "quadratic":
        return lambda theta: 0.5 * jnp.sum(x * (theta - y) ** 2)
    if problem.kind == "sine":
        one = lambda p, x, y: jnp.sum((_network(f.network, p, x) - y) ** 2)  # noqa: E731
        return lambda theta: jnp.sum(jax.vmap(one)(theta, x, y))
    if problem.kind == "cnn":  # one task: convolutions with a θ for each are slow in JAX
        of_class = np.arange(y.shape[-1]), np.asarray(data.y)[0]

        def loss(theta: Any) -> Any:
            return -jnp.mean(jax.nn.log_softmax(_network(f.network, theta[0], x[0]))[of_class])

        return loss
    victim, classes = put(f.weights), np.asarray(data.y).reshape(-1)
    rows = np.arange(classes.size)

    def attack(theta: Any) -> Any:
        image = theta.reshape((theta.shape[0], 1, *x.shape[-3:]))
        z = _network(f.network, victim, jnp.clip(x + image, *f.box).reshape((-1, *x.shape[-3:])))
        rival = jnp.max(z.at[rows, classes].set(-jnp.inf), axis=-1)
        margin = jnp.maximum(z[rows, classes] - rival, -f.kappa)
        return jnp.sum(margin) + f.l1 * jnp.sum(jnp.abs(theta))

    return attack


def _network(network: Network, p: Any, x: Any) -> Any:
    """The layers of ``network`` with parameters p on x (N, …)."""
    at = 0
    for layer in network.layers:
        own = p[at : at + layer.size]
        at += layer.size
        match layer:
            case Dense(n_in=rows, n_out=columns):
                x = x @ own[: rows * columns].reshape(rows, columns) + own[rows * columns :]
            case Activation(kind=kind):
                x = jnp.tanh(x) if kind == "tanh" else jax.nn.relu(x)
            case Conv2d():
                x = _convolve(layer, own, x)
            case Pool2d(kind=kind, window=k):
                N, C, H, W = x.shape
                x = x[:, :, : H // k * k, : W // k * k].reshape(N, C, H // k, k, W // k, k)
                x = x.max(axis=(3, 5)) if kind == "max" else x.mean(axis=(3, 5))
            case Flatten():
                x = x.reshape(x.shape[0], -1)
    return x


def _convolve(layer: Conv2d, own: Any, x: Any) -> Any:
    count = layer.filters * layer.fan_in
    W = own[:count].reshape(layer.filters, layer.channels, layer.kernel, layer.kernel)
    margin = (layer.padding, layer.padding)
    y = jax.lax.conv_general_dilated(x, W, (layer.stride, layer.stride), (margin, margin))
    return y + own[count:, None, None]
