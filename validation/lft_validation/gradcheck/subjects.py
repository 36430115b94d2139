"""What has its derivatives checked at full size: layers, LeNet-5, and the attack (12) on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from typing import NamedTuple

import numpy as np

from lft_backends.draws import Stage, stream
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
    cifar_cnn,
    digits_network,
    lenet5,
    miniimagenet_cnn,
    mnist_mlp,
    network_from_draws,
    omniglot_cnn,
)
from lft_ref.layers import Layer
from lft_validation.victims import network as victim

EXAMPLES = 2
KAPPA, L1 = 3.0, 0.02  # of (12): a margin that an untrained victim reaches on neither side
BOX = (-0.5, 0.5)
STEP = 40  # of Stage.CASE: the others belong to the meta-gradients


class Subject(NamedTuple):
    """A network with weights and examples; or a loss, of weights or of a perturbation θ."""

    name: str
    network: Network
    weights: np.ndarray  # (P,)
    data: Data  # x (N, …), and classes (N,) for losses
    loss: NetworkLoss | AttackLoss | None = None
    theta: np.ndarray | None = None  # where an attack is differentiated


Draw = Callable[[np.random.Generator], Subject]


def subjects(seed: int = 0) -> Iterator[Subject]:
    """Draw all subjects, one after the other."""
    for index, draw in enumerate(ALL):
        yield draw(stream(seed, Stage.CASE, index, STEP))


def _images(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(*BOX, (EXAMPLES, *shape))


def _network(
    name: str, network: Network, shape: tuple[int, ...], rng: np.random.Generator
) -> Subject:
    x, none = _images(rng, shape), np.zeros(0)
    draws = rng.uniform(-1.0, 1.0, network.size)
    weights = network_from_draws(network, draws) if network.size else none
    return Subject(name, network, weights, Data(x, none))


def _of_weights(
    name: str, network: Network, shape: tuple[int, ...], rng: np.random.Generator
) -> Subject:
    """The loss of a network that is fine-tuned: cross-entropy."""
    plain = _network(name, network, shape, rng)
    data = Data(plain.data.x, rng.integers(10, size=EXAMPLES))
    return plain._replace(data=data, loss=NetworkLoss(network, CrossEntropy("mean")))


def _of_perturbation(
    name: str, network: Network, shape: tuple[int, ...], clip: bool, rng: np.random.Generator
) -> Subject:
    """The attack (12) on images that the victim classifies correctly, near the ends of the box."""
    plain = _network(name, network, shape, rng)
    y = np.argmax(network.activations(plain.weights, plain.data.x)[-1], axis=-1)
    loss = AttackLoss(network, plain.weights, KAPPA, L1, BOX, clip)
    theta = rng.normal(0.0, 0.1, prod(shape))
    return plain._replace(data=Data(plain.data.x, y), loss=loss, theta=theta)


SMALL, ODD = (2, 6, 7), (2, 7, 5)
MNIST, CIFAR10, DIGITS = (1, 28, 28), (3, 32, 32), (1, 8, 8)
MINIIMAGENET = (3, 84, 84)


def _alone(name: str, layer: Layer, shape: tuple[int, ...]) -> Draw:
    return partial(_network, name, Network((layer,)), shape)


ALL: tuple[Draw, ...] = (
    _alone("convolution 5x5, padding 2", Conv2d(2, 3, 5, padding=2), SMALL),
    _alone("convolution 3x3, stride 2", Conv2d(2, 3, 3, stride=2, padding=1), ODD),
    _alone("max pooling", Pool2d("max"), ODD),
    _alone("average pooling", Pool2d("average"), ODD),
    _alone("flatten", Flatten(), SMALL),
    _alone("dense", Dense(5, 4), (5,)),
    _alone("ReLU", Activation("relu"), (5,)),
    _alone("tanh", Activation("tanh"), (5,)),
    partial(_network, "LeNet-5, 1x28x28, ReLU, max", lenet5(MNIST), MNIST),
    partial(_network, "LeNet-5, 1x28x28, tanh, mean", lenet5(MNIST, "tanh", "average"), MNIST),
    partial(_network, "LeNet-5, 3x32x32, ReLU, max", lenet5(CIFAR10), CIFAR10),
    partial(_network, "LeNet-5, 3x32x32, tanh, mean", lenet5(CIFAR10, "tanh", "average"), CIFAR10),
    partial(_network, "digits' network, ReLU, max", digits_network(), DIGITS),
    partial(_network, "digits' network, tanh, mean", digits_network("tanh", "average"), DIGITS),
    partial(_network, "perceptron, a victim", victim("mlp", MNIST), MNIST),
    partial(_of_weights, "cross-entropy of LeNet-5", lenet5(MNIST, "tanh"), MNIST),
    partial(_of_weights, "Table 2: MLP of MNIST", mnist_mlp(), MNIST),
    partial(_of_weights, "Table 2: CNN of CIFAR-10", cifar_cnn(filters=16), CIFAR10),
    partial(_of_weights, "Table A2: CNN of Omniglot", omniglot_cnn(10, filters=16), MNIST),
    partial(_of_perturbation, "attack on ReLU, clip", lenet5(MNIST), MNIST, True),
    partial(_of_perturbation, "attack on ReLU, no clip", lenet5(CIFAR10), CIFAR10, False),
    partial(_of_perturbation, "attack on tanh, clip", lenet5(MNIST, "tanh"), MNIST, True),
    partial(_of_perturbation, "attack on tanh, no clip", lenet5(CIFAR10, "tanh"), CIFAR10, False),
    partial(_network, "perceptron of CIFAR-10", victim("mlp", CIFAR10), CIFAR10),
    partial(_network, "perceptron of the digits", victim("mlp", DIGITS), DIGITS),
    partial(_of_weights, "Table A2: miniImageNet CNN", miniimagenet_cnn(10, 16), MINIIMAGENET),
)  # fmt: skip
