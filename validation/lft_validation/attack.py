"""One universal perturbation for given images and a given victim: what ``lft attack`` computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from lft_backends.backend import Backend
from lft_backends.draws import Stage, directions, stream
from lft_ref import (
    AttackLoss,
    Cell,
    Data,
    Estimator,
    FirstOrder,
    LSTMParams,
    Optimizer,
    ZerothOrder,
    adam,
    learned,
    sgd,
)
from lft_validation.attack_images import AttackImages
from lft_validation.errors import UserError
from lft_validation.experiments.uap.config import Config, make_config
from lft_validation.experiments.uap.metrics import NAMES, make_meter
from lft_validation.experiments.uap.pgd import pgd
from lft_validation.experiments.usable import STEP, numbers_per_image
from lft_validation.victims import Attacked

ITEM = 4  # bytes of a float32, in which all is computed
METHODS = ("lft", "adam", "sgd", "pgd")
RATES = {"adam": "adam_rate", "sgd": "sgd_rate", "pgd": "pgd_rate"}
ZEROTH_RATES = {**RATES, "adam": "adam_zo_rate", "sgd": "sgd_zo_rate"}


class How(NamedTuple):
    """The loss (12) and the fine-tuning, the same for every method."""

    kappa: float
    l1: float
    clip: bool
    initial_scale: float
    steps: int
    zeroth: bool
    directions: int  # q of (6)
    mu: float
    seed: int
    rate: float | None = None  # of adam, sgd or pgd; the one of Table 1 if None


class Attempt(NamedTuple):
    """What one method made."""

    method: str
    theta: np.ndarray  # (C, H, W), to be added to images in [-0.5, 0.5]
    curves: np.ndarray  # (6, steps + 1): metrics.NAMES
    predicted: tuple[np.ndarray, np.ndarray]  # classes of both sets; -1 where a logit is none
    queries: int  # images that were shown to the victim, gradients counted as one
    counted: tuple[int, int]  # given and unseen images that the victim has right without θ

    @property
    def largest(self) -> float:
        """The largest |θ_i|: NaN or ∞ if the fine-tuner ran away."""
        return float(np.max(np.abs(self.theta)))

    def at(self, name: str, step: int = -1) -> float:
        """Return one of the measured numbers."""
        return float(self.curves[NAMES.index(name), step])


def how_trained(about: dict[str, Any], steps: int, zeroth: bool, seed: int) -> How:
    """Take loss and start as Φ was trained with, or as Table 1 has them where its file is silent.

    Raises:
        UserError: if the file's settings are not of their types, or none that a run would take.
    """
    config, given = Config(), about.get("config", {})
    if not isinstance(given, dict):
        raise UserError(f"the tuner's config must be a JSON object, found {str(given)[:40]!r}")
    names = ("kappa", "l1", "clip_images", "initial_scale", "directions", "mu")
    values = {name: given.get(name, getattr(config, name)) for name in names}
    for name, value in values.items():
        wanted = type(getattr(config, name))
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise UserError(f"the tuner's {name} must be a {wanted.__name__}, found {value!r:.40}")
    try:
        config = make_config("paper", values)
    except UserError as error:
        raise UserError(f"the tuner's {error.message}; give another --tuner") from None
    return How(
        config.kappa,
        config.l1,
        config.clip_images,
        config.initial_scale,
        steps,
        zeroth,
        config.directions,
        config.mu,
        seed,
    )


def memory_bytes(victim: Attacked, images: AttackImages, how: How, n: int) -> int:
    """Estimate the peak memory of an attempt with a cell of n units: the images, or a step.

    What a victim of the user's own code makes of the images is not known, and not counted.
    """
    d = int(prod(images.given.x.shape[1:]))
    own = not hasattr(victim.network, "layers")
    one = 0 if own else numbers_per_image(victim.network, victim.about["shape"])
    points = how.directions if how.zeroth else 1
    shown = max(points * len(images.given.y), len(images.unseen.y))
    drawn = d * how.directions if how.zeroth else 0
    sets = d * (len(images.given.y) + len(images.unseen.y))
    return ITEM * (sets + max(shown * (2 * d + one), STEP * n * d) + 4 * n * d + 2 * drawn)


def attempt(
    method: str,
    victim: Attacked,
    images: AttackImages,
    how: How,
    tuner: tuple[LSTMParams, Cell],
    backend: Backend,
    tick: Callable[[], None] = lambda: None,
) -> Attempt:
    """Fine-tune one perturbation on the given images and measure it on both sets.

    Args:
        method: one of :data:`METHODS`.
        victim: what is attacked.
        images: D_tr and D_val.
        how: the loss (12), the start, the steps.
        tuner: Φ and its cell, for ``lft``.
        backend: where to compute.
        tick: called after every step.
    """
    shape = images.given.x.shape[1:]
    d = prod(shape)
    loss = backend.fuse_attack(
        AttackLoss(
            victim.network, backend.asarray(victim.weights), how.kappa, how.l1, clip=how.clip
        )
    )
    sets = _on(backend, images.given), _on(backend, images.unseen)
    start = stream(how.seed, Stage.ATTACK_INIT).standard_normal((1, d))
    theta = backend.asarray(how.initial_scale * start)
    rule = _rule(method, how, tuner, backend)
    descended = loss._replace(l1=0.0) if method == "pgd" else loss  # it projects instead
    state, curves = rule.init(theta), []
    meter = make_meter(backend, loss, sets, theta)
    with np.errstate(over="ignore", invalid="ignore"):  # what runs away is judged by its results
        for g_of in _gradients(how, backend, descended, sets[0], d):
            curves.append(meter.measure(theta)[:, 0])
            delta, state = rule.update(g_of(theta), state)
            theta = theta - delta
            tick()
        curves.append(meter.measure(theta)[:, 0])
        predicted = [_predicted(backend, loss._replace(clip=True), theta, s) for s in sets]
    host = backend.to_host(theta)[0].reshape(shape)
    shown = how.steps * len(images.given.y) * (how.directions + 1 if how.zeroth else 1)
    counted = (int(meter.right[0].sum()), int(meter.right[1].sum()))
    said = (predicted[0], predicted[1])
    return Attempt(method, host, np.stack(curves, axis=-1), said, shown, counted)


def _predicted(backend: Backend, loss: AttackLoss, theta: Any, data: Data) -> np.ndarray:
    """Return the classes (N,) that the victim sees; -1 where a logit is not finite."""
    z = backend.to_host(loss.logits(theta, data))[0]
    classes = np.where(np.isfinite(z).all(axis=-1), np.argmax(z, axis=-1), -1)
    return np.asarray(classes)


def _on(backend: Backend, data: Data) -> Data:
    """Send images to the device as those of one task."""
    return Data(backend.asarray(data.x[None]), backend.asarray(data.y[None]))


def _rule(method: str, how: How, tuner: tuple[LSTMParams, Cell], backend: Backend) -> Optimizer:
    config = Config()
    if method == "lft":
        params, cell = tuner
        return learned(LSTMParams(*map(backend.asarray, params)), cell, backend.ops)
    name = (ZEROTH_RATES if how.zeroth else RATES)[method]
    rate = how.rate or float(getattr(config, name))
    if method == "pgd":
        return pgd(rate, config.pgd_radius, backend.xp)
    return adam(rate) if method == "adam" else sgd(rate)


def _gradients(
    how: How, backend: Backend, loss: AttackLoss, data: Data, d: int
) -> Iterator[Callable[[Any], Any]]:
    """For each step a function θ -> g(θ; D_tr): the gradient, or the estimate (6)."""
    estimator: Estimator = ZerothOrder(how.mu) if how.zeroth else FirstOrder()
    for k in range(how.steps):
        u = None
        if how.zeroth:
            drawn = directions(how.seed, Stage.ATTACK_DIRECTIONS, 0, k, how.directions, d)
            u = backend.asarray(drawn[:, None, :])
        yield partial(_estimate, estimator, loss, data, u)


def _estimate(estimator: Estimator, loss: AttackLoss, data: Data, u: Any, theta: Any) -> Any:
    return estimator.estimate(loss, theta, data, u)
