"""The verbs that a store defines: what each receives and what it returns.

A blocking store defines them with ``def``, an awaiting one with ``async def`` and the same parameters. In a
wrapper each is an ``async def`` whose first argument is the verbs below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

from zarrstore._async.bindings import drive_each
from zarrstore._core.verbs import Entry, Verbs, drive, listing_verb, verb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from functools import cached_property

    from zarrstore._core.requests import ByteRequest
    from zarrstore._core.types import Allocate, Data, Pieces
    from zarrstore._core.verbs import Conflict, Precondition, Request

T = TypeVar("T")


class StoreVerbs:
    """Declares a store's verbs."""

    if TYPE_CHECKING:
        # Attributes of `zarrstore.abc.store.Store` that the defaults use.
        _blocks: bool

        @cached_property
        def _own_sync_verbs(self) -> Verbs: ...
        @cached_property
        def _own_async_verbs(self) -> Verbs: ...

    # -- verbs that a store defines ---------------------------------------------------------------

    @verb
    def _read(self, key: str, request: ByteRequest | None, allocate: Allocate) -> Data | None:
        """Read a value, or part of it.

        Parameters
        ----------
        key : str
            Which value.
        request : ByteRequest or None
            Which bytes: `cut` applies it to a whole value, `span` to a size. None is the whole value.
        allocate : callable
            ``allocate(n)`` returns n bytes of host memory to fill. A store that already has the bytes may
            return them instead, if nobody can change them through what is returned.

        Returns
        -------
        bytes-like or None
            None if the key certainly has no value. If the store can't determine that, it raises an error.
        """
        raise self._undefined("read")

    @verb
    def _write(self, key: str, pieces: Pieces, condition: Precondition) -> str | Conflict | None:
        """Replace a value atomically: others see the whole old value or the whole new one.

        Parameters
        ----------
        key : str
            Which value.
        pieces : iterable of bytes-like
            The value is their concatenation; `join_pieces` computes it. An awaiting verb may get an async
            iterable, which `gather_pieces` also accepts. The pieces belong to the caller: keep a copy.
        condition : Condition or str
            `ANY`, or what must hold: `ABSENT`, if there must be no value yet, or the version that must still
            be there. A store without the capability ``atomic_create`` never gets `ABSENT`, and one without
            ``versions`` never gets a version.

        Returns
        -------
        str or None or CONFLICT
            The new version, if the store has versions; `CONFLICT` if the condition doesn't hold.
        """
        raise self._undefined("write")

    @verb
    def _remove(self, key: str, condition: Precondition) -> Conflict | None:
        """Remove a value; not an error if there is none.

        Parameters
        ----------
        key : str
            Which value.
        condition : Condition or str
            `ANY`, or the version that must still be there.

        Returns
        -------
        None or CONFLICT
            `CONFLICT` if the condition doesn't hold.
        """
        raise self._undefined("remove")

    @listing_verb
    def _scan(self, prefix: str, deep: bool, sizes: bool) -> Iterable[list[Entry]]:
        """List the entries below a directory.

        Parameters
        ----------
        prefix : str
            The directory: ``""`` for the root, otherwise a path that ends with a slash.
        deep : bool
            If true, yield all keys below. If not, yield one level: keys, and directories that contain a key,
            by their full names with a slash at the end.
        sizes : bool
            Whether sizes are wanted. If they cost nothing they are always welcome, and so are versions and
            modification times: `sync_store` uses those to find out what is up to date.

        Yields
        ------
        list of Entry
            A page of any length, in any order.
        """
        raise self._undefined("scan")

    # -- verbs that a store may define, to be faster ------------------------------------------------

    @verb
    def _read_many(self, requests: Iterable[Request], allocate: Allocate) -> list[Data | None]:
        """Answer many reads, in order. By default calls `_read` for each; concurrently if it awaits."""
        return self._default(Verbs.read_many, requests, allocate)

    @verb
    def _read_versioned(
        self, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> tuple[Data, str | None] | None:
        """Read a value and its version. By default compares the version before and after the read."""
        return self._default(Verbs.read_versioned, key, request, allocate)

    @verb
    def _stat(self, key: str) -> Entry | None:
        """Return a value's size and version; None if there is none. By default reads the value."""
        return self._default(Verbs.stat, key)

    @listing_verb
    def _names(self, prefix: str) -> Iterable[list[str]]:
        """Yield pages of names one level below a directory, once each. By default scans."""
        return self._default_listing(Verbs.names, prefix)

    @listing_verb
    def _keys(self, prefix: str) -> Iterable[list[str]]:
        """Yield pages of all keys below a directory. By default scans."""
        return self._default_listing(Verbs.keys, prefix)

    @verb
    def _is_empty(self, prefix: str) -> bool:
        """Whether there is no key below a directory. By default scans until it finds one."""
        return self._default(Verbs.is_empty, prefix)

    @verb
    def _patch(self, key: str, parts: Iterable[tuple[int, Data]]) -> None:
        """Overwrite ``(start, bytes)`` parts of a value. By default reads and writes the whole value."""
        self._default(Verbs.patch, key, parts)

    @verb
    def _remove_many(self, keys: Iterable[str]) -> None:
        """Remove many keys. By default removes each, concurrently if the store awaits."""
        return self._default(Verbs.remove_many, keys)

    @verb
    def _remove_below(self, prefix: str) -> None:
        """Remove everything below a directory, whether a key or not. By default scans and removes."""
        return self._default(Verbs.remove_below, prefix)

    @verb
    def _copy(self, source: str, target: str) -> None:
        """Copy a value within the store. By default reads and writes it."""
        return self._default(Verbs.copy, source, target)

    def _undefined(self, name: str) -> NotImplementedError:
        return NotImplementedError(
            f"{type(self).__name__} must define the verb _{name}; zarrstore.abc.store.Store says what it does"
        )

    def _default(self, body: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run the default of a verb: drive it if the store blocks, otherwise return the coroutine."""
        if self._blocks:
            return drive(body(self._own_sync_verbs, *args))
        return cast("T", body(self._own_async_verbs, *args))

    def _default_listing(self, body: Callable[..., AsyncIterator[T]], prefix: str) -> Iterable[T]:
        if self._blocks:
            return drive_each(body(self._own_sync_verbs, prefix))
        return cast("Iterable[T]", body(self._own_async_verbs, prefix))
