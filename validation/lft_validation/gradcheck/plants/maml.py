"""Mistakes in MAML, (1) and (2)."""

from __future__ import annotations

from typing import Any

from lft_ref import Estimator, MAMLGradient, Task, maml_gradient
from lft_ref.tasks import directions_at
from lft_validation.gradcheck.plants.plant import Change, Plant, with_pieces


def _backward(sign: float, shift: int) -> Change:
    """MAML with another sign in front of α, or the Hessian at the wrong step, on the way back."""

    def changed(task: Task, alpha: float, K: int, how: Estimator, _: bool) -> MAMLGradient:
        f, thetas = task.objective, [task.theta_0]
        for k in range(K):
            g = how.estimate(f, thetas[-1], task.train, directions_at(task, k))
            thetas.append(thetas[-1] - alpha * g)
        bar = f.grad(thetas[-1], task.val)
        for k in range(K - 1, -1, -1):
            u, theta = directions_at(task, k), thetas[k + shift]
            bar = bar + sign * alpha * how.vjp(f, theta, task.train, u, bar)
        return MAMLGradient(f.value(thetas[-1], task.val), bar, thetas[-1])

    return with_pieces(maml=changed)


def _data(train: str, val: str) -> Change:
    """MAML on the wrong data."""

    def changed(task: Task, *arguments: Any) -> MAMLGradient:
        wrong = task._replace(train=getattr(task, train), val=getattr(task, val))
        return maml_gradient(wrong, *arguments)

    return with_pieces(maml=changed)


def _first_order(task: Task, alpha: float, K: int, how: Estimator, _: bool) -> MAMLGradient:
    return maml_gradient(task, alpha, K, how, second_order=False)


def _ascent(task: Task, alpha: float, K: int, how: Estimator, _: bool) -> MAMLGradient:
    """θ + α g, with the derivative that belongs to it: f becomes −f on D_tr, exactly."""
    thetas, f = [task.theta_0], task.objective
    for k in range(K):
        g = how.estimate(f, thetas[-1], task.train, directions_at(task, k))
        thetas.append(thetas[-1] + alpha * g)
    bar = f.grad(thetas[-1], task.val)
    for k in range(K - 1, -1, -1):
        bar = bar + alpha * how.vjp(f, thetas[k], task.train, directions_at(task, k), bar)
    return MAMLGradient(f.value(thetas[-1], task.val), bar, thetas[-1])


PLANTS = (
    Plant(
        "maml-first-order",
        "MAML without its Hessian, taken for exact",
        "MAML θ̄",
        with_pieces(maml=_first_order),
    ),
    Plant("maml-sign", "I + α ∂g/∂θ in MAML's way back", "MAML θ̄", _backward(1.0, 0)),
    Plant(
        "maml-late-hessian",
        "MAML's Hessian is taken after the step instead of before",
        "MAML θ̄",
        _backward(-1.0, 1),
    ),
    Plant("maml-on-training", "MAML is judged on D_tr", "MAML θ̄", _data("train", "train")),
    Plant("maml-on-validation", "MAML is fine-tuned on D_val", "MAML θ", _data("val", "val")),
    Plant("maml-ascent", "MAML goes uphill", "MAML θ", with_pieces(maml=_ascent)),
)
