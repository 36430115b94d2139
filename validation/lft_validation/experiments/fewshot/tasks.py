"""Few-shot tasks of section 5 and supplement F: the optimizee is the whole of a small network.

Images of one source are classified by one architecture; tasks of other sources have other
architectures, and no parameter in common with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lft_backends.backend import Backend
from lft_backends.draws import Stage
from lft_ref import CrossEntropy, Data, Network, NetworkLoss, cnn, mnist_mlp
from lft_validation.datasets import Split
from lft_validation.datasets import source as source_of
from lft_validation.episodes import Episodes, draw, initial_weights
from lft_validation.experiments.fewshot.config import LAYERS, Config, images_of, network_of
from lft_validation.experiments.unions import parts


class FewShotProblem(NamedTuple):
    """One source with its network: where tasks come from, and the loss on them."""

    source: str  # its images, without the network
    backend: Backend
    config: Config
    network: Network
    loss: NetworkLoss  # the mean cross-entropy

    @property
    def d(self) -> int:
        """Number of parameters of the network."""
        return self.network.size

    def data(
        self, seed: int, stage: Stage, tasks: Sequence[int], shots: int, split: Split
    ) -> tuple[Data, Data]:
        """Return (D_tr, D_val): images (tasks, N, C, H, W) and classes (tasks, N)."""
        config = self.config
        query = config.test_query if split == "test" else config.query
        episodes = Episodes(
            self.source, config.ways, shots, query, split, rotations=self.turns(split)
        )
        return draw(episodes, self.backend, seed, stage, tasks)

    def turns(self, split: Split) -> bool:
        """Whether turned images are further classes: of Omniglot's characters, in meta-training."""
        return self.config.rotations and self.source == "omniglot" and split == "train"

    def theta_0(self, seed: int, stage: Stage, tasks: Sequence[int]) -> Any:
        """Return random initial parameters for each task, (tasks, d)."""
        return initial_weights(self.network, self.source, self.backend, seed, stage, tasks)


def validation_split(source: str) -> Split:
    """Return what tasks of meta-validation are drawn from: a split for it, or the training set.

    Example:
        >>> validation_split("miniimagenet"), validation_split("omniglot")
        ('val', 'train')
    """
    return "val" if "val" in source_of(images_of(source)).splits else "train"


def splits_of(config: Config, source: str) -> tuple[Split, ...]:
    """Return the splits of a source that a run draws tasks from."""
    trained_on = any(source in parts(union) for union in config.training)
    judges = config.validation_tasks > 0 and trained_on and validation_split(source) == "val"
    return ("train", "val", "test") if judges else ("train", "test")


def make_network(config: Config, source: str) -> Network:
    """Return the network that a source's tasks train."""
    shape, name = source_of(images_of(source)).shape, network_of(source)
    if name == "mlp":
        return mnist_mlp(config.ways, shape, (config.hidden[0], config.hidden[1]))
    return cnn(shape, LAYERS[name], config.filters, config.ways)


def make_problem(config: Config, backend: Backend, source: str) -> FewShotProblem:
    """Return the tasks of one source."""
    network = make_network(config, source)
    loss = NetworkLoss(backend.fuse_optimizee(network), CrossEntropy("mean"))
    return FewShotProblem(images_of(source), backend, config, network, loss)
