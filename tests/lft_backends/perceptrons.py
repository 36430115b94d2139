"""Perceptrons, and tasks that fit them, for the twins of every device."""

from __future__ import annotations

import numpy as np

from lft_ref import Activation, Data, Dense, Flatten, Network, NetworkLoss, SquaredError, mlp

RELU = Activation("relu")
NETWORKS = {
    "sine": (mlp((1, 40, 40, 1)), (1,)),
    "one layer": (mlp((3, 2)), (3,)),
    "narrow": (mlp((2, 5, 3, 4, 2)), (2,)),
    "images": (Network((Flatten(), Dense(12, 7), RELU, Dense(7, 3))), (3, 2, 2)),
}
BATCHES = {  # axes of θ before d, and of the examples before N
    "one task": ((), ()),
    "tasks": ((3,), (3,)),
    "many θ for each task": ((4, 3), (3,)),
    "many θ, one task": ((4,), ()),
    "one θ, many tasks": ((), (3,)),
    "θ and tasks cross": ((4, 1), (3,)),
}
DTYPES = ["float64", "float32"]


def draw(name, batch, dtype, N=6, seed=0):
    """A network, and θ, data and a direction that fit it."""
    network, shape = NETWORKS[name]
    rng, (own, tasks) = np.random.default_rng(seed), BATCHES[batch]
    theta, v = (rng.normal(size=(*own, network.size)).astype(dtype) for _ in range(2))
    x = rng.normal(size=(*tasks, N, *shape)).astype(dtype)
    y = rng.normal(size=(*tasks, N, network.layers[-1].n_out)).astype(dtype)
    return network, theta, Data(x, y), v


def everything(network, theta, data, v):
    """Value, gradient, Hessian-vector product, and the products with several directions."""
    f = NetworkLoss(network, SquaredError())
    several = np.stack([v, -2 * v, v * v])
    results = f.value(theta, data), f.grad(theta, data), f.hvp(theta, data, v)
    if theta.ndim > 1 or data.x.ndim == 2 + (network.layers[0] == Flatten()) * 2:
        results += (f.hvp(theta, data, several),)
    return results
