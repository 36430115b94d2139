"""What a run needs, found out before it starts: a backend, and memory."""

from __future__ import annotations

from functools import cache

import numpy as np

from lft_backends.backend import Backend, BackendUnavailable, get_backend
from lft_ref import Conv2d, Network
from lft_validation.errors import UserError
from lft_validation.resources import free_memory

GIB = 2.0**30
ARRAYS_PER_STEP = 3  # θ, g and the stacked θ of one unrolled step; h and c are counted apart
STEP = 14  # times n numbers a coordinate that live at once in a step of the cell
WORKSPACE = 12  # arrays of the size of the gates that live at once in a step or its vjp


def usable_backend(name: str, dtype: str = "float64", device: str | None = None) -> Backend:
    """Return a backend, or say what is missing.

    Raises:
        UserError: if the backend is not there.
    """
    try:
        return get_backend(name, dtype, device)
    except (ValueError, BackendUnavailable) as error:
        raise UserError(str(error)) from error


def shares_one_device(name: str, device: str | None = None) -> bool:
    """Say whether arrays have a device's own memory, which all processes would have to share.

    False too for a backend that is not there: who needs it says so.
    """
    try:
        return get_backend(name, device=device).free_memory is not None
    except (ValueError, BackendUnavailable):
        return False


def free_bytes(backend: Backend | None = None) -> int:
    """Bytes that arrays can have: on the backend's device, or here if it has none of its own."""
    if backend is None or backend.free_memory is None:
        return free_memory()
    return backend.free_memory()


def free_words(backend: Backend | None = None) -> str:
    """Say how much memory is free, and where: ``3.2 GiB are free``."""
    where = "" if backend is None or backend.free_memory is None else " on the device"
    return f"{free_bytes(backend) / GIB:.1f} GiB are free{where}"


def fits(needed: int, workers: int, backend: Backend | None = None) -> bool:
    """Say whether so many processes of so many bytes have the memory that they need."""
    return needed * workers <= free_bytes(backend)


def check_memory(needed: int, workers: int, remedy: str, backend: Backend | None = None) -> None:
    """Say how much memory is missing, and what to change.

    Args:
        needed: bytes that one process takes at most.
        workers: processes.
        remedy: what makes it less, after "use fewer --workers, or ".
        backend: whose device has the arrays; None for this machine's own memory.

    Raises:
        UserError: if there is not enough.
    """
    if not fits(needed, workers, backend):
        raise UserError(
            f"this run needs about {needed * workers / GIB:.1f} GiB in {workers} processes, and "
            f"{free_words(backend)}; use fewer --workers, or {remedy}"
        )


def unroll_numbers(d: int, K: int, n: int) -> int:
    """Numbers that the adjoint of one task keeps through K steps of a cell with n units."""
    return d * (K * (ARRAYS_PER_STEP + 2 * n) + WORKSPACE * 4 * n)


def step_numbers(d: int, n: int) -> int:
    """Numbers that live at once in one fine-tuning step of one task."""
    return d * WORKSPACE * 4 * n


@cache
def numbers_per_image(network: Network, shape: tuple[int, int, int]) -> int:
    """Return how many numbers one image takes on its way through: activations and patches."""
    xs = network.activations(np.zeros(network.size), np.zeros((1, *shape)))
    patches = [
        layer.fan_in * y.shape[-2] * y.shape[-1]
        for layer, y in zip(network.layers, xs[1:], strict=True)
        if isinstance(layer, Conv2d)
    ]
    return int(sum(x.size for x in xs) + sum(patches))
