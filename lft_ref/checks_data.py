"""What the losses of this package ask of their data: shapes and classes that fit θ and a network.

Shapes alone tell, so nothing is computed. A loss, network or layer of other people may ask for
anything; of theirs, one call tells the batch axes.

Every function raises ``ValueError`` with the argument, the value found and the remedy.
"""

from __future__ import annotations

from itertools import zip_longest
from math import prod
from typing import Any

from lft_ref._array import Array, in_sight, namespace
from lft_ref.attack import AttackLoss
from lft_ref.convolution import Conv2d
from lft_ref.layers import Activation, Dense
from lft_ref.objectives import CrossEntropy, Data, NetworkLoss, Objective, Quadratic, SquaredError
from lft_ref.pooling import Flatten, Pool2d

Shape = tuple[int, ...]
LAYERS = (Dense, Conv2d, Pool2d, Flatten, Activation)


def takes_classes(f: Objective) -> bool:
    """Say whether y are classes, by a loss of this package."""
    return isinstance(f, AttackLoss) or (type(f) is NetworkLoss and type(f.loss) is CrossEntropy)


def takes_numbers(f: Objective) -> bool:
    """Say whether y are numbers that θ's loss subtracts, by a loss of this package."""
    return type(f) is Quadratic or (type(f) is NetworkLoss and type(f.loss) is SquaredError)


def check_data(f: Objective, theta_0: Array, name: str, data: Data, batch: Shape | None) -> Shape:
    """Check a data set against θ^(0) (..., d) and the loss, and return the batch axes of both.

    Args:
        f: the loss.
        theta_0: θ^(0).
        name: of the data set.
        data: its arrays, of the right dtypes.
        batch: the batch axes so far, where θ^(0) may be shared by tasks; None if it may not.
    """
    d, own = theta_0.shape[-1], batch is None
    batch = tuple(theta_0.shape[:-1]) if batch is None else batch
    ends: tuple[int, int] | None = None
    if isinstance(f, AttackLoss):
        ends = _check_images(f, d, name, data)
    elif isinstance(f, NetworkLoss):
        ends = _check_rows(f, d, name, data)
    elif type(f) is Quadratic:
        ends = _check_matrix(d, name, data)
    if ends is None:  # not ours: what one call says
        return _check_value(f, theta_0, name, data, batch) if own else batch
    for letter, array, axes in zip("xy", data, ends, strict=True):
        found = tuple(array.shape)
        batch = _joined(f"{name}.{letter}", batch, found[: len(found) - axes], own=own)
    return batch


def _check_matrix(d: int, name: str, data: Data) -> tuple[int, int]:
    """The quadratic's A (..., N, d) and b (..., N): return how many axes each has for itself."""
    found = tuple(data.x.shape)
    if len(found) < 2 or found[-1] != d:
        raise ValueError(
            f"theta_0 has {d} entries, but A, {name}.x, has shape {found}; it needs a column for "
            "each"
        )
    _check_some(name, data, 2)
    _check_y(name, data, (found[-2],), "a number for each row of A")
    return 2, 1


def _check_rows(f: NetworkLoss, d: int, name: str, data: Data) -> tuple[int, int] | None:
    """A network's examples and what its loss compares with: the axes of each; None if unknown."""
    if d != f.network.size:
        raise ValueError(
            f"theta_0 has {d} entries, but the network has {f.network.size} parameters"
        )
    if type(f) is not NetworkLoss:  # one that is derived from it may take other data
        return None
    output = _output(f.network, f"{name}.x", tuple(data.x.shape))
    if output is None or type(f.loss) not in (SquaredError, CrossEntropy):
        return None
    N, C = output[-2:]
    axes = data.x.ndim - (len(output) - 2)
    _check_some(name, data, axes)
    if type(f.loss) is SquaredError:
        _check_y(name, data, (N, C), "a row of outputs for each example")
        return axes, 2
    _check_y(name, data, (N,), "a class for each example")
    _check_classes(f"{name}.y", data.y, C)
    return axes, 1


def _check_images(f: AttackLoss, d: int, name: str, data: Data) -> tuple[int, int]:
    """Victim, images and perturbations, and the settings of (12): the axes of images and y."""
    found, (low, high) = tuple(f.weights.shape), f.box
    if found != (f.network.size,):
        raise ValueError(f"the victim's weights must have shape ({f.network.size},), found {found}")
    image = tuple(data.x.shape[-3:])
    if data.x.ndim < 4 or prod(image) != d:
        raise ValueError(
            f"theta_0 has {d} entries, but the images have shape {image}; it needs one per pixel"
        )
    _check_some(name, data, 4)
    if tuple(data.y.shape) != tuple(data.x.shape[:-3]):
        raise ValueError(
            f"each image needs its class, found images of shape {tuple(data.x.shape)} and classes "
            f"of shape {tuple(data.y.shape)}"
        )
    output = _output(f.network, f"{name}.x", tuple(data.x.shape))
    if output is not None:
        _check_classes(f"{name}.y", data.y, output[-1])
    if not low < high:
        raise ValueError(f"box must be (low, high) with low < high, found {f.box}")
    if not (f.kappa >= 0.0 and f.l1 >= 0.0):
        raise ValueError(f"kappa and l1 must not be negative, found {f.kappa} and {f.l1}")
    return 4, 1


def _check_value(f: Objective, theta_0: Array, name: str, data: Data, batch: Shape) -> Shape:
    """θ^(0) must have the batch axes of the loss, so that every engine accepts the same tasks."""
    found = tuple(f.value(theta_0, data).shape)
    if found != batch:
        raise ValueError(
            f"theta_0 has batch axes {batch}, but its loss on {name} has {found}; "
            "broadcast theta_0 to one row per task"
        )
    return batch


def _check_some(name: str, data: Data, axes: int) -> None:
    """There must be an example, on the first of so many axes of x."""
    if data.x.shape[-axes] < 1:
        raise ValueError(
            f"{name}.x must hold at least one example, found shape {tuple(data.x.shape)}"
        )


def _check_y(name: str, data: Data, wanted: Shape, what: str) -> None:
    """The last axes of y."""
    found = tuple(data.y.shape)
    if found[-len(wanted) :] != wanted:
        raise ValueError(
            f"{name}.y must have shape (..., {', '.join(map(str, wanted))}), {what}, found {found}"
        )


def _check_classes(name: str, y: Array, C: int) -> None:
    """Classes lie in 0 … C − 1. A look at them would hold up a GPU, and a compiler has none."""
    if not (in_sight(y) and prod(y.shape)):
        return
    xp = namespace(y)
    low, high = int(xp.min(y)), int(xp.max(y))
    if low < 0 or high >= C:
        raise ValueError(
            f"{name} must hold classes from 0 to {C - 1}, found {low if low < 0 else high}; count "
            f"them from 0, or use a network of more than {C} outputs"
        )


def _joined(name: str, batch: Shape, found: Shape, *, own: bool) -> Shape:
    """The batch axes of θ^(0) and an array together; those of θ^(0) if tasks have their own."""
    pairs = list(zip_longest(reversed(batch), reversed(found), fillvalue=1))
    joined = tuple(b if a == 1 else a for a, b in reversed(pairs))
    if any(a != b and 1 not in (a, b) for a, b in pairs) or (own and joined != batch):
        raise ValueError(
            f"theta_0 has batch axes {batch}, but {name} has {found}; broadcast theta_0 to one row "
            "per task"
        )
    return joined


def _output(network: Any, name: str, shape: Shape) -> Shape | None:
    """The shape of a network's output (..., N, C); None where a layer is not of this package."""
    layers, at = getattr(network, "layers", ()), shape
    if not layers or any(type(layer) not in LAYERS for layer in layers):
        return None
    for layer in layers:
        after = _after(layer, at)
        if not after:
            raise ValueError(
                f"{name} has shape {shape}, which the network does not take: {layer!r} cannot "
                f"follow on {at}; give it the shape that the network was made for"
            )
        at = after
    return at


def _after(layer: Any, shape: Shape) -> Shape:
    """The shape of a layer's output; none where its input must have another."""
    if isinstance(layer, Activation):
        return shape
    if isinstance(layer, Dense):
        fits = len(shape) >= 2 and shape[-1] == layer.n_in
        return (*shape[:-1], layer.n_out) if fits else ()
    if len(shape) < 4:
        return ()
    *rest, C, H, W = shape
    if isinstance(layer, Flatten):
        return (*rest, C * H * W)
    if isinstance(layer, Pool2d):
        image = (C, H // layer.window, W // layer.window)
    else:
        filters = layer.filters if layer.channels == C else 0
        image = (filters, layer.side_after(H), layer.side_after(W))
    return (*rest, *image) if min(image) >= 1 else ()
