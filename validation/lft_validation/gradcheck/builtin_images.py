"""Built-in problems with images: small networks that are fine-tuned, and one that is attacked.

LeNet-5 is both; the CNN and the MLP of few-shot classification (section 5) are fine-tuned.
"""

from __future__ import annotations

import numpy as np

from lft_ref import (
    Activation,
    AttackLoss,
    Conv2d,
    CrossEntropy,
    Data,
    Dense,
    Flatten,
    Network,
    NetworkLoss,
    Pool2d,
    Task,
    cnn,
    mnist_mlp,
    network_from_draws,
)

TASKS = ("lenet-tanh", "lenet-relu", "attack-tanh", "attack-relu", "fewshot-cnn", "fewshot-mlp")
SHAPE = (1, 4, 4)
OBLONG = (1, 3, 2)  # so that height and width cannot be mixed up
CLASSES = 3
KAPPA, L1 = 1.0, 0.05  # κ and λ of (12)
BOX = (-0.5, 0.5)


def small_lenet(activation: str) -> Network:
    """Return the layers of LeNet-5 in its order, as small as they can be: d = 37.

    1 × 4 × 4 becomes 2 × 5 × 5, pooled to 2 × 2 × 2, then 2 × 3 × 3, pooled to 2 × 1 × 1. One
    pooling takes the maximum and one the mean, and both leave out a row and a column.
    """
    phi = Activation("tanh" if activation == "tanh" else "relu")
    first = (Conv2d(1, 2, 2, padding=1), Pool2d("max"), phi)
    second = (Conv2d(2, 2, 2, padding=1), Pool2d("average"), phi)
    return Network((*first, *second, Flatten(), Dense(2, CLASSES)))


def fewshot_network(kind: str) -> tuple[Network, tuple[int, int, int]]:
    """Return the networks of few-shot tasks, as small as they can be, and the shape of an image.

    Two convolutions (d = 67), or three dense layers (d = 55).
    """
    if kind == "cnn":
        return cnn(SHAPE, blocks=2, filters=2, ways=CLASSES), SHAPE
    return mnist_mlp(CLASSES, OBLONG, hidden=(4, 3)), OBLONG


def image_task(name: str, rng: np.random.Generator) -> Task:
    """Draw a task: ``attack-…`` fine-tunes a perturbation, eq. (12), the others the weights.

    The attack on tanh sees images that are cut off at the ends of their box, that on ReLU does not.
    """
    what, activation = name.split("-")
    if what == "fewshot":
        network, shape = fewshot_network(activation)
        weights = network_from_draws(network, rng.uniform(-1.0, 1.0, network.size))
        train, val = (_images(rng, 3, shape) for _ in range(2))
        return Task(NetworkLoss(network, CrossEntropy("mean")), train, val, weights)
    network = small_lenet(activation)
    weights = network_from_draws(network, rng.uniform(-1.0, 1.0, network.size))
    train, val = (_images(rng, 3) for _ in range(2))
    if what == "lenet":
        return Task(NetworkLoss(network, CrossEntropy("mean")), train, val, weights)
    weights = 3.0 * weights  # so that some margins are beyond κ
    loss = AttackLoss(network, weights, KAPPA, L1, BOX, clip=activation == "tanh")
    return Task(loss, train, val, rng.normal(0.0, 0.2, int(np.prod(SHAPE))))


def _images(rng: np.random.Generator, number: int, shape: tuple[int, int, int] = SHAPE) -> Data:
    return Data(rng.uniform(*BOX, (number, *shape)), rng.integers(CLASSES, size=number))
