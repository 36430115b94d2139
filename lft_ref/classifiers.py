"""The classifiers of section 5 and supplement F: an MLP of three layers, CNNs of four and of two.

The optimizee θ is the whole parameter vector, and every task has its own. The paper says how many
layers there are and nothing else. Here convolutions are 3 × 3 with a margin of 1, each followed by
2 × 2 max pooling (while the image has 2 × 2 pixels to pool) and ReLU, and a dense layer makes the
logits: the blocks of Vinyals et al. 2016 and Finn et al. 2017, with 32 filters unless told
otherwise, the latter's number for miniImageNet. Pooling stands before ReLU, which is the same
function at a quarter of the work. There is no batch normalisation: with it, the loss of an example
would depend on its neighbours.
Initial weights: :func:`~lft_ref.networks.network_from_draws`.
"""

from __future__ import annotations

from math import prod

from lft_ref._array import Array, namespace
from lft_ref.convolution import Conv2d
from lft_ref.layers import Activation, Dense, Layer
from lft_ref.networks import Network, mlp
from lft_ref.objectives import Data
from lft_ref.pooling import Flatten, Pool2d


def mnist_mlp(
    ways: int = 10,
    shape: tuple[int, int, int] = (1, 28, 28),
    hidden: tuple[int, int] = (32, 32),
    activation: str = "relu",
) -> Network:
    """Return the MLP with three layers for MNIST's tasks; it takes images and flattens them.

    Args:
        ways: number of classes N.
        shape: (channels, height, width) of an image.
        hidden: widths of the two hidden layers; the paper does not give them.
        activation: ``relu`` or ``tanh``.

    Raises:
        ValueError: for fewer than 2 classes, a width below 1, or another activation.

    Example:
        >>> mnist_mlp(5).size
        26341
    """
    _check_ways(ways)
    dense = mlp((prod(shape), *hidden, ways), activation)
    return Network((Flatten(), *dense.layers))


def cnn(
    shape: tuple[int, int, int],
    blocks: int,
    filters: int,
    ways: int,
    activation: str = "relu",
) -> Network:
    """Return ``blocks`` times convolution, pooling and activation, then one dense layer.

    Args:
        shape: (channels, height, width) of an image.
        blocks: number of convolutions.
        filters: of every convolution.
        ways: number of classes N.
        activation: ``relu`` or ``tanh``.

    Raises:
        ValueError: for fewer than 2 classes, no block, no filter, or another activation.

    Example:
        >>> cnn((1, 8, 8), blocks=2, filters=8, ways=3).size
        763
    """
    _check_ways(ways)
    if blocks < 1 or filters < 1:
        raise ValueError(f"blocks and filters must be at least 1, found {blocks} and {filters}")
    if activation not in ("relu", "tanh"):
        raise ValueError(f"activation must be 'relu' or 'tanh', found {activation!r}")
    phi = Activation("tanh" if activation == "tanh" else "relu")
    channels, height, width = shape
    layers: list[Layer] = []
    for _ in range(blocks):
        layers.append(Conv2d(channels, filters, 3, padding=1))
        if min(height, width) >= 2:
            layers.append(Pool2d("max"))
            height, width = height // 2, width // 2
        layers.append(phi)
        channels = filters
    return Network((*layers, Flatten(), Dense(filters * height * width, ways)))


def cifar_cnn(ways: int = 10, filters: int = 32) -> Network:
    """Return the CNN with four convolutional layers for the tasks of CIFAR-10, 3 × 32 × 32.

    Arguments and errors are those of :func:`cnn`.

    Example:
        >>> cifar_cnn(2).size, cifar_cnn(5, filters=64).size
        (28898, 113861)
    """
    return cnn((3, 32, 32), 4, filters, ways)


def omniglot_cnn(ways: int = 5, filters: int = 32) -> Network:
    """Return the CNN with two convolutional layers for the tasks of Omniglot, 1 × 28 × 28.

    Arguments and errors are those of :func:`cnn`.

    Example:
        >>> omniglot_cnn(5).size
        17413
    """
    return cnn((1, 28, 28), 2, filters, ways)


def miniimagenet_cnn(ways: int = 5, filters: int = 32) -> Network:
    """Return the CNN with four convolutional layers for miniImageNet's tasks, 3 × 84 × 84.

    Arguments and errors are those of :func:`cnn`.

    Example:
        >>> miniimagenet_cnn(5).size
        32645
    """
    return cnn((3, 84, 84), 4, filters, ways)


def accuracy(network: Network, theta: Array, data: Data) -> Array:
    """Return the share of examples whose largest logit is that of their class, (...,).

    Args:
        network: a classifier.
        theta: its parameters (..., d).
        data: images (..., N, C, H, W) with integer classes (..., N).
    """
    xp = namespace(theta)
    found = xp.argmax(network.activations(theta, data.x)[-1], axis=-1)
    right = xp.astype(found, data.y.dtype) == data.y
    return xp.mean(xp.astype(right, theta.dtype), axis=-1)


def _check_ways(ways: int) -> None:
    if ways < 2:
        raise ValueError(f"ways must be at least 2 classes, found {ways}")
