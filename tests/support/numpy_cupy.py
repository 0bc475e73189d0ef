"""A stand-in for cupy in NumPy, so that control flow can be tested without a GPU.

Like cupy, it refuses to convert a device array to a host array implicitly: only ``asnumpy`` does. New memory
is full of rubbish. Work queued on a stream is done as late as CUDA allows, when somebody waits for it; on the
null stream it is done at once. So code that forgets to wait finds rubbish, and code that frees memory which a
copy has yet to fill is reported in `hazards`.
"""

import bisect
import ctypes
import sys
import threading
import types
import weakref

import numpy as np

from zarrstore.buffer import _staging

COUNT = 2  # devices
RUBBISH = 0xA5

copies = []  # "to device", "to host": synchronous copies of pageable memory
sent = []  # (bytes, device) of each copy from pinned memory
pinned = []  # sizes of allocations of pinned memory
hazards = []
_lock = threading.RLock()
_here = threading.local()
_blocks = {}  # address: weak reference to the array that begins there, for all live memory
_addresses = []


class CUDARuntimeError(RuntimeError):
    """An error on a device."""


# -- memory ---------------------------------------------------------------------------------------


def _alive(array):
    """Record that memory exists."""
    address = array.ctypes.data
    with _lock:
        _blocks[address] = weakref.ref(array)
        bisect.insort(_addresses, address)
    return array


def _owner(address, size):
    """Return the array that owns the memory at an address; None if it has been freed."""
    with _lock:
        place = bisect.bisect_right(_addresses, address) - 1
        while place >= 0 and (owner := _blocks[_addresses[place]]()) is None:
            place -= 1  # something was there, and has been freed
        if place < 0:
            return None
    return owner if address + size <= owner.ctypes.data + owner.nbytes else None


class Pinned(np.ndarray):
    """Memory that the system never moves, with the buffer protocol, as the allocator returns it."""

    @property
    def ptr(self):
        return self.ctypes.data


def alloc_pinned_memory(size):
    pinned.append(size)
    return _alive(np.full(size, RUBBISH, np.uint8).view(Pinned))


# -- devices, streams and events ------------------------------------------------------------------


def _device():
    return getattr(_here, "device", 0)


class Device:
    def __init__(self, device=None):
        self.id = _device() if device is None else device

    def __enter__(self):
        self._before = [*getattr(self, "_before", []), _device()]
        _here.device = self.id
        return self

    def __exit__(self, *args):
        _here.device = self._before.pop()

    def synchronize(self):
        for stream in list(_streams.values()):
            stream.synchronize()


class Stream:
    def __init__(self, null=False, non_blocking=False, ptds=False, *, ptr=None):
        self.device = None if null or ptds else _device()
        self.at_once = not non_blocking
        self.ptr = ptr if ptr is not None else 0 if null else 2 if ptds else id(self)
        self.queue = []
        self.done = 0
        _streams[self.ptr] = self

    def launch(self, work):
        """Queue work; the null stream does it at once."""
        with _lock:
            self.queue.append(work)
            if self.at_once:
                self.run(len(self.queue))

    def run(self, count):
        """Do the first ``count`` pieces of work ever queued, unless they are done."""
        with _lock:
            while self.done < count:
                self.done += 1  # first, since work may wait for this very stream
                self.queue[self.done - 1]()
                self.queue[self.done - 1] = None

    def synchronize(self):
        self.run(len(self.queue))

    def wait_event(self, event):
        self.launch(event.synchronize)

    def __enter__(self):
        if self.device not in (None, _device()):
            raise CUDARuntimeError("cudaErrorInvalidResourceHandle: a stream of another device")
        _here.streams = [*getattr(_here, "streams", []), self]
        return self

    def __exit__(self, *args):
        _here.streams.pop()


_streams = weakref.WeakValueDictionary()
Stream.null = Stream(null=True)
Stream.ptds = Stream(ptds=True)


def get_current_stream():
    streams = getattr(_here, "streams", [])
    return streams[-1] if streams else Stream.null


class Event:
    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.device = _device()
        self.stream = None

    def record(self, stream=None):
        stream = stream or Stream.null
        if stream.device not in (None, self.device):
            raise CUDARuntimeError("cudaErrorInvalidResourceHandle: an event of another device")
        self.stream, self.count = stream, len(stream.queue)

    def synchronize(self):
        if self.stream is not None:
            self.stream.run(self.count)

    @property
    def done(self):
        return self.stream is None or self.stream.done >= self.count


def memcpyAsync(dst, src, size, kind, stream):
    assert kind == 1, "only copies to a device are asked for"
    target, source = _owner(dst, size), _owner(src, size)
    assert target is not None, "a copy to memory that isn't there"
    assert isinstance(source, Pinned), "a copy out of pageable memory"
    sent.append((size, _device()))
    whither = weakref.ref(target)
    del target

    def copy():
        if whither() is None:
            hazards.append("a copy into memory that was freed")
        else:
            ctypes.memmove(dst, src, size)

    _streams[stream].launch(copy)


# -- arrays ---------------------------------------------------------------------------------------


def _launch(work):
    get_current_stream().launch(work)


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array "on the device"."""

    def __init__(self, held):
        self.held = held
        self.__cuda_array_interface__ = held.__array_interface__
        self.device = Device()
        self.stream = get_current_stream()  # not in cupy: the stream whose order the memory follows

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Use `.get()` explicitly.")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        return _shown(getattr(ufunc, method)(*map(_held, inputs), **kwargs))

    def __array_function__(self, function, kinds, args, kwargs):
        return _shown(function(*map(_held, args), **{name: _held(value) for name, value in kwargs.items()}))

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.held.ctypes.data)

    dtype = property(lambda self: self.held.dtype)
    ndim = property(lambda self: self.held.ndim)
    shape = property(lambda self: self.held.shape)
    size = property(lambda self: self.held.size)
    nbytes = property(lambda self: self.held.nbytes)
    flags = property(lambda self: self.held.flags)

    def __len__(self):
        return len(self.held)

    def __getitem__(self, key):
        return ndarray(np.asarray(self.held[_held(key)]))

    def __setitem__(self, key, value):
        if isinstance(value, np.ndarray):
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        _launch(lambda: self.held.__setitem__(key, _held(value)))

    def copy(self):
        made = empty(self.shape, self.dtype)
        _launch(lambda: made.held.__setitem__(..., self.held))
        return made

    def fill(self, value):
        _launch(lambda: self.held.fill(value))

    def reshape(self, *shape, order="C"):
        return ndarray(self.held.reshape(*shape, order=order))

    def ravel(self, order="C"):
        return ndarray(self.held.ravel(order))

    def view(self, dtype):
        return ndarray(self.held.view(dtype))

    def astype(self, dtype, order="K", copy=True):
        get_current_stream().synchronize()
        return ndarray(self.held.astype(dtype, order=order, copy=copy))

    def transpose(self, *axes):
        return ndarray(self.held.transpose(*axes))


class OtherDeviceArray:
    """Another library's array on the device, known only through its interface."""

    def __init__(self, held):
        self.held = held
        self.__cuda_array_interface__ = held.__array_interface__


def _held(value):
    if isinstance(value, (list, tuple)):
        return type(value)(map(_held, value))
    return value.held if isinstance(value, ndarray) else value


def _shown(value):
    return ndarray(value) if isinstance(value, np.ndarray) else value


def empty(shape, dtype=float, order="C"):
    array = np.empty(shape, dtype, order=order)
    array.reshape(-1, order="A").view(np.uint8)[...] = RUBBISH
    return ndarray(_alive(array))


def asarray(value, dtype=None, order=None):
    if isinstance(value, ndarray):
        return value
    if isinstance(value, OtherDeviceArray):
        return ndarray(value.held)
    copies.append("to device")
    return ndarray(np.array(value, dtype))


def asnumpy(array):
    copies.append("to host")
    get_current_stream().synchronize()
    return array.held.copy()


def concatenate(arrays):
    arrays = list(arrays)
    made = empty(sum(map(len, arrays)), arrays[0].dtype)
    _launch(lambda: np.concatenate([array.held for array in arrays], out=made.held))
    return made


class _ForGood:
    """Like pytest's ``monkeypatch``, but never undone."""

    setattr = staticmethod(setattr)
    setitem = staticmethod(dict.__setitem__)


def install_for_good():
    """Let ``import cupy`` find this until the process ends."""
    return install(_ForGood)


def install_under_zarr(monkeypatch):
    """Do the same also for zarr-python, which looks for cupy when it is imported."""
    import zarr.core.buffer.gpu

    module = install(monkeypatch)
    monkeypatch.setattr(zarr.core.buffer.gpu, "cp", module)
    return module


def install(monkeypatch):
    """Let ``import cupy`` find this, and start with no pinned memory."""
    module = types.ModuleType("cupy")
    module.__version__ = "0"
    for value in (ndarray, empty, asarray, asnumpy, concatenate):
        setattr(module, value.__name__, value)
    module.asanyarray = asarray
    module.array = lambda value, dtype=None: ndarray(np.array(value, dtype))
    module.frombuffer = lambda value, dtype: asarray(np.frombuffer(value, dtype))
    runtime = types.SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceProperties=lambda device: {"name": b"a stand-in on NumPy"},
        runtimeGetVersion=lambda: 0,
        getDevice=_device,
        getDeviceCount=lambda: COUNT,
        memcpyAsync=memcpyAsync,
        memcpyHostToDevice=1,
    )
    module.cuda = types.SimpleNamespace(
        Device=Device,
        Event=Event,
        Stream=Stream,
        alloc_pinned_memory=alloc_pinned_memory,
        get_current_stream=get_current_stream,
        runtime=runtime,
    )
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(_staging, "_rings", {})
    for noted in (copies, sent, pinned, hazards):
        noted.clear()
    return module
