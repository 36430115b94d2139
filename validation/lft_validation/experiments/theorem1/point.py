"""One Φ at one |D_tr|: both sides of (11) for every |D_val|, and what the proof says on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lft_backends.draws import Stage
from lft_ref import Data, FineTuner, LSTMParams
from lft_ref.theorem1 import Moments, vector_moments
from lft_validation.errors import JobFailed
from lft_validation.experiments.theorem1.config import Config
from lft_validation.experiments.theorem1.estimate import (
    Length,
    length_of_mean,
    root_of_mean,
    with_control,
)
from lft_validation.experiments.theorem1.gap import Draws, Reference, measure
from lft_validation.experiments.theorem1.jacobians import JacobianDraws, jacobian_draws
from lft_validation.experiments.theorem1.problems import Tasks, draw

EXACT = "exact"  # in place of a |D_val|: the expectation over D_val is taken, not sampled
CHUNK = 100_000  # examples of D_tr, D_val or the population that are worked on at once

AXES = (0, 1, 0, 0, 1, 1, 2, 1)  # where the draws stand in each array of Draws


class Point(NamedTuple):
    """What was measured; names are ``quantity/|D_val|`` or just ``quantity``."""

    lengths: dict[str, Length]
    numbers: dict[str, float]


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # judged by its results
def measure_point(
    config: Config,
    params: LSTMParams,
    tuner: FineTuner,
    tasks: Tasks,
    at: Reference,
    seed: int,
    D_tr: int,
) -> Point:
    """Measure everything at one |D_tr|, with the same draws for every Φ.

    Raises:
        JobFailed: if fine-tuning leads to gradients that are not finite.
    """
    numbers, R = range(len(tasks.theta_0)), config.draws
    train = draw(tasks, seed, Stage.THEOREM1_TRAIN, numbers, D_tr, R)
    # D_val is keyed by |D_tr| as well: points of the grid are independent of one another.
    vals = [
        draw(tasks, seed, Stage.THEOREM1_VAL, numbers, D_val, R, beside=D_tr)
        for D_val in config.val_sizes
    ]
    draws = _in_chunks(params, tuner, tasks, at, train, vals)
    if not all(np.isfinite(part).all() for part in draws):
        raise JobFailed(
            f"fine-tuning diverged: with |D_tr| = {D_tr} not all gradients of seed {seed} are "
            f"finite after {config.unroll} steps; use a smaller output_scale"
        )
    few = slice(None, config.jacobian_draws)
    jacobians = jacobian_draws(
        params,
        tuner,
        tasks,
        _take(train, few),
        (draws.grad_val[-1][:, few], draws.grad[:, few], draws.grad_train[:, few]),
        draws.grad[:, config.jacobian_draws :].mean(axis=1),
    )
    lengths = _gaps(config, draws) | _steps(config, draws, jacobians)
    return Point(lengths, _constants(config, draws, jacobians, D_tr))


def _take(data: Data, rows: slice) -> Data:
    return Data(data.x[rows], data.y[rows])


def _in_chunks(
    params: LSTMParams,
    tuner: FineTuner,
    tasks: Tasks,
    at: Reference,
    train: Data,
    vals: Sequence[Data],
) -> Draws:
    """Measure some draws at a time, so that memory stays small."""
    R, N, D_tr = train.y.shape[:3]
    most = max(D_tr, tasks.population.x.shape[1], *(val.y.shape[2] for val in vals))
    step = max(1, CHUNK // (N * most))
    parts = []
    for first in range(0, R, step):
        rows = slice(first, first + step)
        parts.append(
            measure(params, tuner, tasks, at, _take(train, rows), [_take(v, rows) for v in vals])
        )
    return Draws(
        *(
            np.concatenate(arrays, axis=axis)
            for arrays, axis in zip(zip(*parts, strict=True), AXES, strict=True)
        )
    )


def _gaps(config: Config, draws: Draws) -> dict[str, Length]:
    """The left side of (11), and the root mean square gap of single draws."""
    lengths = {
        "l2o": length_of_mean(draws.l2o.mean(axis=1)),
        "lft": length_of_mean(draws.exact.mean(axis=1)),
    }
    x = (draws.l2o - draws.exact).mean(axis=1)
    lengths[f"gap/{EXACT}"] = length_of_mean(with_control(x, draws.control_l2o.mean(axis=1)))
    for v, D_val in enumerate(config.val_sizes):
        single = draws.l2o - draws.lft[v]
        control = (draws.control_l2o - draws.control_lft[v]).mean(axis=1)
        lengths[f"gap/{D_val}"] = length_of_mean(with_control(single.mean(axis=1), control))
        lengths[f"plain/{D_val}"] = length_of_mean(single.mean(axis=1))
        noise = with_control(
            (draws.lft[v] - draws.exact).mean(axis=1), draws.control_lft[v].mean(axis=1)
        )
        lengths[f"val/{D_val}"] = length_of_mean(noise)
        lengths[f"single/{D_val}"] = root_of_mean(np.sum(single**2, axis=-1).mean(axis=1))
    return lengths


def _steps(config: Config, draws: Draws, jacobians: JacobianDraws) -> dict[str, Length]:
    """What A1 and the proof say to be zero."""
    lengths = {"bias/train": length_of_mean(_over_steps(draws.grad_train - draws.grad))}
    for v, D_val in enumerate(config.val_sizes):
        lengths[f"bias/{D_val}"] = length_of_mean(_over_steps(draws.grad_val[v] - draws.grad))
    lengths["covariance"] = length_of_mean(jacobians.covariance.mean(axis=1))
    lengths["replaced"] = length_of_mean(jacobians.replaced.mean(axis=1))
    return lengths


def _over_steps(grads: np.ndarray) -> np.ndarray:
    """Mean over tasks, all steps side by side (R, K d), scaled so that lengths are those of one."""
    means = np.moveaxis(grads.mean(axis=2), 0, 1)  # (R, K, d)
    return np.asarray(means.reshape(means.shape[0], -1) / np.sqrt(means.shape[1]))


def _constants(
    config: Config, draws: Draws, jacobians: JacobianDraws, D_tr: int
) -> dict[str, float]:
    """Smallest G and σ² (of one example) that A2 and A3 allow, over all tasks and steps."""
    train = _largest(_gradient_moments(draws.grad_train, draws.grad))
    jacobian = _largest(jacobians.moments)
    numbers = {
        "G/train": train.mean_norm,
        "variance/train": D_tr * train.variance,
        "G/Phi": jacobian.mean_norm,
        "G_rms/Phi": jacobian.mean_square**0.5,
        "variance/Phi": D_tr * jacobian.variance,
    }
    for v, D_val in enumerate(config.val_sizes):
        val = _largest(_gradient_moments(draws.grad_val[v], draws.grad))
        numbers[f"G/{D_val}"] = val.mean_norm
        numbers[f"variance/{D_val}"] = D_val * val.variance
    size = float(np.sqrt(np.mean(np.sum(draws.grad**2, axis=-1))))
    apart = draws.grad - draws.grad.mean(axis=2, keepdims=True)
    few = jacobians.product.shape[0]
    error = np.linalg.norm(jacobians.product - draws.lft[-1, :few])
    return numbers | {
        "gradient": size,
        # (S10) as printed compares one task's gradient with the mean over the tasks.
        "between_tasks": float(np.mean(np.sum(apart**2, axis=-1), axis=(1, 2)).max()),
        "chain_rule": float(error / np.linalg.norm(draws.lft[-1, :few])),
    }


def _gradient_moments(grads: np.ndarray, centre: np.ndarray) -> Moments:
    """Moments over the draws of gradients (K, R, N, d), for each step and task."""
    return vector_moments(np.moveaxis(grads, 1, 0), np.moveaxis(centre, 1, 0))


def _largest(moments: Moments) -> Moments:
    return Moments(*(float(np.max(a)) for a in moments))
