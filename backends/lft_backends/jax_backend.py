"""JAX as an array library, without its automatic differentiation.

Called as they are, functions run operation by operation, each compiled for each shape, which takes
minutes: wrap what is called often in ``jax.jit``, such as a meta-gradient.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np

from lft_backends.backend import Backend
from lft_backends.libraries import Unavailable


def make(dtype: str, device: str | None) -> Backend:
    """Return the backend on ``cpu``, ``gpu``, ``tpu``, or one of several, such as ``gpu:1``.

    Raises:
        ValueError: if there is no such device.
        Unavailable: if JAX is set, as it is at first, to make 32 bits of all numbers of 64.
    """
    config: Any = jax.config
    if not config.jax_enable_x64:
        raise Unavailable(
            "JAX turns 64-bit numbers into 32-bit ones unless told otherwise; set the "
            "environment variable JAX_ENABLE_X64=1"
        )
    chosen = jax.devices()[0] if device is None else _device(device)
    known = {"bytes_limit", "bytes_in_use"} <= (chosen.memory_stats() or {}).keys()
    free = partial(_free_on_device, chosen) if known else None
    wait = partial(_synchronize, chosen)
    return Backend("jax", jax.numpy, chosen, dtype, to_host, wait, free_memory=free)


def to_host(a: Any) -> np.ndarray:
    """Return a JAX array as a NumPy array, which is read-only."""
    return np.asarray(a)


def _device(name: str) -> Any:
    kind, _, number = name.partition(":")
    try:
        devices = jax.devices(kind)
        return devices[int(number or 0)]
    except (RuntimeError, ValueError, IndexError):
        known = ", ".join(f"{d.platform}:{d.id}" for d in jax.devices())
        raise ValueError(f"jax here has the devices {known}, found {name!r}") from None


def _synchronize(device: Any) -> None:
    """Wait for what was sent to the device before: work is done in order."""
    jax.device_put(0.0, device).block_until_ready()


def _free_on_device(device: Any) -> int:
    """Bytes that JAX may still take on the device; a CPU and some allocators do not count them."""
    stats = device.memory_stats()
    return int(stats["bytes_limit"] - stats["bytes_in_use"])
