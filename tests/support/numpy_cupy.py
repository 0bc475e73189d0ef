"""A stand-in for cupy on NumPy, so that control flow can be tested where there is no GPU.

Like cupy it refuses to turn a device's array into a host's by the way: only ``asnumpy`` does.
"""

import sys
import types

import numpy as np


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array "on the device"."""

    def __init__(self, held):
        self.held = held
        self.__cuda_array_interface__ = held.__array_interface__

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Use `.get()` explicitly.")

    def __getattr__(self, name):
        if name in ("dtype", "ndim", "shape", "size", "nbytes"):
            return getattr(self.held, name)
        raise AttributeError(name)

    def __len__(self):
        return len(self.held)

    def __getitem__(self, key):
        return ndarray(np.asarray(self.held[key]))

    def __setitem__(self, key, value):
        if isinstance(value, np.ndarray):
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        self.held[key] = value.held if isinstance(value, ndarray) else value

    def copy(self):
        return ndarray(self.held.copy())

    def fill(self, value):
        self.held.fill(value)

    def reshape(self, shape):
        return ndarray(self.held.reshape(shape))


class OtherDeviceArray:
    """An array of another library's on the device, known only by its interface."""

    def __init__(self, held):
        self.held = held
        self.__cuda_array_interface__ = held.__array_interface__


copies = []


def asarray(value, dtype=None):
    if isinstance(value, ndarray):
        return value
    if isinstance(value, OtherDeviceArray):
        return ndarray(value.held)
    copies.append("to device")
    return ndarray(np.array(value, dtype))


def asnumpy(array):
    copies.append("to host")
    return array.held.copy()


def install(monkeypatch):
    """Let ``import cupy`` find this."""
    module = types.ModuleType("cupy")
    module.ndarray = ndarray
    module.asarray = asarray
    module.asnumpy = asnumpy
    module.empty = lambda shape, dtype=float, order="C": ndarray(np.empty(shape, dtype, order=order))
    module.concatenate = lambda arrays: ndarray(np.concatenate([array.held for array in arrays]))
    monkeypatch.setitem(sys.modules, "cupy", module)
    copies.clear()
    return module
