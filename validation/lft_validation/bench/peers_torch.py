"""PyTorch's contestants: the paper's unroll written anew, differentiated by autograd.

Nothing of ``lft_ref`` computes here; its layers are read as descriptions of a network only. The
second derivatives come from ``create_graph``. The cell comes in two layouts, and compiled.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from lft_ref import Activation, Conv2d, Dense, Flatten, Network, Pool2d, flatten
from lft_validation.bench.contestant import Contestant, Field, Missing, Result
from lft_validation.bench.problems import Problem

P_LOG, OUTPUT_SCALE = 10.0, 0.1
COMPILED = "PyTorch compiled (n, d)"
Cell = Callable[..., tuple[Any, Any, Any]]


def contestants(
    problem: Problem, dtype: str, measure: str, device: str = "cpu", compile_seconds: float = 0.0
) -> Field:
    """PyTorch eager in both layouts, and with ``torch.compile`` of the step if there is time.

    Args:
        problem: what is computed.
        dtype: ``float32`` or ``float64``.
        measure: only ``adjoint`` has contestants here.
        device: ``cpu`` or ``gpu``.
        compile_seconds: how long ``torch.compile`` may take; 0 leaves it out.
    """
    if measure != "adjoint":
        return []
    place = "cpu" if device == "cpu" else "cuda"
    if place == "cuda":  # no 10 bits of TF32 in products of float32; convolutions allow it at first
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    field: Field = [
        _contestant("PyTorch eager (d, n)", problem, dtype, place, _tall, wide=False),
        _contestant("PyTorch eager (n, d)", problem, dtype, place, _wide, wide=True),
    ]
    if compile_seconds > 0.0:
        field.append(_compiled(problem, dtype, place, compile_seconds))
    return field


def _compiled(problem: Problem, dtype: str, place: str, seconds: float) -> Contestant | Missing:
    """Compile the cell by running once; what goes wrong, or takes too long, ends in a sentence."""
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # no processes that stay behind
    torch._dynamo.reset()
    cell = torch.compile(_wide, dynamic=False)
    contestant = _contestant(COMPILED, problem, dtype, place, cell, wide=True)
    over: list[int] = []
    try:
        with _at_most(seconds, over):
            contestant.run()
    except Exception as error:  # noqa: BLE001 - a compiler may be missing, or fail in its own way
        if over:  # PyTorch wraps what is raised while it compiles
            return Missing(COMPILED, f"torch.compile took more than {seconds:.0f} s; raise the "
                           "limit with --compile-seconds")  # fmt: skip
        text = str(error).strip().splitlines() or [type(error).__name__]
        return Missing(COMPILED, f"torch.compile does not work here ({text[0][:100]})")
    return contestant


@contextlib.contextmanager
def _at_most(seconds: float, over: list[int]) -> Iterator[None]:
    """Raise ``TimeoutError`` in the main thread when the time is up, and note it in ``over``."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def late(*_: object) -> None:
        over.append(1)
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _contestant(
    name: str, problem: Problem, dtype: str, place: str, cell: Cell, wide: bool
) -> Contestant:
    def put(a: Any) -> Any:
        a = np.array(a)
        return torch.from_numpy(a.astype(dtype) if a.dtype.kind == "f" else a).to(place)

    flat = put(flatten(problem.params)).requires_grad_()
    start = put(np.reshape(problem.task.theta_0, (problem.tasks, problem.d)))
    train, val = (_loss(problem, data, put) for data in (problem.task.train, problem.task.val))
    gradient = _gradient(problem, train, put)
    n, weights = problem.params.n, problem.weights
    shape = (n, start.numel()) if wide else (start.numel(), n)

    def run() -> Any:
        theta, total = start, torch.zeros((), dtype=flat.dtype, device=place)
        h = c = torch.zeros(shape, dtype=flat.dtype, device=place)
        parts = _weights(flat, n)
        for w in weights:
            delta, h, c = cell(*parts, gradient(theta).reshape(-1), h, c)
            theta = theta - delta.reshape(theta.shape)
            if w:
                total = total + w * val(theta)
        (grad,) = torch.autograd.grad(total, flat)
        if place == "cuda":
            torch.cuda.synchronize()
        return total.detach(), grad

    def read(result: Any) -> Result:
        return Result(float(result[0]), result[1].cpu().numpy().astype(np.float64))

    return Contestant(name, "torch", run, read)


def _weights(flat: Any, n: int) -> tuple[Any, ...]:
    W_x, rest = flat[: 8 * n].reshape(2, 4 * n), flat[8 * n :]
    W_h, rest = rest[: 4 * n * n].reshape(n, 4 * n), rest[4 * n * n :]
    return W_x, W_h, rest[: 4 * n], rest[4 * n : 5 * n], rest[5 * n]


def _features(g: Any) -> tuple[Any, Any]:
    """(log|g| / p, sign g), or (-1, e^p g) for small g."""
    large = g.abs() >= math.exp(-P_LOG)
    safe = torch.where(large, g, torch.ones_like(g))
    first = torch.where(large, safe.abs().log() / P_LOG, -torch.ones_like(g))
    return first, torch.where(large, safe.sign(), math.exp(P_LOG) * g)


def _tall(
    W_x: Any, W_h: Any, b: Any, w_o: Any, b_o: Any, g: Any, h: Any, c: Any
) -> tuple[Any, Any, Any]:
    """The cell with h and c (d, n)."""
    x = torch.stack(_features(g), dim=-1)
    i, f, u, o = torch.addmm(torch.addmm(b, x, W_x), h, W_h).chunk(4, dim=-1)
    c = f.sigmoid() * c + i.sigmoid() * u.tanh()
    h = o.sigmoid() * c.tanh()
    return OUTPUT_SCALE * (h @ w_o + b_o), h, c


def _wide(
    W_x: Any, W_h: Any, b: Any, w_o: Any, b_o: Any, g: Any, h: Any, c: Any
) -> tuple[Any, Any, Any]:
    """The cell with h and c (n, d)."""
    x = torch.stack(_features(g), dim=0)
    z = torch.addmm(torch.addmm(b[:, None], W_x.T, x), W_h.T, h)
    i, f, u, o = z.chunk(4, dim=0)
    c = f.sigmoid() * c + i.sigmoid() * u.tanh()
    h = o.sigmoid() * c.tanh()
    return OUTPUT_SCALE * (w_o @ h + b_o), h, c


def _gradient(
    problem: Problem, train: Callable[[Any], Any], put: Callable[[Any], Any]
) -> Callable[[Any], Any]:
    """Return θ → ∇f(θ; D_tr) that can be differentiated again, where it has a derivative."""
    if problem.kind == "quadratic":
        a, b = put(problem.task.train.x), put(problem.task.train.y)
        return lambda theta: a * (theta - b)
    curved = problem.kind != "attack"  # that loss is piecewise linear: ∂g/∂θ = 0

    def gradient(theta: Any) -> Any:
        point = theta if curved and theta.requires_grad else theta.detach().requires_grad_()
        (g,) = torch.autograd.grad(train(point), point, create_graph=curved)
        return g

    return gradient


def _loss(problem: Problem, data: Any, put: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return θ (tasks, d) → Σ over tasks of f(θ; D)."""
    f: Any = problem.task.objective
    x, y = put(data.x), put(data.y)
    if problem.kind == "quadratic":
        return lambda theta: 0.5 * (x * (theta - y) ** 2).sum()
    if problem.kind == "sine":
        return lambda theta: ((_network(f.network, theta, x) - y) ** 2).sum()
    if problem.kind == "cnn":  # one task
        return lambda theta: F.cross_entropy(_network(f.network, theta[0], x[0]), y[0])
    victim, classes, image = put(f.weights), y.reshape(-1), tuple(x.shape[-3:])
    true = F.one_hot(classes, 10).bool()

    def attack(theta: Any) -> Any:
        shown = (x + theta.reshape(-1, 1, *image)).clamp(*f.box).reshape(-1, *image)
        z = _network(f.network, victim, shown)
        margin = z[true] - z.masked_fill(true, -math.inf).amax(dim=-1)
        return margin.clamp(min=-f.kappa).sum() + f.l1 * theta.abs().sum()

    return attack


def _network(network: Network, p: Any, x: Any) -> Any:
    """The layers of ``network``; p (tasks, …) or shared by all, x (tasks, N, …) or (N, …)."""
    at = 0
    for layer in network.layers:
        own = p[..., at : at + layer.size]
        at += layer.size
        match layer:
            case Dense(n_in=rows, n_out=columns):
                W = own[..., : rows * columns].reshape(*own.shape[:-1], rows, columns)
                x = x @ W + own[..., None, rows * columns :]
            case Activation(kind=kind):
                x = x.tanh() if kind == "tanh" else x.relu()
            case Conv2d():
                count = layer.filters * layer.fan_in
                W = own[:count].reshape(layer.filters, layer.channels, layer.kernel, layer.kernel)
                x = F.conv2d(x, W, own[count:], layer.stride, layer.padding)
            case Pool2d(kind=kind, window=k):
                x = F.max_pool2d(x, k) if kind == "max" else F.avg_pool2d(x, k)
            case Flatten():
                x = x.flatten(1)
    return x
