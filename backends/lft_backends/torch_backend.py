"""PyTorch as an array library: its arrays, none of its automatic differentiation."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch

from lft_backends.backend import Backend


def make(dtype: str, device: str | None) -> Backend:
    """Return the backend on ``cpu``, ``cuda`` or ``cuda:NUMBER``.

    Raises:
        ValueError: if there is no such device.
    """
    import array_api_compat.torch as xp

    chosen = torch.device("cpu") if device is None else _device(device)
    free = partial(_free_on_gpu, chosen) if chosen.type == "cuda" else None
    wait = partial(_synchronize, chosen)
    return Backend("torch", xp, chosen, dtype, to_host, wait, free_memory=free)


def to_host(a: Any) -> np.ndarray:
    """Return a tensor as a NumPy array; on the CPU both share their memory."""
    host: np.ndarray = a.detach().cpu().numpy()
    return host


def _device(name: str) -> torch.device:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    known = ["cpu", *(["cuda"] if count else []), *(f"cuda:{i}" for i in range(count))]
    if name not in known:
        raise ValueError(f"PyTorch here has the devices {', '.join(known)}, found {name!r}")
    return torch.device(name)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _free_on_gpu(device: torch.device) -> int:
    """Bytes that the GPU has free, and those that PyTorch keeps for its next tensors."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0] + kept)
