"""NumPy arrays that let nobody look at their values: a GPU would have to be waited for."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np


class HostTouched(AssertionError):
    """A number was brought to the host, which on a GPU waits for all work before it."""


def _refuse(self: Any, *_: Any, **__: Any) -> NoReturn:
    raise HostTouched("a value on the device was looked at")


class DeviceArray(np.ndarray):
    """Results are such arrays again, also those without axes, as in CuPy."""

    __bool__ = __int__ = __float__ = __complex__ = __index__ = _refuse
    item = tolist = tobytes = __iter__ = __contains__ = _refuse

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return np.asarray(array).view(DeviceArray)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        result = super().__array_function__(function, types, args, kwargs)
        return result.view(DeviceArray) if type(result) is np.ndarray else result

    def __getitem__(self, key: Any) -> Any:
        return np.asarray(self.view(np.ndarray)[key]).view(DeviceArray)


def to_device(a: Any) -> DeviceArray:
    return np.array(a).view(DeviceArray)


def to_host(a: Any) -> np.ndarray:
    return np.asarray(a).view(np.ndarray)
