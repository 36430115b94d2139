"""The fused CPU twin of a perceptron that is tuned: every task has its own θ.

Results are those of ``lft_ref.networks``, to within rounding. Where an argument has other batch
axes than θ (many directions at one point, one θ for many data sets), the reference's passes are
used.
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

import numpy as np

from lft_backends.kernels import mlp_cpu
from lft_backends.numba_backend import rows
from lft_backends.own_weights import Perceptron, is_perceptron, table_of
from lft_ref import Network
from lft_ref.networks import Optimizee


@cache
def fuse(network: Network) -> Optimizee:
    """Return the network's twin if there is one, and otherwise the network itself.

    Example:
        >>> from lft_ref import mlp
        >>> type(fuse(mlp((1, 40, 40, 1)))).__name__, type(fuse(mlp((1, 9, 1), "tanh"))).__name__
        ('FusedMLP', 'Network')
    """
    if not is_perceptron(network):
        return network
    return FusedMLP(network, network.first, table_of(network))


class FusedMLP(Perceptron):
    """A perceptron by Numba kernels, on NumPy arrays."""

    xp: ClassVar[Any] = np
    rows: ClassVar[Any] = staticmethod(rows)

    @property
    def kernels(self) -> Any:
        """:mod:`.kernels.mlp_cpu`."""
        return mlp_cpu
