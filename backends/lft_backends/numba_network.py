"""The fused CPU twin of a victim: a network of ReLU and max pooling that pulls cotangents to x.

Of a network that stands still while its images are perturbed, an attack asks two passes: the
logits, and the cotangent of the images. For a chain of (convolution, 2 × 2 max pooling, ReLU) and
then dense layers with ReLU, Numba kernels do them; results are those of ``lft_ref.networks``, to
within rounding.
"""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from math import ceil, prod
from typing import NamedTuple

import numpy as np

from lft_backends.kernels import victim_cpu
from lft_backends.own_weights import alike, size_of
from lft_ref import Activation, Conv2d, Dense, Flatten, Network, Pool2d
from lft_ref.attack import Victim

GROUP = 8  # at most so many images side by side
BLOCK = (Conv2d, Pool2d, Activation)


def fuse(network: Network) -> Victim:
    """Return the network's twin if there is one, and otherwise the network itself.

    Example:
        >>> from lft_ref import lenet5
        >>> type(fuse(lenet5())).__name__, type(fuse(lenet5(activation="tanh"))).__name__
        ('FusedNetwork', 'Network')
    """
    if not isinstance(network, Network):  # somebody's own victim
        return network
    kinds = [type(layer) for layer in network.layers]
    end = kinds.index(Flatten) if Flatten in kinds else 0
    chain: list[type] = [*(BLOCK[i % 3] for i in range(end)), Flatten]
    chain += [(Dense, Activation)[i % 2] for i in range(len(kinds) - end - 1)]
    known = end > 0 and end % 3 == 0 and kinds == chain and kinds[-1] is Dense
    return FusedNetwork(network) if known and all(map(_has_kernel, network.layers)) else network


def _has_kernel(layer: object) -> bool:
    if isinstance(layer, Conv2d):
        return layer.stride == 1
    if isinstance(layer, Pool2d):
        return layer == Pool2d("max", 2)
    return not isinstance(layer, Activation) or layer.kind == "relu"


class Plan(NamedTuple):
    """How a network works on so many images of one shape; see :mod:`.kernels.victim_cpu`."""

    groups: int
    blocks: np.ndarray  # (blocks, 14)
    dense: np.ndarray  # (dense layers, 3)
    shifts: np.ndarray  # where each tap (c, a, e) of a filter begins, block after block
    winners: int  # how many windows
    features: int  # how many inputs of dense layers but the first


class Blocks(NamedTuple):
    """The blocks (convolution, pooling, ReLU) of a network, as the kernels read them."""

    table: np.ndarray  # (blocks, 14): see :mod:`.kernels.victim_cpu`
    shifts: np.ndarray  # where each tap (c, a, e) of a filter begins, block after block
    winners: int  # how many windows


def blocks_of(network: Network, groups: int, B: int, shape: tuple[int, ...]) -> Blocks:
    """Lay out the blocks for groups of B images of one shape (C, H, W).

    Raises:
        ValueError: if the network does not take such images. Kernels look at no bounds.
    """
    starts = list(accumulate((layer.size for layer in network.layers), initial=0))
    layers = list(zip(network.layers, starts[:-1], strict=True))
    convolutions = [(layer, start) for layer, start in layers if isinstance(layer, Conv2d)]
    margins = [*(layer.padding for layer, _ in convolutions), 0]
    blocks, shifts, winners = [], list[np.ndarray](), 0
    found, height, width = shape
    for number, (layer, start) in enumerate(convolutions):
        into, out, k, C = margins[number], margins[number + 1], layer.kernel, layer.channels
        height, width = height + 2 * into, width + 2 * into
        c, a, e = (index.ravel() for index in np.indices((C, k, k)))
        rows, columns = height - k + 1, width - k + 1
        if found != C or min(rows, columns) < 2:
            raise ValueError(f"the network does not take images of shape {shape}")
        run = ((rows - 1) * width + columns) * B  # from the first to the last output pixel
        blocks.append(
            (start, layer.filters, C * k * k, C, height, width, B, rows, columns, run, into, out,
             sum(map(len, shifts)), winners)
        )  # fmt: skip
        shifts.append(((c * height + a) * width + e) * B)
        found, height, width = layer.filters, rows // 2, columns // 2
        winners += groups * layer.filters * height * width * B
    if found * height * width != dense_of(network)[0, 1]:
        raise ValueError(f"the network does not take images of shape {shape}")
    return Blocks(np.asarray(blocks), np.concatenate(shifts), winners)


def dense_of(network: Network) -> np.ndarray:
    """Return the dense layers as the kernels read them: where θ has them, inputs, outputs."""
    starts = accumulate((layer.size for layer in network.layers), initial=0)
    layers = zip(network.layers, starts, strict=False)
    return np.asarray([(start, *layer[:2]) for layer, start in layers if isinstance(layer, Dense)])


@cache
def plan_of(network: Network, N: int, *shape: int) -> Plan:
    """Lay the network out for N images of one shape (C, H, W)."""
    groups = max(1, ceil(N / GROUP))
    table, shifts, winners = blocks_of(network, groups, max(1, ceil(N / groups)), shape)
    dense = dense_of(network)
    return Plan(groups, table, dense, shifts, winners, N * int(dense[1:, 1].sum()))


def native(a: np.ndarray) -> np.ndarray:
    """Return the array in this machine's byte order, the only one that kernels take."""
    return a if a.dtype.isnative else a.astype(a.dtype.newbyteorder("="))


class FusedNetwork(NamedTuple):
    """A network whose layers follow the pattern above. θ (d,) is shared by all images."""

    network: Network

    @property
    def size(self) -> int:
        """Number of parameters."""
        return size_of(self.network)

    @property
    def curved(self) -> bool:
        """No: it is piecewise linear."""
        return False

    def activations(self, theta: np.ndarray, x: np.ndarray) -> list[np.ndarray]:
        """Return x, what the way back needs, and, last, the output."""
        if not (theta.dtype.isnative and x.dtype.isnative):
            return self.activations(native(theta), native(x))
        self._check(theta, x)
        images = np.ascontiguousarray(x).reshape((-1, *x.shape[-3:]))
        plan = plan_of(self.network, len(images), *x.shape[-3:])
        which, features = np.empty(plan.winners, np.uint8), np.empty(plan.features, x.dtype)
        z = victim_cpu.forwards(np.ascontiguousarray(theta), images, *plan[:4], which, features)
        return [x, which, features, z.reshape((*x.shape[:-3], z.shape[-1]))]

    def x_vjp(self, theta: np.ndarray, xs: list[np.ndarray], y_bar: np.ndarray) -> np.ndarray:
        """Backpropagate the output's cotangent to the input: return x̄, of shape ``xs[0]``."""
        x, which, features, _ = xs
        if not theta.dtype.isnative:
            return self.x_vjp(native(theta), xs, y_bar)
        if not alike(y_bar, xs[-1]):
            own = self.network.activations(theta, x)
            found: np.ndarray = self.network.x_vjp(theta, own, y_bar)
            return found
        images = prod(x.shape[:-3])
        plan = plan_of(self.network, images, *x.shape[-3:])
        x_bar = np.empty((images, *x.shape[-3:]), x.dtype)
        rows = np.ascontiguousarray(y_bar).reshape((images, y_bar.shape[-1]))
        victim_cpu.backwards(np.ascontiguousarray(theta), rows, *plan[:4], which, features, x_bar)
        return x_bar.reshape(x.shape)

    def x_jvp(self, theta: np.ndarray, xs: list[np.ndarray], x_dot: np.ndarray) -> list[np.ndarray]:
        """Push ẋ forwards as the reference does: no training asks for it."""
        return self.network.x_jvp(theta, self.network.activations(theta, xs[0]), x_dot)

    def x_vjp_dot(
        self,
        theta: np.ndarray,
        xs: list[np.ndarray],
        y_bar: np.ndarray,  # a curvature would be multiplied by it
        xs_dot: list[np.ndarray],  # likewise
        y_bar_dot: np.ndarray,
    ) -> np.ndarray:
        """Tangent of :meth:`x_vjp`, which is linear in ȳ and piecewise constant in x."""
        return self.x_vjp(theta, xs, y_bar_dot)

    def _check(self, theta: np.ndarray, x: np.ndarray) -> None:
        if theta.shape != (self.size,) or theta.dtype.char not in "fd" or x.dtype != theta.dtype:
            raise ValueError(
                f"the weights must have shape ({self.size},) and the images' dtype, found "
                f"{theta.shape}, {theta.dtype} and {x.dtype}"
            )
