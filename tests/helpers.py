"""What the tests share: comparisons, and random cases with what draws them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from lft_ref import (
    Activation,
    AttackLoss,
    Cell,
    Conv2d,
    CrossEntropy,
    Data,
    Dense,
    FineTuner,
    FirstOrder,
    Flatten,
    Identity,
    LogSign,
    LSTMParams,
    LSTMState,
    MetaGradient,
    Network,
    NetworkLoss,
    Objective,
    Pool2d,
    Quadratic,
    SquaredError,
    Task,
    ZerothOrder,
    flatten,
    mlp,
    size,
    unflatten,
    weights_every_step,
    weights_last_step,
    weights_linear,
    weights_mean,
)

RTOL = 1e-9  # what all engines promise in float64


def examples(percent: int) -> settings:
    """Run this many examples, in percent of the active profile's ``max_examples``."""
    return settings(max_examples=max(1, percent * settings().max_examples // 100))


# Comparisons --------------------------------------------------------------------------------------


def norm(a: Any) -> float:
    return float(np.linalg.norm(np.ravel(np.asarray(a))))


def relative_error(got: Any, want: Any) -> float:
    """‖got − want‖ / ‖want‖ over all entries; 0 if both vanish."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"shape {got.shape}, expected {want.shape}"
    error, scale = norm(got - want), norm(want)
    return 0.0 if error == 0.0 else error / scale if scale > 0.0 else np.inf


def assert_close(got: Any, want: Any, rtol: float = RTOL) -> None:
    """Compare on the scale of ``want`` itself, so that an all-zero result never passes."""
    error = relative_error(got, want)
    assert error <= rtol, f"relative error {error:.3g} exceeds {rtol:.3g}"


def assert_product_close(got: Any, want: Any, slope: Any, rtol: float) -> None:
    """Compare products of ∂g/∂θ with a vector; ``slope`` is g.

    Where ∂g/∂θ is zero, as of a loss that is piecewise linear, automatic differentiation leaves
    rounding on the scale of g.
    """
    scale = max(norm(want), 1e-3 * norm(slope))
    error = norm(np.asarray(got) - np.asarray(want))
    assert error <= rtol * scale, f"error {error:.3g} exceeds {rtol:.3g} times {scale:.3g}"


def gradient_error(got: LSTMParams, want: LSTMParams) -> float:
    """Largest relative error over the whole of Φ and over each of its five fields.

    A field counts on its own scale, or on 1e-4 of the whole's where it is smaller than that: below,
    cancellation in float64 and not the formula decides.
    """
    floor = 1e-4 * norm(flatten(want))
    errors = [relative_error(flatten(got), flatten(want))]
    for a, b in zip(got, want, strict=True):
        scale = max(norm(b), floor)
        errors.append(norm(np.asarray(a) - np.asarray(b)) / scale if scale > 0.0 else norm(a))
    return max(errors)


def assert_same_gradient(got: LSTMParams, want: LSTMParams, rtol: float = RTOL) -> None:
    """The comparison that every engine must pass, and that every planted mistake must fail."""
    error = gradient_error(got, want)
    assert error <= rtol, f"gradients differ by {error:.3g}, more than {rtol:.3g}"


def assert_same_result(got: MetaGradient, want: MetaGradient, rtol: float = RTOL) -> None:
    """All fields of two engines' results, the gradient last."""
    for name in ("meta_loss", "val_loss", "theta"):
        assert_close(getattr(got, name), getattr(want, name), rtol)
    for a, b in zip(got.state, want.state, strict=True):
        # h and c are of order 1; what closed gates leave of them, 1e-17 say, is rounding.
        assert norm(a - b) <= rtol * max(norm(b), 1e-3)
    assert_same_gradient(got.grad, want.grad, rtol)


def taylor_slope(f: Callable[[float], float], slope: float, start: float = 2e-2) -> float:
    """Order in ε at which |f(ε) − f(0) − ε f'(0)| vanishes: 2 if ``slope`` is f'(0), else 1."""
    steps = start * 0.5 ** np.arange(5)
    f_0 = f(0.0)
    rest = [abs(f(e) - f_0 - e * slope) for e in steps]
    return float(np.polyfit(np.log(steps), np.log(rest), 1)[0])


def central_difference_errors(
    f: Callable[[float], Any], derivative: Any, steps: tuple[float, ...] = (1e-2, 5e-3, 2.5e-3)
) -> list[float]:
    """Relative error of (f(ε) − f(−ε)) / 2ε for each ε; if right, a quarter for half the step."""
    return [relative_error((f(e) - f(-e)) / (2.0 * e), derivative) for e in steps]


def assert_is_derivative(f: Callable[[float], Any], derivative: Any) -> None:
    """Central differences converge to ``derivative`` with order 2, over several step sizes."""
    errors = central_difference_errors(f, derivative)
    assert errors[-1] < 1e-3, f"central differences are off by {errors}"
    for coarse, fine in pairwise(errors):
        # Exact for quadratics: then rounding, about 1e-16 over the step, is all that is left.
        assert fine < 0.35 * coarse or fine < 1e-10, f"no convergence of order 2: {errors}"


# Random cases -------------------------------------------------------------------------------------

OBJECTIVES = (
    "quadratic",
    "squared_sum_relu",
    "squared_mean_tanh",
    "squared_sum_tanh_deep",
    "linear",
    "cross_entropy_sum_tanh",
    "cross_entropy_mean_relu",
    "convolution",
    "attack_tanh",
    "attack_relu",
)
WEIGHTS = {
    "every_step": weights_every_step,
    "linear": weights_linear,
    "last_step": weights_last_step,
    "mean": weights_mean,
}
ESTIMATORS = ("first_order", "gaussian", "sphere", "coordinate")


class Case(NamedTuple):
    """Arguments of an engine."""

    params: LSTMParams
    tuner: FineTuner
    task: Task
    weights: tuple[float, ...]
    state_0: LSTMState | None = None
    truncate: int | None = None


def random_params(rng: np.random.Generator, m: int, n: int) -> LSTMParams:
    """Φ of order 1, b_o included, so that every term counts.

    Fed raw gradients (m = 1), W_x is smaller: gates that are all open or shut would hide mistakes.
    """
    params = unflatten(rng.uniform(-1.0, 1.0, size(m, n)), m, n)
    return params._replace(W_x=params.W_x * (0.2 if m == 1 else 1.0))


def random_state(rng: np.random.Generator, shape: tuple[int, ...], n: int) -> LSTMState:
    return LSTMState(*rng.uniform(-0.9, 0.9, (2, *shape, n)))


def random_objective(
    rng: np.random.Generator, name: str, batch: tuple[int, ...] = (), d: int = 3
) -> tuple[Objective, int, Callable[[int], Data]]:
    """An objective, the number of its parameters, and what draws N examples for it."""
    if name == "quadratic":
        return (
            Quadratic(),
            d,
            lambda N: Data(rng.normal(size=(*batch, N, d)), rng.normal(size=(*batch, N))),
        )
    sizes = {"squared_sum_tanh_deep": (2, 2, 3, 1), "linear": (2, 2)}.get(name, (2, 3, 2))
    network = mlp(sizes, "relu" if name.endswith("relu") else "tanh")
    if name in ("convolution", "attack_tanh", "attack_relu"):
        return _image_objective(rng, name, batch)
    reduction = "mean" if "_mean_" in name else "sum"
    if name.startswith("cross_entropy"):
        return (
            NetworkLoss(network, CrossEntropy(reduction)),
            network.size,
            lambda N: Data(
                rng.normal(size=(*batch, N, 2)), rng.integers(sizes[-1], size=(*batch, N))
            ),
        )
    return (
        NetworkLoss(network, SquaredError(reduction)),
        network.size,
        lambda N: Data(
            rng.normal(size=(*batch, N, 2)), 0.5 * rng.normal(size=(*batch, N, sizes[-1]))
        ),
    )


def image_network(activation: str) -> Network:
    """A small network with a convolution, pooling and a dense layer: 1 × 4 × 4 to 3 classes."""
    phi = Activation("relu" if activation == "relu" else "tanh")
    pool = Pool2d("max" if activation == "relu" else "average")
    return Network((Conv2d(1, 2, 2, padding=1), pool, phi, Flatten(), Dense(8, 3)))


def _image_objective(
    rng: np.random.Generator, name: str, batch: tuple[int, ...]
) -> tuple[Objective, int, Callable[[int], Data]]:
    """Cross-entropy of a network for images, or the attack (12) on one, images in [-2, 2]."""
    network = image_network("relu" if name.endswith("relu") else "tanh")

    def draw(N: int) -> Data:
        images = rng.uniform(-2.0, 2.0, size=(*batch, N, 1, 4, 4))
        return Data(images, rng.integers(3, size=(*batch, N)))

    if name == "convolution":
        return NetworkLoss(network, CrossEntropy()), network.size, draw
    weights = rng.normal(size=network.size)
    clip = name.endswith("tanh")
    return AttackLoss(network, weights, 0.5, 0.1, (-2.0, 2.0), clip), 16, draw


def random_directions(
    rng: np.random.Generator, scaling: str, K: int, q: int, shape: tuple[int, ...]
) -> np.ndarray:
    """Directions (K, q, *shape) of eq. (6) as ``scaling`` wants them."""
    d = shape[-1]
    if scaling == "coordinate":
        eye = np.eye(d).reshape(d, *(1,) * (len(shape) - 1), d)
        return np.broadcast_to(eye, (K, d, *shape)).copy()
    u = rng.normal(size=(K, q, *shape))
    return u / np.linalg.norm(u, axis=-1, keepdims=True) if scaling == "sphere" else u


def random_case(
    seed: int,
    objective: str = "quadratic",
    estimator: str = "first_order",
    *,
    n: int = 2,
    K: int = 3,
    d: int = 3,
    m: int = 2,
    batch: tuple[int, ...] = (),
    shared_data: bool = False,
    antithetic: bool = False,
    mu: float = 0.1,
    second_order: bool = True,
    output_scale: float = 0.5,
    with_state: bool = False,
    truncate: int | None = None,
    weights: str = "random",
) -> Case:
    """Asymmetric random arguments in general position; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    f, d, draw = random_objective(rng, objective, () if shared_data else batch, d)
    train, val = draw(3), draw(4)
    preprocess = LogSign() if m == 2 else Identity()
    theta_0 = 0.7 * rng.normal(size=(*batch, d))
    how, directions = FirstOrder(), None
    if estimator != "first_order":
        how = ZerothOrder(mu, estimator, antithetic)
        directions = random_directions(rng, estimator, K, 2, theta_0.shape)
    tuner = FineTuner(Cell(preprocess, output_scale), how, second_order)
    state_0 = random_state(rng, theta_0.shape, n) if with_state else None
    task = Task(f, train, val, theta_0, directions)
    w = WEIGHTS[weights](K) if weights in WEIGHTS else tuple(rng.normal(size=K).tolist())
    return Case(random_params(rng, m, n), tuner, task, w, state_0, truncate)


def settings_of_cases() -> st.SearchStrategy[dict[str, Any]]:
    """Keyword arguments of :func:`random_case`: all that an engine's answer may depend on."""
    return st.fixed_dictionaries(
        {
            "seed": st.integers(0, 2**32 - 1),
            "estimator": st.sampled_from(ESTIMATORS),
            "n": st.integers(1, 4),
            "K": st.integers(1, 5),
            "d": st.integers(1, 5),
            "m": st.sampled_from([1, 2]),
            "batch": st.sampled_from([(), (2,), (2, 1)]),
            "shared_data": st.booleans(),
            "antithetic": st.booleans(),
            "mu": st.sampled_from([0.5, 0.1, 0.02]),
            "second_order": st.booleans(),
            "output_scale": st.sampled_from([0.1, 0.7]),
            "with_state": st.booleans(),
            "truncate": st.sampled_from([None, 1, 2, 3]),
            "weights": st.sampled_from([*WEIGHTS, "random"]),
        }
    )
