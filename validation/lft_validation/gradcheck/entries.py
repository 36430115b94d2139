"""Names for entries of arrays: ``W_h[3, 27] (candidate gate of unit 7, from hidden unit 3)``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from lft_ref import AttackLoss, Conv2d, Dense, NetworkLoss, Task
from lft_ref.networks import Optimizee
from lft_ref.params import shapes
from lft_validation.gradcheck.problem import Problem

GATES = ("input", "forget", "candidate", "output")


def phi_entry(index: int, m: int, n: int) -> str:
    """Name an entry of the flattened Φ and say what it does.

    Example:
        >>> phi_entry(80 + 3 * 40 + 27, m=2, n=10)
        'W_h[3, 27] (candidate gate of unit 7, from hidden unit 3)'
    """
    counts = [int(np.prod(shape)) for shape in shapes(m, n)]
    starts = np.cumsum([0, *counts])
    which = int(np.searchsorted(starts, index, side="right")) - 1
    name, shape = shapes(m, n)._fields[which], shapes(m, n)[which]
    place = [int(i) for i in np.unravel_index(index - starts[which], shape)] if shape else []
    title = f"{name}[{', '.join(map(str, place))}]" if place else name
    return f"{title} ({_role(name, place, n)})"


def _role(name: str, place: Sequence[int], n: int) -> str:
    if name == "b_o":
        return "output bias"
    if name == "w_o":
        return f"output weight of hidden unit {place[0]}"
    gate, unit = divmod(place[-1], n)
    gate_of_unit = f"{GATES[gate]} gate of unit {unit}"
    if name == "b":
        return f"bias, {gate_of_unit}"
    return f"{gate_of_unit}, from {'feature' if name == 'W_x' else 'hidden unit'} {place[0]}"


def entry(problem: Problem, axes: str, index: Sequence[int]) -> str:
    """Name one entry of a term's array; empty for a number."""
    n, m = problem.params.n, problem.params.m
    state = [f"{part}[{v}]" for part in "hc" for v in range(n)]
    kinds = {
        "c": lambda i: coordinate(problem, i),
        "s": lambda i: state[i],
        "r": lambda i: ["θ", *state][i],
        "m": lambda i: f"feature {i}",
        "p": lambda i: phi_entry(i, m, n),
    }
    names = [kinds[axis](int(i)) for axis, i in zip(axes, index, strict=True)]
    if axes == "cc":
        return f"row {names[0]}, column {names[1]}"
    if len(names) > 1:
        return f"{' by '.join(names[1:])}, at {names[0]},"
    return "".join(names)


def coordinate(problem: Problem, i: int) -> str:
    """Name a coordinate of θ."""
    return problem.coordinates[i] if problem.coordinates else f"θ[{i}]"


def names_of(parameters: dict[str, tuple[int, ...]]) -> tuple[str, ...]:
    """Name the coordinates of parameters that lie in θ one after the other, row-major.

    Example:
        >>> names_of({"W": (1, 2), "b": (2,)})
        ('W[0, 0]', 'W[0, 1]', 'b[0]', 'b[1]')
    """
    return tuple(
        f"{name}[{', '.join(map(str, place))}]" if shape else name
        for name, shape in parameters.items()
        for place in np.ndindex(*shape)
    )


def coordinate_names(task: Task) -> tuple[str, ...]:
    """Name the coordinates of a task's θ: a network's parameters, pixels, or nothing."""
    if isinstance(task.objective, NetworkLoss):
        return network_names(task.objective.network)
    if isinstance(task.objective, AttackLoss):
        return names_of({"pixel": task.train.x.shape[-3:]})
    return ()


def network_names(network: Optimizee) -> tuple[str, ...]:
    """Name the coordinates of a network's θ: W1[0, 2], b1[0], …; K1[0, 0, 2, 1] of a convolution.

    Example:
        >>> from lft_ref import mlp
        >>> network_names(mlp((1, 2)))
        ('W1[0, 0]', 'W1[0, 1]', 'b1[0]', 'b1[1]')
    """
    weighted = [layer for layer in network.layers if layer.size]
    parameters: dict[str, tuple[int, ...]] = {}
    for number, layer in enumerate(weighted, start=1):
        if isinstance(layer, Conv2d):
            kernel = (layer.filters, layer.channels, layer.kernel, layer.kernel)
            parameters |= {f"K{number}": kernel, f"b{number}": (layer.filters,)}
        elif isinstance(layer, Dense):
            parameters |= {f"W{number}": (layer.n_in, layer.n_out), f"b{number}": (layer.n_out,)}
    return names_of(parameters)


def split(flat: np.ndarray, m: int, n: int) -> dict[str, np.ndarray]:
    """Cut a flattened ∇_Φ into its five arrays, by name, without ``lft_ref.unflatten``."""
    sizes = [int(np.prod(shape)) for shape in shapes(m, n)]
    ends = np.cumsum([0, *sizes])
    return {
        name: flat[a:b] for name, (a, b) in zip(shapes(m, n)._fields, pairwise(ends), strict=True)
    }
