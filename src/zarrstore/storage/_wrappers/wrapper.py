"""A store that wraps another one: it changes some verbs and passes the rest through."""

from __future__ import annotations

from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from zarrstore._async.bindings import bind_wrapper
from zarrstore._core.verbs import defines
from zarrstore._faces.authoring import check_wrapper_class
from zarrstore.abc.store import Store

if TYPE_CHECKING:
    from typing import Self

    from zarr.abc.store import Store as TheirStore

    from zarrstore._core.verbs import Capabilities, Verbs
    from zarrstore.errors import UnsupportedOperationError

# The class of the wrapped store: for type checkers, ours derive from zarr-python's.
T_Store = TypeVar("T_Store", bound="TheirStore")


class WrapperStore(Store, Generic[T_Store]):
    """A store that passes everything on to another one.

    A subclass changes a verb by overriding it as a coroutine whose first argument is the verbs below::

        class Shouting(WrapperStore):
            async def _read(self, below, key, request, allocate):
                print("reading", key)
                return await below.read(key, request, allocate)

    One definition works for blocking and awaiting stores, and for both the awaited and the blocking methods;
    no method bypasses it. A wrapper that changes keys or the lengths of values must also override ``_scan``
    and ``_stat``. Overriding public methods works too, but is slower.

    Parameters
    ----------
    store : Store
        The store to wrap: one of ours, or one of zarr-python's. Subclasses access it as ``_store``. Assigning
        another store to ``_store`` wraps that one from then on.
    """

    _is_open = False  # for subclasses whose constructors set only `_store`
    _below: Store

    def __init__(self, store: T_Store) -> None:
        self._store = store

    @property
    def _store(self) -> T_Store:
        return cast("T_Store", self.__dict__["_store"])

    @_store.setter
    def _store(self, store: T_Store) -> None:
        below = as_store(store)
        self.__dict__.update(_store=store, _below=below)
        # Bound verbs are changed in place, since wrappers around this one keep references to them.
        for name, sync in (("_own_sync_verbs", True), ("_own_async_verbs", False)):
            if name in self.__dict__:
                self.__dict__[name].below = below._verbs_for_wrapper(sync=sync)

    @classmethod
    async def open(cls, store_cls: type[T_Store], *args: Any, **kwargs: Any) -> Self:
        """Create a store, open it and wrap it.

        Parameters
        ----------
        store_cls : type
            The class of the store to wrap.
        *args, **kwargs
            Passed to its constructor.
        """
        store = cls(store_cls(*args, **kwargs))
        await store._open()
        return store

    @property
    def _location(self) -> str:
        return f"{type(self).__name__}-{self._below._location}"

    def _place(self, prefix: str) -> str:
        return self._below._place(prefix)

    def __str__(self) -> str:
        return f"wrapping-{self._below}"

    def __eq__(self, other: object) -> bool:
        # The wrapped store's own comparison may be stricter than that of locations.
        equal = super().__eq__(other)
        if equal is True and isinstance(other, WrapperStore):
            return self._below == other._below
        return equal

    def __hash__(self) -> int:
        return super().__hash__()

    def __dask_tokenize__(self) -> tuple[object, ...]:
        return (*super().__dask_tokenize__(), self._below.__dask_tokenize__())

    @property
    def _blocks(self) -> bool:  # type: ignore[override]
        return self._below._blocks

    @property
    def _supports_sync_io(self) -> bool:
        return self._below._supports_sync_io

    @classmethod
    def _check_class(cls) -> None:
        check_wrapper_class(cls)

    @cached_property
    def _own_sync_verbs(self) -> Verbs:
        return bind_wrapper(self, self._below._verbs_for_wrapper(sync=True))

    @cached_property
    def _own_async_verbs(self) -> Verbs:
        return bind_wrapper(self, self._below._verbs_for_wrapper(sync=False))

    async def _open(self) -> None:
        await super()._open()
        await self._below._ensure_open()

    def close(self) -> None:
        """Close the wrapped store."""
        self._below.close()
        super().close()

    @property
    def read_only(self) -> bool:
        """Whether the wrapped store refuses every change."""
        return self._below.read_only

    def with_read_only(self, read_only: bool = False) -> Self:
        """Return this wrapper around a read-only or writable form of the wrapped store.

        Parameters
        ----------
        read_only : bool
            Whether the new store refuses every change.
        """
        return self._around(cast("T_Store", self._store.with_read_only(read_only)))

    def _around(self, store: T_Store) -> Self:
        """Return a wrapper like this one around another store."""
        other = copy(self)
        other._store = store
        return other

    @property
    def capabilities(self) -> Capabilities:
        """What the wrapped store guarantees."""
        return self._below.capabilities

    @property
    def _lists_in_order(self) -> bool:
        return not defines(type(self), "scan") and self._below._lists_in_order

    @property
    def _takes_pieces(self) -> bool:
        return not defines(type(self), "write") and self._below._takes_pieces

    @property
    def supports_writes(self) -> bool:
        """Whether the wrapped store can be written to."""
        return self._below.supports_writes

    @property
    def supports_deletes(self) -> bool:
        """Whether the wrapped store can remove values."""
        return self._below.supports_deletes

    @property
    def _clears_anyway(self) -> bool:
        return self._below._clears_anyway and not self._below.supports_deletes

    def _refused_delete(self, key: str) -> UnsupportedOperationError:
        below = self._below
        return super()._refused_delete(key) if below.supports_deletes else below._refused_delete(key)

    @property
    def supports_partial_writes(self) -> bool:  # type: ignore[override]
        """Whether the wrapped store can overwrite part of a value."""
        return self._below.supports_partial_writes

    @property
    def supports_listing(self) -> bool:
        """Whether the wrapped store can be listed."""
        return self._below.supports_listing

    @property
    def supports_consolidated_metadata(self) -> bool:
        """Whether zarr-python may consolidate a hierarchy's metadata in the wrapped store."""
        return self._below.supports_consolidated_metadata


def as_store(store: object) -> Store:
    """Return a store of ours unchanged, and one of zarr-python's in an adapter.

    Raises
    ------
    TypeError
        If it is neither.
    """
    from zarrstore._core.zarr_compat import is_zarr_store

    if isinstance(store, Store):
        return store
    if is_zarr_store(store):
        from zarrstore.storage._wrappers.adapter import ZarrStoreAdapter

        return ZarrStoreAdapter(store)
    raise TypeError(
        f"a store is needed, not {type(store).__name__}; make_store() turns paths and URLs into one"
    )
