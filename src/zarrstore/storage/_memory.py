"""Stores values in this process's memory."""

from __future__ import annotations

import os
import threading
import uuid
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast
from weakref import WeakValueDictionary

import numpy as np

from zarrstore._async.nowait import MAX_COPIED, MAX_INLINE_CALLS, NonBlockingVerbs, NowaitVerbs
from zarrstore._async.threads import to_thread
from zarrstore._core.forks import in_forked_child
from zarrstore._core.key_tree import KeyTree, once_each, pages
from zarrstore._core.keys import check_key, is_key
from zarrstore._core.recycling import BYTE
from zarrstore._core.requests import span
from zarrstore._core.verbs import ABSENT, ANY, CONFLICT, Capabilities, Entry, check_parts, host_memory
from zarrstore._core.zarr_compat import is_buffer
from zarrstore._faces.overrides import own_face
from zarrstore._faces.to_device import HOST_BUFFERS
from zarrstore._faces.values import as_pieces, wrap
from zarrstore.buffer import cpu
from zarrstore.errors import DetachedError, KeyNotFoundError
from zarrstore.storage._nowait import NowaitStore

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, MutableMapping
    from typing import Self

    import numpy.typing as npt

    from zarrstore._core.requests import ByteRequest, ByteRequestLike
    from zarrstore._core.types import Allocate, BufferLike, Data, Pieces, Prototype, Value
    from zarrstore._core.verbs import Conflict, Precondition
    from zarrstore.buffer import Buffer

    Array: TypeAlias = npt.NDArray[np.uint8]
    # What our own mapping contains, and a caller's.
    Kept: TypeAlias = bytes | Array | BufferLike

# This process's data by token, so that unpickling a store here gives the same data again.
_alive: WeakValueDictionary[str, _Data] = WeakValueDictionary()
# Data with a name, which, unlike a token, isn't unique across processes.
_named: WeakValueDictionary[str, _Data] = WeakValueDictionary()
_naming = threading.Lock()


@in_forked_child
def _after_fork() -> None:
    global _naming
    _naming = threading.Lock()
    for data in list(_alive.values()):
        data.after_fork()


# Adding this many keys to a tree of keys takes less than half a millisecond.
_AT_ONCE = 1000
# Largest size in bytes of values kept as `bytes`, which takes half as long as making an array. For large
# arrays NumPy requests huge pages, which take less time to allocate.
_SMALL = 1 << 16


class _Data:
    """What stores on the same memory share: a mapping from keys to values, a tree of its keys, a lock.

    Our own mapping contains what nobody can write to: small values as `bytes`, large ones as arrays (on a
    GPU, as buffers). A caller's mapping contains buffers. Only our own mapping has a tree, since a caller's
    may change without our knowledge. Listings bring the tree up to date, since most of what is written is
    never listed.
    """

    def __init__(
        self, mapping: MutableMapping[str, Kept] | None, token: str, *, detached: bool = False
    ) -> None:
        self.own = mapping is None
        self.values: MutableMapping[str, Kept] = {} if mapping is None else mapping
        self.fresh: list[str] = []  # keys that the tree may lack
        self.lock = threading.RLock()
        self.token = token
        self.detached = detached
        self._tree = KeyTree()
        # The versions handed out so far, with their values. They count up, so none is used twice.
        self._versions: dict[str, tuple[Kept, str]] = {}
        self._clock = 0
        _alive[token] = self

    def after_fork(self) -> None:
        """In a forked child: replace a lock that another thread held, as threads aren't forked."""
        if self.lock.acquire(blocking=False):
            self.lock.release()
            return
        self.lock = threading.RLock()
        if self.own:  # a change that was in progress in that thread may be half in the tree
            self._tree = KeyTree()
            self.fresh = list(self.values)

    def put(self, key: str, value: Kept) -> None:
        """Store a value."""
        with self.lock:
            values = self.values
            if key not in values:
                if self.own:
                    self.fresh.append(key)
            elif self._versions:
                self._versions.pop(key, None)
            values[key] = value

    def drop(self, key: str) -> None:
        """Remove a value; the caller holds the lock."""
        self._versions.pop(key, None)
        if self.values.pop(key, None) is None or not self.own:
            return
        self._tree.discard(key)
        if len(self.fresh) > 2 * len(self.values) + _AT_ONCE:  # the same keys come and go
            self._graft()

    def drop_below(self, directory: str) -> Iterator[None]:
        """Remove all values below a directory, one page at a time."""
        for page in self.below(directory):
            with self.lock:
                values, versions, discard = self.values, self._versions, self._tree.discard
                for key in page:
                    values.pop(key, None)
                    versions.pop(key, None)
                    discard(key)
            if len(page) != 1:  # the first key below a directory is a page of its own
                yield

    def clear(self) -> Iterator[None]:
        """Remove everything from our own mapping at once, then free it in parts."""
        with self.lock:
            old: list[MutableMapping[str, Any]] = [self.values, self._versions, *self._tree.parts()]
            self.values, self.fresh, self._versions, self._tree = {}, [], {}, KeyTree()
        return _freed(old)

    def version(self, key: str) -> str:
        """Return the version of an existing value; the caller holds the lock."""
        value = self.values[key]
        known = self._versions.get(key)
        # A caller may have put another value into the mapping. We hold the value, so its identity is unique.
        if known is None or known[0] is not value:
            self._clock += 1
            known = self._versions[key] = (value, str(self._clock))
        return known[1]

    def _graft(self) -> None:
        """Add some of the keys that the tree may lack."""
        with self.lock:
            for key in self.fresh[-_AT_ONCE:]:
                if key in self.values:
                    self._tree.add(key)
            del self.fresh[-_AT_ONCE:]

    # Listings of many keys yield empty pages while they work towards the first name. So no step takes long,
    # and a caller on an event loop can let other tasks run.

    def below(self, prefix: str) -> Iterator[list[str]]:
        """Yield pages of all keys below a directory."""
        if self.own:
            yield from self._grown()
            yield from self._tree.below(prefix)
            return
        for page in pages(list(self.values)):
            yield []
            yield [key for key in page if key.startswith(prefix) and is_key(key)]

    def within(self, prefix: str) -> Iterator[list[str]]:
        """Yield pages of the names one level below a directory; the names of directories end in ``/``."""
        names = yield from self._within(prefix)
        yield from pages(names)

    def names(self, prefix: str) -> Iterator[list[str]]:
        """Yield pages of the names one level below a directory, once each."""
        names = yield from self._within(prefix)
        yield from once_each(names)

    def _grown(self) -> Iterator[list[str]]:
        """Bring the tree of our own mapping up to date."""
        while self.fresh:
            self._graft()
            yield []

    def _within(self, prefix: str) -> Generator[list[str], None, list[str]]:
        if self.own:
            yield from self._grown()
            return self._tree.within(prefix)
        names: dict[str, None] = {}
        for page in self.below(prefix):
            for key in page:
                name, inner, _ = key[len(prefix) :].partition("/")
                names[name + inner] = None
            yield []
        return list(names)


def _freed(mappings: Iterable[MutableMapping[str, Any]]) -> Iterator[None]:
    """Empty mappings in parts."""
    count = 0
    for mapping in mappings:
        while mapping:
            mapping.popitem()
            count += 1
            if not count % _AT_ONCE:
                yield


class MemoryStore(NowaitStore):
    """A store in this process's memory.

    Reads return read-only views of the stored memory, without a copy. Nothing that a caller does to its own
    buffer after a write reaches the store.

    Parameters
    ----------
    store_dict : mutable mapping of str to Buffer, optional
        Initial data, which the store uses as its storage; others may change it meanwhile.
    read_only : bool
        Whether to refuse every call that changes the store.

    Notes
    -----
    Two stores are equal if they share one mapping. Pickling includes the data. Unpickled in the same process,
    the store uses the same memory again. In another process it is a copy that refuses writes, since nobody
    would see them.
    """

    supports_partial_writes: bool = True

    _capabilities: ClassVar[Capabilities] = Capabilities(atomic_create=True, versions=True, shared=False)
    _loop_binding: ClassVar[type[NowaitVerbs]] = NonBlockingVerbs
    _inline_calls: ClassVar[int] = 2 * MAX_INLINE_CALLS  # a call in memory takes a quarter of a read's time
    _scheme: ClassVar[str] = "memory"
    # Whether `get` and `set` may bypass the verbs; false if a subclass redefines those.
    _gets_plainly: ClassVar[bool] = True
    _sets_plainly: ClassVar[bool] = True

    def __init_subclass__(cls, *, abstract: bool = False) -> None:
        super().__init_subclass__(abstract=abstract)
        cls._gets_plainly = cls._read is MemoryStore._read
        cls._sets_plainly = cls._write is MemoryStore._write

    def __init__(
        self, store_dict: MutableMapping[str, BufferLike] | None = None, *, read_only: bool = False
    ) -> None:
        super().__init__(read_only=read_only)
        if store_dict is None:
            self._data = _Data(None, uuid.uuid4().hex)
        else:
            # The data object holds the mapping, so no other mapping can have this id meanwhile.
            token = f"{os.getpid()}-{id(store_dict):x}"
            values = cast("MutableMapping[str, Kept]", store_dict)
            self._data = _alive.get(token) or _Data(values, token)

    @property
    def _store_dict(self) -> MutableMapping[str, Kept]:
        return self._data.values

    @property
    def _location(self) -> str:
        return f"{self._scheme}://{self._data.token}"

    def __copy__(self) -> Self:
        return self._share()

    def __reduce__(self) -> tuple[object, ...]:
        state = self.__getstate__()
        state.pop("_data")
        data = self._data
        with data.lock:
            snapshot = {key: _array(value).tobytes() for key, value in list(data.values.items())}
        return _revive, (type(self), data.token, snapshot, state)

    @property
    def _refuses_changes(self) -> bool:
        return self._read_only or self._data.detached

    def _check_writable(self, key: str | None = None) -> None:
        if self._read_only:
            super()._check_writable(key)
        if self._data.detached:
            raise DetachedError(
                "this memory store is a copy of another process's: what is written here would be lost.",
                store=self,
                key=key,
                hint="Use a store that processes share (LocalStore, ZipStore, ...), or threads.",
            )

    # How bytes are kept; stores in other kinds of memory override these.

    def _array_of(self, piece: Data) -> Array:
        """View a piece as an array."""
        return piece if type(piece) is np.ndarray else np.frombuffer(piece, BYTE)

    def _new(self, size: int) -> Array:
        """Allocate memory for a value."""
        return np.empty(size, BYTE)

    def _joined(self, arrays: Iterable[Array]) -> Array:
        """Concatenate arrays into new memory of our own."""
        return np.concatenate([self._new(0), *arrays])

    def _kept(self, array: Array) -> Kept:
        """Return an array of our own in the form that is kept, which nobody else can write to."""
        array.setflags(write=False)
        return array if self._data.own else cpu.Buffer(array)

    def _keep(self, pieces: Pieces) -> Kept:
        """Return pieces in the form that is kept: a copy, except of memory that can never change."""
        if type(pieces) is not tuple or len(pieces) != 1:
            return self._kept(self._joined([self._array_of(piece) for piece in pieces]))
        (piece,) = pieces
        if len(piece) <= _SMALL and self._data.own and not self._on_device:
            return _bytes_of(piece)
        array = self._array_of(piece)
        # A view, since the caller may still change the shape or type of its own array.
        return self._kept(array.view() if _is_frozen(array) else array.copy())

    # -- verbs ------------------------------------------------------------------------------------

    def _read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Array | None:
        value = self._data.values.get(key)
        if value is None:
            return None
        # A new array object, since the caller may change its shape or type.
        array = np.frombuffer(value, BYTE) if type(value) is bytes else _array(value).view()
        if not self._data.own:
            array.setflags(write=False)
        if request is None:
            return array
        start, stop = span(request, array.size)
        return array[start:stop]

    _read_nowait = _read

    def _read_parts(
        self, key: str, requests: list[ByteRequest | None], allocate: Allocate
    ) -> list[Data | None]:
        value = self._read(key, None, allocate)
        if value is None or len(requests) == 1 == requests.count(None):
            return [value] * len(requests)
        spans = [span(request, value.size) for request in requests]
        return [value[start:stop] for start, stop in spans]

    def _read_versioned(
        self, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> tuple[Array, str] | None:
        with self._data.lock:
            value = self._read(key, request, allocate)
            return None if value is None else (value, self._data.version(key))

    def _stat(self, key: str) -> Entry | None:
        with self._data.lock:
            buffer = self._data.values.get(key)
            return None if buffer is None else Entry(key, len(buffer), self._data.version(key))

    def _write(self, key: str, pieces: Pieces, condition: Precondition) -> str | Conflict | None:
        kept = self._keep(pieces)
        data = self._data
        with data.lock:
            if condition is not ANY:
                now = data.version(key) if key in data.values else ABSENT
                if now != condition:
                    return CONFLICT
            data.put(key, kept)
            return None if condition is ANY else data.version(key)

    def _patch(self, key: str, parts: Iterable[tuple[int, Data]]) -> None:
        parts = list(parts)
        # Copying may take long, so it holds the lock only if others overtook it twice.
        if not (self._try_to_patch(key, parts) or self._try_to_patch(key, parts)):
            with self._data.lock:
                self._try_to_patch(key, parts)

    def _try_to_patch(self, key: str, parts: list[tuple[int, Data]]) -> bool:
        """Replace a value with a copy that has parts overwritten; False if it was replaced meanwhile."""
        data = self._data
        with data.lock:
            before, old = data.values.get(key), self._read(key, None, host_memory)
        if old is None:
            raise KeyNotFoundError("there is no value to write into.", store=self, key=key)
        check_parts(key, old.size, parts)
        array = self._new(max(old.size, *(start + len(part) for start, part in parts)))
        array[: old.size] = old
        for start, part in parts:
            array[start : start + len(part)] = self._array_of(part)
        kept = self._kept(array)
        with data.lock:
            if data.values.get(key) is not before:
                return False
            data.put(key, kept)
            return True

    def _remove(self, key: str, condition: Precondition = ANY) -> Conflict | None:
        data = self._data
        with data.lock:
            if condition is not ANY:
                now = data.version(key) if key in data.values else ABSENT
                if now != condition:
                    return CONFLICT
            data.drop(key)
            return None

    def _remove_below(self, prefix: str) -> None:
        steps = self._remove_below_in_steps(prefix)
        if prefix or not self._data.own:
            for _ in steps:
                pass

    def _remove_below_in_steps(self, prefix: str) -> Iterator[None]:
        data = self._data
        return data.drop_below(prefix) if prefix or not data.own else data.clear()

    def _scan(self, prefix: str, deep: bool, sizes: bool) -> Iterator[list[Entry]]:
        for page in self._data.below(prefix) if deep else self._data.within(prefix):
            keys = page if deep else [prefix + name for name in page]
            if sizes or not deep:
                entries = [(key, None if key[-1] == "/" else self._size_of(key)) for key in keys]
                # Keys that were removed meanwhile are left out.
                yield [Entry(key, size) for key, size in entries if size is not None or key[-1] == "/"]
            else:
                yield [tuple.__new__(Entry, (key, None, None, None)) for key in keys]

    def _size_of(self, key: str) -> int | None:
        buffer = self._data.values.get(key)
        return None if buffer is None else len(buffer)

    def _can_list_nowait(self) -> bool:
        return True

    def _names(self, prefix: str) -> Iterator[list[str]]:
        return self._data.names(prefix)

    def _keys(self, prefix: str) -> Iterator[list[str]]:
        return self._data.below(prefix)

    def _is_empty(self, prefix: str) -> bool:
        return not any(self._keys(prefix))

    def _copy(self, source: str, target: str) -> None:
        value = self._data.values.get(source)
        if value is None:
            raise KeyNotFoundError("there is no value to copy.", store=self, key=source)
        if self._data.own:  # two keys may share a value that nobody can write to
            self._data.put(target, value)
        else:
            self._write(target, (_array(value),), ANY)

    # -- what the listing adds to the face --------------------------------------------------------

    @own_face
    async def get(
        self, key: str, prototype: Prototype | None = None, byte_range: ByteRequestLike | None = None
    ) -> Buffer | None:
        """Read a value, or part of it; see `Store.get`."""
        # A shorter path for whole values. A key in our own mapping needs no check, as its write was checked.
        data = self._data
        value = None
        if self._gets_plainly and byte_range is None and data.own and type(key) is str:
            value = data.values.get(key)
        if prototype is not None and prototype.buffer not in HOST_BUFFERS:
            value = None
        if type(value) is bytes:
            array = np.frombuffer(value, BYTE)
        elif type(value) is np.ndarray:
            array = value.view()
        else:
            return await super().get(key, prototype, byte_range)
        self._is_open = True
        if self._budget.is_spent():
            await self._budget.refill()
        return wrap(array, prototype)

    @own_face
    async def set(self, key: str, value: Value, byte_range: tuple[int, int] | None = None) -> None:
        """Replace a value, or with ``byte_range`` overwrite those bytes of an existing one.

        Parameters
        ----------
        key : str
            Which value.
        value : Buffer or bytes-like
            What to store; it is copied.
        byte_range : (int, int), optional
            First byte, and the byte after the last; as many bytes as ``value`` has. The range may extend past
            the end of the existing value but must not begin past it.

        Raises
        ------
        KeyNotFoundError
            If a range is given and the key has no value.
        """
        data = self._data
        if self._read_only or data.detached:
            self._check_writable(key)
        if byte_range is not None or not self._sets_plainly:
            await super().set(key, value, byte_range=byte_range)
            return
        # A shorter path for whole values.
        check_key(key, self)
        pieces = as_pieces(value, self, on_device=self._on_device)
        size = len(pieces[0])
        if size > MAX_COPIED and not self._on_device:
            kept = await to_thread(self._keep, pieces)
        else:
            kept = self._keep(pieces)
        data.put(key, kept)
        self._is_open = True
        if self._budget.is_spent(size):
            await self._budget.refill()


def named_memory(name: str) -> MemoryStore:
    """Return a store on the memory with a name; the memory is created if there is none."""
    with _naming:
        store = find_memory(name)
        if store is None:
            store = MemoryStore()
            _named[name] = store._data
        return store


def find_memory(name: str, kind: type[MemoryStore] = MemoryStore) -> MemoryStore | None:
    """Return a store on the memory with a name or a token; None if there is none."""
    data = _named.get(name) or _alive.get(name)
    if data is None:
        return None
    store = kind()
    store._data = data
    return store


def _bytes_of(piece: Data) -> bytes:
    """Return a piece as `bytes`; if it covers the whole of a `bytes` object, that object."""
    if type(piece) is not np.ndarray:
        piece = memoryview(piece)
    owner = _owner(piece)
    if type(owner) is bytes and len(owner) == len(piece) and piece.strides == (1,):
        return owner
    return piece.tobytes()


def _is_frozen(array: Array) -> bool:
    """Whether an array covers most of a `bytes` object, as what a codec returns usually does.

    Being read-only isn't enough, since there may be a writable view of the same memory. A small part of a
    large object doesn't count, since it would keep the whole object in memory.
    """
    owner = _owner(array)
    return type(owner) is bytes and len(owner) <= 2 * len(array)


def _owner(piece: object) -> object:
    """Return the object that an array or a memory view is based on."""
    owner = getattr(piece, "base", piece)
    return owner.obj if type(owner) is memoryview else owner


def _array(value: Kept) -> Array:
    """Return a stored value as an array; a caller's mapping may contain anything bytes-like."""
    if type(value) is np.ndarray:
        return value
    return (
        value.as_numpy_array() if is_buffer(value) else np.frombuffer(as_pieces(value, MemoryStore)[0], BYTE)
    )


def _revive(
    cls: type[MemoryStore], token: str, snapshot: dict[str, bytes], state: dict[str, object]
) -> MemoryStore:
    """Unpickle: the same data in the process that has it, otherwise a copy that refuses writes."""
    store = object.__new__(cls)
    store.__dict__.update(state)
    data = _alive.get(token)
    if data is None:
        data = _Data(None, token, detached=True)
        store._data = data
        for key, value in snapshot.items():
            data.put(key, store._keep((value,)))
    store._data = data
    return store
