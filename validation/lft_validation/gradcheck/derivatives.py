"""Derivatives of networks and losses at full size, by the parameters and by the input.

Where the meta-gradients of ``lft gradcheck`` go through small networks, this goes through LeNet-5
as it is attacked: its output, tangents, cotangents, and the tangents of the cotangents, which a
Hessian-vector product is made of. Tangents and cotangents are random. The right values come from
automatic differentiation of the restatement in :mod:`lft_validation.autodiff_restatement`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from autograd import grad, make_vjp
from autograd import numpy as anp

from lft_backends.draws import Stage, stream
from lft_ref import AttackLoss
from lft_validation.autodiff_restatement import loss as restated_loss
from lft_validation.autodiff_restatement import output as restated_output
from lft_validation.comparison import relative_difference
from lft_validation.gradcheck.kinks_images import of_attack, of_network
from lft_validation.gradcheck.problem import TOLERANCE
from lft_validation.gradcheck.subjects import ALL, Subject, subjects
from lft_validation.gradcheck.verdict import ROUNDING, pattern_of

Array = Any
Terms = dict[str, Array]
# In the order of computation, with what each is.
WHAT = {
    "value": "the output",
    "tan p": "the tangent of the output along the parameters",
    "tan x": "the tangent of the output along the input",
    "cot p": "the cotangent of the parameters",
    "cot x": "the cotangent of the input",
    "2nd p": "the tangent of the parameters' cotangent",
    "2nd x": "the tangent of the input's cotangent",
}


class Derivatives(NamedTuple):
    """What the check of one subject found: the relative error of each of its terms."""

    name: str
    errors: dict[str, float]
    tolerance: float
    kinks: list[str]  # sentences
    conclusion: str  # about the first wrong term; empty if all are right

    @property
    def passed(self) -> bool:
        """Whether every term is right."""
        return not self.conclusion


def count() -> int:
    """Return the number of subjects."""
    return len(ALL)


def check_derivatives(seed: int = 0, tolerance: float | None = None) -> Iterator[Derivatives]:
    """Check all subjects, one after the other."""
    for number, subject in enumerate(subjects(seed)):
        yield check_subject(subject, seed, number, tolerance or TOLERANCE)


def check_subject(
    subject: Subject, seed: int = 0, number: int = 0, tolerance: float = TOLERANCE
) -> Derivatives:
    """Compare every derivative of one subject with automatic differentiation."""
    rng = stream(seed, Stage.CASE, number, step=41)
    of = _of_network if subject.loss is None else _of_loss
    with warnings.catch_warnings():  # the second derivative of what is piecewise linear is no news
        warnings.filterwarnings("ignore", message="Output seems independent")
        found, right = of(subject, rng)
    floors = {
        "2nd p": "cot p",
        "2nd x": "cot x",
    }  # a second derivative may vanish: judged on the first's
    errors, conclusion = {}, ""
    for term, value in found.items():
        first = right.get(floors.get(term, ""), np.zeros(1))
        scale = ROUNDING * float(np.max(np.abs(first)))
        errors[term] = relative_difference(value, right[term], scale)
        if not errors[term] <= tolerance and not conclusion:
            conclusion = _sentence(term, value, right[term], errors[term], tolerance)
    return Derivatives(subject.name, errors, tolerance, list(_kinks(subject)), conclusion)


def _of_network(subject: Subject, rng: np.random.Generator) -> tuple[Terms, Terms]:
    """The seven terms of a network, found and right; five of a layer without parameters."""
    network, p, x = subject.network, subject.weights, subject.data.x
    xs = network.activations(p, x)
    x_dot, y_bar, y_bar_dot = (rng.standard_normal(a.shape) for a in (x, xs[-1], xs[-1]))
    xs_dot = network.x_jvp(p, xs, x_dot)
    found: Terms = {"value": xs[-1]}
    right: Terms = {"value": restated_output(network, p, x)}

    def by_input(at: Array) -> Array:
        return restated_output(network, p, at)

    if network.size:
        p_dot = rng.standard_normal(p.shape) / np.sqrt(p.size)
        tangents = network.jvp(p, xs, p_dot)
        found["tan p"] = tangents[-1]
        found["cot p"] = network.vjp(p, xs, y_bar)
        found["2nd p"] = network.vjp_dot(p, xs, y_bar, p_dot, tangents, y_bar_dot)
        products = _products(lambda at: restated_output(network, at, x), p, p_dot, y_bar, y_bar_dot)
        right |= dict(zip(("tan p", "cot p", "2nd p"), products, strict=True))
    found["tan x"], found["cot x"] = xs_dot[-1], network.x_vjp(p, xs, y_bar)
    found["2nd x"] = network.x_vjp_dot(p, xs, y_bar, xs_dot, y_bar_dot)
    products = _products(by_input, x, x_dot, y_bar, y_bar_dot)
    right |= dict(zip(("tan x", "cot x", "2nd x"), products, strict=True))
    return {term: found[term] for term in WHAT if term in found}, right


def _products(
    f: Callable[[Array], Array], at: Array, dot: Array, y_bar: Array, y_bar_dot: Array
) -> tuple[Array, Array, Array]:
    """J v, Jᵀ ȳ, and the derivative of Jᵀ ȳ along v and ȳ̇, by reverse mode alone.

    Jᵀ ȳ is linear in ȳ, so J v is its gradient; and ⟨ȳ, f⟩ has a symmetric Hessian.
    """
    pull, _ = make_vjp(f)(at)
    tangent = grad(lambda bar: anp.sum(make_vjp(f)(at)[0](bar) * dot))(y_bar)
    slope = grad(lambda point: anp.sum(f(point) * y_bar))
    curvature = grad(lambda point: anp.sum(slope(point) * dot))(at)
    return tangent, pull(y_bar), curvature + pull(y_bar_dot)


def _of_loss(subject: Subject, rng: np.random.Generator) -> tuple[Terms, Terms]:
    """Value, gradient and Hessian-vector product of a loss."""
    f, data = subject.loss, subject.data
    assert f is not None
    at = subject.weights if subject.theta is None else subject.theta
    v = rng.standard_normal(at.shape)

    def value(point: Array) -> Array:
        return restated_loss(f, point, data)

    slope = grad(value)
    curvature = grad(lambda point: anp.sum(slope(point) * v))(at)
    first, second = ("cot p", "2nd p") if subject.theta is None else ("cot x", "2nd x")
    found = {"value": f.value(at, data), first: f.grad(at, data), second: f.hvp(at, data, v)}
    return found, {"value": value(at), first: slope(at), second: curvature}


def _kinks(subject: Subject) -> Iterator[str]:
    f, data = subject.loss, subject.data
    if isinstance(f, AttackLoss) and subject.theta is not None:
        near = of_attack(f, subject.theta, data)
    else:
        near = of_network(subject.network, subject.weights, data.x)
    for what, where, distance in near:
        yield f"{what} at {where} (distance {distance:.0e})"


def _sentence(term: str, found: Array, right: Array, error: float, tolerance: float) -> str:
    found, right = np.asarray(found), np.asarray(right)
    if found.shape != right.shape:
        return f"{WHAT[term]} has shape {found.shape} instead of {right.shape}."
    apart = np.where(np.isfinite(found), np.abs(found - right), np.inf)
    place = np.unravel_index(int(np.argmax(apart)), apart.shape)
    entry = f" at {[int(i) for i in place]}" if place else ""
    pattern = pattern_of(found, right, tolerance)
    also = f"; {pattern}" if pattern else ""
    return (
        f"The first wrong term is {WHAT[term]} (relative error {error:.1e}): it is "
        f"{found[place]:.6g}{entry}, expected {right[place]:.6g}{also}."
    )
