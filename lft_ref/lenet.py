"""Networks for images: LeNet-5 (LeCun et al. 1998), which the paper attacks, and a small one."""

from __future__ import annotations

from typing import Literal

from lft_ref.convolution import Conv2d
from lft_ref.layers import Activation, Dense, Layer
from lft_ref.networks import Network
from lft_ref.pooling import Flatten, Pool2d

# Of images, and the padding of the first convolution.
SHAPES: dict[tuple[int, ...], int] = {(1, 28, 28): 2, (3, 32, 32): 0}


def lenet5(
    shape: tuple[int, int, int] = (1, 28, 28),
    activation: str = "relu",
    pooling: str = "max",
    classes: int = 10,
) -> Network:
    """Return LeNet-5: 6 and 16 filters of 5 × 5, pooling by 2 after each, then 120, 84, classes.

    The paper gives its name and nothing else. As published it takes 32 × 32 images, so 28 × 28 get
    a margin of 2; it has scaled tanh, trained subsampling, sparse connections between the channels
    and radial basis functions at the end. Here the first two are ReLU and max pooling unless told
    otherwise, and the others a full convolution and a dense layer, as everybody has them. Pooling
    stands before the activation: for the maximum this is the same function as the other order, at a
    quarter of the work.

    Args:
        shape: (channels, height, width): (1, 28, 28) or (3, 32, 32).
        activation: ``relu`` or ``tanh``.
        pooling: ``max`` or ``average``.
        classes: number of outputs.

    Raises:
        ValueError: for another shape, activation or pooling.

    Example:
        >>> lenet5().size, lenet5((3, 32, 32)).size
        (61706, 62006)
    """
    if tuple(shape) not in SHAPES:
        known = " or ".join(map(str, SHAPES))
        raise ValueError(f"LeNet-5 takes images of shape {known}, found {shape}")
    phi, pool = _activation(activation), _pooling(pooling)
    first = Conv2d(shape[0], 6, 5, padding=SHAPES[tuple(shape)])
    layers: list[Layer] = [first, pool, phi, Conv2d(6, 16, 5), pool, phi, Flatten()]
    layers += [Dense(400, 120), phi, Dense(120, 84), phi, Dense(84, classes)]
    return Network(tuple(layers))


def digits_network(activation: str = "relu", pooling: str = "max") -> Network:
    """Return a small network for 1 × 8 × 8 digits: 8 and 16 filters of 3 × 3, then 10 classes.

    Raises:
        ValueError: for an activation other than ``relu`` or ``tanh``, or a pooling other than
            ``max`` or ``average``.

    Example:
        >>> digits_network().size
        1898
    """
    phi, pool = _activation(activation), _pooling(pooling)
    layers: list[Layer] = [Conv2d(1, 8, 3, padding=1), pool, phi]
    layers += [Conv2d(8, 16, 3, padding=1), pool, phi, Flatten(), Dense(64, 10)]
    return Network(tuple(layers))


def _activation(name: str) -> Activation:
    if name not in ("relu", "tanh"):
        raise ValueError(f"activation must be 'relu' or 'tanh', found {name!r}")
    kind: Literal["relu", "tanh"] = "tanh" if name == "tanh" else "relu"
    return Activation(kind)


def _pooling(name: str) -> Pool2d:
    if name not in ("max", "average"):
        raise ValueError(f"pooling must be 'max' or 'average', found {name!r}")
    kind: Literal["max", "average"] = "max" if name == "max" else "average"
    return Pool2d(kind)
