"""The base class of every store: its identity, its bound verbs, and the public methods built on them."""

from __future__ import annotations

import copy
import os
from functools import cached_property
from inspect import getattr_static
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from zarrstore._async.bindings import NativeAsyncVerbs, ReadOnlyVerbs, SyncVerbs, ThreadedVerbs, bind
from zarrstore._core import composites, zarr_compat
from zarrstore._core.keys import check_key
from zarrstore._core.listing import Flattened
from zarrstore._core.requests import (
    ByteRequest,
    ByteRequestLike,
    OffsetByteRequest,
    RangeByteRequest,
    SuffixByteRequest,
    as_request,
    cut,
    span,
)
from zarrstore._core.types import Allocate, AnyPieces, Data, Pieces, Prototype, Value
from zarrstore._core.verbs import (
    ABSENT,
    ANY,
    CONFLICT,
    Capabilities,
    Condition,
    Conflict,
    Entry,
    Precondition,
    Verbs,
    gather_pieces,
    host_memory,
    join_pieces,
    refused_write,
)
from zarrstore._faces.authoring import check_names, check_store_class
from zarrstore._faces.overrides import VERBS_OF_METHOD, WHOLE_METHODS, OverrideAware, WholeOverrides, own_face
from zarrstore._faces.sync import SyncFace
from zarrstore._faces.to_device import to_device
from zarrstore._faces.values import parse_parts, wrap, wrap_each
from zarrstore.abc._protocols import (
    ByteGetter,
    ByteSetter,
    SupportsDeleteSync,
    SupportsGetSync,
    SupportsSetSync,
    SupportsSyncStore,
    SyncByteGetter,
    SyncByteSetter,
    set_or_delete,
)
from zarrstore.errors import ByteRequestError, KeyNotFoundError

if TYPE_CHECKING:
    import builtins
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, MutableMapping, Sequence
    from types import TracebackType
    from typing import NoReturn, Self

    from zarr.abc.store import Store as TheirStore

    from zarrstore._core.types import ServerCopies
    from zarrstore._hierarchy.tree import Tree
    from zarrstore.buffer import Buffer

    # Lets type checkers accept our stores where zarr-python's are expected. At runtime the property
    # `__class__` does this, and nothing of zarr-python is imported.
    class _Base(SyncFace, TheirStore):
        pass
else:
    _Base = SyncFace


__all__ = [
    "ABSENT",
    "ANY",
    "CONFLICT",
    "Allocate",
    "AnyPieces",
    "ByteGetter",
    "ByteRequest",
    "ByteRequestLike",
    "ByteSetter",
    "Capabilities",
    "Condition",
    "Conflict",
    "Data",
    "Entry",
    "OffsetByteRequest",
    "Pieces",
    "Precondition",
    "Prototype",
    "RangeByteRequest",
    "Store",
    "SuffixByteRequest",
    "SupportsDeleteSync",
    "SupportsGetSync",
    "SupportsSetSync",
    "SupportsSyncStore",
    "SyncByteGetter",
    "SyncByteSetter",
    "Value",
    "Verbs",
    "cut",
    "gather_pieces",
    "host_memory",
    "join_pieces",
    "set_or_delete",
    "span",
]

# How many values the HTML view of a store in a notebook covers at most.
_SHOWN = 10_000
_NO_MAPPING = (
    "a store is no mapping: use store.mapping(), whose keys and values are text and bytes, or get_sync(key)"
)

# A long list of reads is checked and wrapped in buffers in parts of this length; other tasks run in between.
_STRIDE = 512

# Attributes that each process and each copy makes for itself; they are neither pickled nor shared.
_RUNTIME = ("_sync_verbs", "_async_verbs", "_own_sync_verbs", "_own_async_verbs", "_budget")


class Store(_Base):
    """Base class of stores: a mapping from keys to bytes, with byte ranges and listings.

    A subclass defines the property ``_location`` and four verbs: `_read`, `_write`, `_remove` and `_scan`.
    It defines all of them with ``def`` if it blocks, or all with ``async def``. Blocking verbs may run in
    several threads at once. Ten more verbs have defaults built on these four; defining one of them makes the
    store faster. Every public method is inherited from here, in an awaited form and in a blocking form whose
    name ends in ``_sync``.

    Parameters
    ----------
    read_only : bool
        Whether to refuse every call that changes the store.

    Raises
    ------
    TypeError
        When a subclass is defined: if a verb is missing, takes other arguments, or awaits while others block.
        Declare a base class that isn't a store itself with ``class Base(Store, abstract=True)``.
    """

    _capabilities: ClassVar[Capabilities] = Capabilities()
    _overridden: ClassVar[frozenset[str]] = frozenset()
    # Whether the verbs block, so that they can be driven in the calling thread. Set from their definitions.
    _blocks: bool = True
    # Whether the calling thread can call the verbs directly. Wrappers' verbs also take the verbs below.
    _direct: ClassVar[bool] = False
    # The class that binds blocking verbs to an event loop.
    _loop_binding: ClassVar[type[ThreadedVerbs]] = ThreadedVerbs

    if TYPE_CHECKING:  # so that a subclass may define these as attributes or as properties

        @property
        def supports_writes(self) -> bool:
            """Whether the store can be written to."""

        @property
        def supports_deletes(self) -> bool:
            """Whether the store can remove values."""

        @property
        def supports_partial_writes(self) -> bool:  # type: ignore[override]  # zarr-python's stores never can
            """Whether the store can overwrite part of a value."""

        @property
        def supports_listing(self) -> bool:
            """Whether the store can be listed."""

        @property
        def _lists_in_order(self) -> bool:
            """Whether ``_scan`` lists all keys below a directory in the order of their bytes."""

        @property
        def _takes_pieces(self) -> bool:
            """Whether ``_write`` passes a value's pieces on as they arrive, rather than collecting them."""

        @property
        def _clears_anyway(self) -> bool:
            """Whether `clear` works without deletes, as when an empty archive replaces an archive."""
    else:
        supports_writes = True
        supports_deletes = True
        supports_partial_writes = False
        supports_listing = True
        _lists_in_order = _takes_pieces = _clears_anyway = False

    _read_only: bool
    _is_open: bool

    def __init__(self, *, read_only: bool = False) -> None:
        self._is_open = False
        self._read_only = read_only

    def __init_subclass__(cls, *, abstract: bool = False) -> None:
        super().__init_subclass__()
        check_names(cls)
        if not abstract:
            cls._check_class()
        cls._overridden = frozenset(
            name for name in _PUBLIC if not hasattr(getattr(cls, name), "_is_own_face")
        )

    @classmethod
    def _check_class(cls) -> None:
        """Check what a subclass defines, and note whether its verbs block."""
        blocks = check_store_class(cls)
        if blocks is None:
            return
        if cls._location is Store._location:
            raise TypeError(f"{cls.__name__} lacks the property _location: where its data is, as text.")
        if not isinstance(getattr_static(cls, "_blocks"), property):
            cls._blocks = cls._direct = blocks

    # -- identity ---------------------------------------------------------------------------------

    @property
    def __class__(self) -> type[Self]:
        # isinstance() reads this, also when zarr-python calls it: see `zarr_compat`.
        zarr_compat.register_store(Store)
        return type(self)

    @__class__.setter
    def __class__(self, value: type[Self]) -> None:
        object.__dict__["__class__"].__set__(self, value)

    @property
    def _location(self) -> str:
        """Where the data is, as text; the source of equality, hash, text forms and dask's token."""
        raise NotImplementedError(f"{type(self).__name__} must define the property _location")

    def _place(self, prefix: str) -> str:
        """Return where a directory's data is, as text; the same for every store that reaches it.

        If one place is inside another, its text begins with the other's.
        """
        scheme, mark, path = self._location.partition("file://")
        if mark and not scheme:
            return f"file://{os.path.realpath(os.path.join(path, prefix)).rstrip('/')}/"
        return f"{self._location.rstrip('/')}/{prefix}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Store):
            return NotImplemented
        return (
            type(self) is type(other)
            and self.read_only == other.read_only
            and self._location == other._location
        )

    def __hash__(self) -> int:
        return hash((type(self).__qualname__, self._location, self.read_only))

    def __str__(self) -> str:
        return self._location

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __dask_tokenize__(self) -> tuple[object, ...]:
        return f"{type(self).__module__}.{type(self).__qualname__}", self._location, self.read_only

    def __getstate__(self) -> dict[str, object]:
        state = {name: value for name, value in self.__dict__.items() if name not in _RUNTIME}
        state["_is_open"] = False
        return state

    @property
    def capabilities(self) -> Capabilities:
        """What this store guarantees."""
        return self._capabilities

    # -- bound verbs ------------------------------------------------------------------------------
    # The own verbs are those that the class defines. The others go through the public methods that a subclass
    # overrides, so that nothing bypasses an override. The public methods themselves use the own verbs.

    @cached_property
    def _own_sync_verbs(self) -> Verbs:
        """This store's own verbs, for the calling thread."""
        return bind(SyncVerbs, self) if self._blocks else bind(NativeAsyncVerbs, self)

    @cached_property
    def _own_async_verbs(self) -> Verbs:
        """This store's own verbs, for an event loop."""
        return bind(self._loop_binding if self._blocks else NativeAsyncVerbs, self)

    def _route(self, own: Verbs, *, sync: bool) -> Verbs:
        """Route verbs through the public methods that a subclass overrides."""
        return OverrideAware(self, own, sync=sync) if self._overridden & VERBS_OF_METHOD.keys() else own

    @cached_property
    def _sync_verbs(self) -> Verbs:
        return self._route(self._own_sync_verbs, sync=True)

    @cached_property
    def _async_verbs(self) -> Verbs:
        return self._route(self._own_async_verbs, sync=False)

    def _verbs_for_wrapper(self, *, sync: bool) -> Verbs:
        """Return the verbs a wrapper uses: they respect overrides and `read_only`."""
        own = self._own_sync_verbs if sync else self._own_async_verbs
        whole = self._overridden & WHOLE_METHODS
        verbs = WholeOverrides(self, own, sync=sync) if whole else self._route(own, sync=sync)
        return ReadOnlyVerbs(self, verbs) if self._refuses_changes else verbs

    # -- opening and closing ----------------------------------------------------------------------

    @classmethod
    async def open(cls, *args: Any, **kwargs: Any) -> Self:
        """Create a store and open it.

        Parameters
        ----------
        *args, **kwargs
            Passed to the constructor.
        """
        store = cls(*args, **kwargs)
        await store._open()
        return store

    async def _open(self) -> None:
        if self._is_open:
            raise ValueError("store is already open")
        self._is_open = True

    async def _ensure_open(self) -> None:
        if not self._is_open:
            await self._open()

    def close(self) -> None:
        """Release the store's resources. The next call opens it again."""
        self._is_open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- read-only --------------------------------------------------------------------------------

    @property
    def read_only(self) -> bool:
        """Whether the store refuses every call that changes it."""
        return self._read_only

    def with_read_only(self, read_only: bool = False) -> Self:
        """Return an unopened store on the same data, read-only or writable.

        The new store is a copy as `copy.copy` makes it, through ``__getstate__`` and ``__setstate__`` if the
        class defines them.

        Parameters
        ----------
        read_only : bool
            Whether the new store is read-only.
        """
        other = copy.copy(self)
        other._read_only = read_only
        return other

    def _share(self) -> Self:
        """Copy the store with everything it keeps; the ``__copy__`` of classes whose pickles keep less."""
        other = object.__new__(type(self))
        other.__dict__.update(Store.__getstate__(self))
        return other

    @property
    def _refuses_changes(self) -> bool:
        """Whether `_check_writable` raises."""
        return self.read_only

    @property
    def supports_consolidated_metadata(self) -> bool:
        """Whether zarr-python may consolidate a hierarchy's metadata here."""
        return True

    @property
    def _supports_sync_io(self) -> bool:
        # zarr-python's fused pipeline reads this. Where verbs await, its own concurrency is faster.
        return self._blocks

    # -- views ------------------------------------------------------------------------------------

    def sub(self, path: str) -> Store:
        """Return what is below a directory, as a store whose keys are relative to it.

        Parameters
        ----------
        path : str
            The directory; it need not exist yet.
        """
        from zarrstore.storage._wrappers.views import SubStore

        return SubStore(self, path)

    def mapping(self) -> MutableMapping[str, bytes]:
        """Return this store as a mapping from keys to bytes, for code without an event loop."""
        from zarrstore.storage._wrappers.mapping import StoreMapping

        return StoreMapping(self)

    def tree(self, prefix: str = "") -> Tree:
        """Return the groups and arrays below a directory, with the number and size of the values in each.

        ``print(store.tree())`` draws it. This lists all keys below the directory and reads all metadata
        documents.

        Parameters
        ----------
        prefix : str
            The directory; the root by default.
        """
        return self._hierarchy(prefix, None)

    def _hierarchy(self, prefix: str, limit: int | None) -> Tree:
        from zarrstore._hierarchy.tree import read_tree

        return self._run("", read_tree, self._listed(prefix), prefix.strip("/") or str(self), limit)

    def _repr_html_(self) -> str:
        # A notebook displays this, so it must be short and must not raise.
        try:
            return self._hierarchy("", _SHOWN)._repr_html_()
        except Exception as error:
            from html import escape

            return f"<pre>{escape(repr(self))}\n{escape(str(error))}</pre>"

    def __contains__(self, key: object) -> NoReturn:
        raise TypeError(_NO_MAPPING)

    def __getitem__(self, key: object) -> NoReturn:
        raise TypeError(_NO_MAPPING)

    def _copies_from(self, source: Store) -> ServerCopies | None:
        """Return an object that copies values from another store on the server, or None if there is none."""
        return None

    # -- reading ----------------------------------------------------------------------------------

    async def get(
        self, key: str, prototype: Prototype | None = None, byte_range: ByteRequestLike | None = None
    ) -> Buffer | None:
        """Read a value, or part of it.

        Parameters
        ----------
        key : str
            Which value.
        prototype : BufferPrototype, optional
            The buffer classes of the result; host memory by default.
        byte_range : ByteRequest, optional
            Which bytes; all by default. A range or offset that starts at or past the end is an error. An
            end past the end is cut. A suffix longer than the value gives the whole value.

        Returns
        -------
        Buffer or None
            None if the key certainly has no value. If that can't be determined, the call raises.

        Raises
        ------
        InvalidKeyError, ByteRequestError
            If the key or the request is invalid.
        """
        check_key(key, self)
        request = None if byte_range is None else as_request(byte_range, self, key)
        self._is_open = True
        try:
            value = await to_device(self._own_async_verbs, prototype).read(key, request, host_memory)
        except ByteRequestError as error:
            raise error.about(self, key) from None
        return None if value is None else wrap(value, prototype)

    async def get_partial_values(  # type: ignore[override]  # lists are invariant
        self, prototype: Prototype | None, key_ranges: Iterable[tuple[str, ByteRequestLike | None]]
    ) -> builtins.list[Buffer | None]:
        """Read many values, or parts of values.

        Parameters
        ----------
        prototype : BufferPrototype or None
            The buffer classes of the results.
        key_ranges : iterable of (str, ByteRequest or None)
            Keys, and which bytes of each; a key may occur more than once.

        Returns
        -------
        list of Buffer or None
            In the order of the requests; None for a key without a value.
        """
        verbs = to_device(self._async_verbs, prototype)
        requests: builtins.list[tuple[str, ByteRequest | None]] = []
        asked = iter(key_ranges)
        while part := self._parse_requests(islice(asked, _STRIDE)):
            requests += part
            if len(part) == _STRIDE:
                await verbs.sleep(0)
        try:
            values = await composites.read_values(verbs, requests)
        except ByteRequestError as error:
            raise error.about(self, None) from None
        buffers: builtins.list[Buffer | None] = []
        while True:
            buffers += wrap_each(values[len(buffers) : len(buffers) + _STRIDE], prototype)
            if len(buffers) == len(values):
                return buffers
            await verbs.sleep(0)

    async def get_ranges(
        self,
        key: str,
        byte_ranges: Sequence[ByteRequestLike | None],
        *,
        prototype: Prototype | None = None,
        max_concurrency: int = 10,
        max_gap_bytes: int = 1 << 20,
        max_coalesced_bytes: int = 16 << 20,
    ) -> AsyncIterator[Sequence[tuple[int, Buffer | None]]]:
        """Read many ranges of one value, coalescing ranges that are close together.

        Parameters
        ----------
        key : str
            Which value.
        byte_ranges : sequence of ByteRequest or None
            Which bytes; None is the whole value.
        prototype : BufferPrototype, optional
            The buffer classes of the results.
        max_concurrency : int
            How many requests may be sent to a server at once. Other stores read everything in one batch.
        max_gap_bytes, max_coalesced_bytes : int
            Ranges at most this many bytes apart are read as one, up to this size in bytes.

        Yields
        ------
        list of (int, Buffer)
            Batches of positions in the input and the bytes read for them, as they arrive.

        Raises
        ------
        ExceptionGroup
            Contains a `KeyNotFoundError` if the key has no value, or the error of a range.
        """
        check_key(key, self)
        requests = [None if r is None else as_request(r, self, key) for r in byte_ranges]
        self._is_open = True
        async for batch in composites.read_ranges(
            to_device(self._async_verbs, prototype),
            key,
            requests,
            host_memory,
            max_concurrency=max_concurrency,
            max_gap_bytes=max_gap_bytes,
            max_coalesced_bytes=max_coalesced_bytes,
        ):
            yield [(index, wrap(value, prototype)) for index, value in batch]

    async def get_versioned(
        self, key: str, prototype: Prototype | None = None, byte_range: ByteRequestLike | None = None
    ) -> tuple[Buffer, str] | None:
        """Read a value together with its version.

        Parameters
        ----------
        key : str
            Which value.
        prototype : BufferPrototype, optional
            The buffer classes of the result.
        byte_range : ByteRequest, optional
            Which bytes.

        Returns
        -------
        (Buffer, str) or None
            The version is opaque; pass it to `set_if_unchanged` or `delete_if_unchanged`.

        Raises
        ------
        UnsupportedOperationError
            If the store has no versions (see `capabilities`).
        """
        return await self._do_get_versioned(
            to_device(self._async_verbs, prototype), key, prototype, byte_range
        )

    async def exists(self, key: str) -> bool:
        """Whether a key has a value; False for directories.

        Parameters
        ----------
        key : str
            Which value.
        """
        return await self._do_stat(self._own_async_verbs, key) is not None

    async def getsize(self, key: str) -> int:
        """Return the size of a value in bytes.

        Parameters
        ----------
        key : str
            Which value.

        Raises
        ------
        KeyNotFoundError
            If the key has no value (a `FileNotFoundError`).
        """
        return self._size(await self._do_stat(self._own_async_verbs, key), key)

    async def getsize_prefix(self, prefix: str) -> int:
        """Return the sum of the sizes, in bytes, of all values below a directory.

        Parameters
        ----------
        prefix : str
            The directory: ``""`` is the root; ``"a/b"`` and ``"a/b/"`` are the same.
        """
        return await self._do_getsize_prefix(self._async_verbs, prefix)

    # -- writing ----------------------------------------------------------------------------------

    async def set(self, key: str, value: Value, *, byte_range: tuple[int, int] | None = None) -> None:
        """Replace a value atomically: even after a crash, readers see the whole old or the whole new value.

        Parameters
        ----------
        key : str
            Which value.
        value : Buffer or bytes-like
            What to store; the store keeps no reference to it.
        byte_range : (int, int), optional
            Overwrite these bytes of an existing value instead, if the store supports that.
        """
        pieces = self._ready(key, value)
        if byte_range is not None:
            await self._do_patch(self._own_async_verbs, [parse_parts(key, byte_range, pieces, self)])
            return
        if await self._own_async_verbs.write(key, pieces, ANY) is CONFLICT:
            raise refused_write(key, self)

    async def set_if_not_exists(self, key: str, value: Value) -> None:
        """Store a value unless the key has one.

        Parameters
        ----------
        key : str
            Which value.
        value : Buffer or bytes-like
            What to store.
        """
        await self._do_create(self._own_async_verbs, key, value)

    async def create(self, key: str, value: Value) -> bool:
        """Store a value unless the key has one; return whether this call stored it.

        If `capabilities` has ``atomic_create``, exactly one of several callers gets True.

        Parameters
        ----------
        key : str
            Which value.
        value : Buffer or bytes-like
            What to store.
        """
        return await self._do_create(self._async_verbs, key, value)

    async def set_if_unchanged(self, key: str, value: Value, version: str) -> str | None:
        """Replace a value only if it still has the given version.

        Parameters
        ----------
        key : str
            Which value.
        value : Buffer or bytes-like
            What to store.
        version : str
            What `get_versioned` returned.

        Returns
        -------
        str or None
            The new version; None if another write came first.
        """
        return await self._do_set_if_unchanged(self._async_verbs, key, value, version)

    async def set_partial_values(self, key_start_values: Iterable[tuple[str, int, Value]]) -> None:
        """Overwrite parts of existing values. This is not atomic: a crash may leave some parts written.

        Parameters
        ----------
        key_start_values : iterable of (str, int, bytes-like)
            The key, the first byte, and the bytes to write there. Parts of one key must not overlap. A part
            may extend past the end of the value but must not begin past it.

        Raises
        ------
        UnsupportedOperationError
            If the store doesn't support partial writes (a `NotImplementedError`).
        KeyNotFoundError
            If a key has no value.
        ByteRequestError
            If parts overlap or leave a gap; nothing is written to that key then.
        """
        await self._do_set_partial_values(self._async_verbs, key_start_values)

    async def delete(self, key: str) -> None:
        """Remove a value; not an error if there is none.

        Parameters
        ----------
        key : str
            Which value.

        Raises
        ------
        UnsupportedOperationError
            If there is a value and the store can't delete (a `NotImplementedError`).
        """
        self._check_writable(key)
        check_key(key, self)
        self._is_open = True
        if not self.supports_deletes:
            await self._do_refuse_delete(self._own_async_verbs, key)
            return
        await self._own_async_verbs.remove(key, ANY)

    async def delete_if_unchanged(self, key: str, version: str) -> bool:
        """Remove a value only if it still has the given version; return whether it was removed.

        Parameters
        ----------
        key : str
            Which value.
        version : str
            What `get_versioned` returned.
        """
        return await self._do_delete_if_unchanged(self._async_verbs, key, version)

    async def delete_dir(self, prefix: str) -> None:
        """Remove everything below a directory; not an error if there is nothing.

        Parameters
        ----------
        prefix : str
            The directory: ``"a/b"`` and ``"a/b/"`` are the same; ``""`` is the root, as in `clear`.

        Raises
        ------
        UnsupportedOperationError
            If there is anything and the store can't delete (a `NotImplementedError`).
        """
        if "delete" in self._overridden:
            await self._do_delete_dir(self._async_verbs, prefix, one_by_one=True)
        else:
            await self._do_delete_dir(self._own_async_verbs, prefix)

    async def clear(self) -> None:
        """Remove all keys and values; nothing outside the root is touched."""
        await self._do_delete_dir(self._async_verbs, "")

    # -- listing ----------------------------------------------------------------------------------

    async def is_empty(self, prefix: str = "") -> bool:
        """Whether there is no key below a directory.

        Parameters
        ----------
        prefix : str
            The directory; the root by default.
        """
        return await self._do_is_empty(self._async_verbs, prefix)

    def list(self) -> AsyncIterator[str]:
        """Yield all keys, in no particular order."""
        return Flattened(lambda: self._own_async_verbs.keys(self._listed("")))

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield all keys below a directory, in no particular order. Keys are relative to the root.

        Parameters
        ----------
        prefix : str
            The directory: ``"t"`` finds ``t/0`` but not ``temp/0``.
        """
        return Flattened(lambda: self._own_async_verbs.keys(self._listed(prefix)))

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the name of each key and directory one level below a directory, once each.

        Parameters
        ----------
        prefix : str
            The directory.
        """
        return Flattened(lambda: self._own_async_verbs.names(self._listed(prefix)))

    # -- names that zarr-python calls --------------------------------------------------------------

    async def _get_many(
        self, requests: Iterable[tuple[str, Prototype, ByteRequestLike | None]]
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        for key, prototype, byte_range in requests:
            yield key, await self.get(key, prototype, byte_range)

    async def _set_many(self, values: Iterable[tuple[str, Value]]) -> None:
        import asyncio

        await asyncio.gather(*(self.set(key, value) for key, value in values))

    async def _get_bytes(
        self, key: str, *, prototype: Prototype | None = None, byte_range: ByteRequestLike | None = None
    ) -> bytes:
        value = await self.get(key, prototype, byte_range)
        if value is None:
            raise KeyNotFoundError("there is no such value.", store=self, key=key)
        return bytes(value.to_bytes())

    async def _get_json(
        self, key: str, *, prototype: Prototype | None = None, byte_range: ByteRequestLike | None = None
    ) -> object:
        import json

        return json.loads(await self._get_bytes(key, prototype=prototype, byte_range=byte_range))


# Methods whose overrides in a subclass are noticed: the other face then calls the override.
_PUBLIC = [
    name + twin
    for name in (
        "clear",
        "create",
        "delete",
        "delete_dir",
        "delete_if_unchanged",
        "exists",
        "get",
        "get_partial_values",
        "get_ranges",
        "get_versioned",
        "getsize",
        "getsize_prefix",
        "is_empty",
        "list",
        "list_dir",
        "list_prefix",
        "set",
        "set_if_not_exists",
        "set_if_unchanged",
        "set_partial_values",
    )
    for twin in ("", "_sync")
]
for _name in _PUBLIC:
    own_face(getattr(Store, _name))
