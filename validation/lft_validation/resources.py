"""What memory this machine has free, and keeping of what was freed."""

from __future__ import annotations

# M_MMAP_THRESHOLD at its largest, and M_TRIM_THRESHOLD, in bytes (malloc.h).
GLIBC_KEEPS = ((-3, 2**25), (-1, 2**31 - 1))


def free_memory() -> int:
    """Return the bytes of memory that can be had without swapping."""
    import psutil

    return int(psutil.virtual_memory().available)


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory for later arrays; return whether it will.

    By default glibc gives large arrays back to the system when they are freed, and every page of
    the next one is then asked for, and cleared, anew: a quarter of the time of a convolutional
    network's gradients and Hessian-vector products. Where there is no glibc nothing happens.
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all(mallopt(option, value) == 1 for option, value in GLIBC_KEEPS)
