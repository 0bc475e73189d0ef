"""The verbs that a store defines: what each is asked for, and what it answers.

A blocking store defines them with ``def``, one that awaits with ``async def`` and the same parameters. In a
wrapper each is an ``async def`` that is handed the verbs below as its first argument.
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
    """Declares the verbs of a store."""

    if TYPE_CHECKING:
        # What `zarrstore.abc.store.Store` has and the defaults use.
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
            ``allocate(n)`` gives n bytes of host memory to fill. A store that holds the bytes already may
            return them instead, if nobody can change them by what is returned.

        Returns
        -------
        bytes-like or None
            None if there is positively no such value. Whatever keeps the store from knowing is an error.
        """
        raise self._undefined("read")

    @verb
    def _write(self, key: str, pieces: Pieces, condition: Precondition) -> str | Conflict | None:
        """Replace a value in one step: others see the old one or the new one, whole.

        Parameters
        ----------
        key : str
            Which value.
        pieces : iterable of bytes-like
            The value is their concatenation; `join_pieces` makes it. A verb that awaits may get an async
            iterable, which `gather_pieces` takes too. They are the caller's: what is kept is a copy.
        condition : Condition or str
            `ANY`, or what must hold: `ABSENT`, that there is no value yet, or the version that is still
            there. A store without the capability ``atomic_create`` is never asked for `ABSENT`, and one
            without ``versions`` never for a version.

        Returns
        -------
        str or None or CONFLICT
            The new version, if the store has versions; `CONFLICT` if the condition doesn't hold.
        """
        raise self._undefined("write")

    @verb
    def _remove(self, key: str, condition: Precondition) -> Conflict | None:
        """Remove a value; no error if there is none.

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
        """List what is below a directory.

        Parameters
        ----------
        prefix : str
            The directory: ``""`` for the root, else with a slash at its end.
        deep : bool
            Whether to yield all keys below; if not, what is one level below: keys, and directories that hold
            a key, by their full names with a slash at the end.
        sizes : bool
            Whether sizes are wanted. They are welcome at any time, if they cost nothing, and so are versions
            and times of writing: by those `sync_store` tells what is up to date.

        Yields
        ------
        list of Entry
            A page of any length, in any order.
        """
        raise self._undefined("scan")

    # -- verbs that a store may define, to be faster ------------------------------------------------

    @verb
    def _read_many(self, requests: Iterable[Request], allocate: Allocate) -> list[Data | None]:
        """Answer many reads, in the order asked. By default reads, at once where the store awaits."""
        return self._default(Verbs.read_many, requests, allocate)

    @verb
    def _read_versioned(
        self, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> tuple[Data, str | None] | None:
        """Read a value and its version. By default looks at the version before and after it reads."""
        return self._default(Verbs.read_versioned, key, request, allocate)

    @verb
    def _stat(self, key: str) -> Entry | None:
        """Look up a value's size and version; None if there is none. By default reads the value."""
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
        """Whether there is no key below a directory. By default scans until it meets one."""
        return self._default(Verbs.is_empty, prefix)

    @verb
    def _patch(self, key: str, parts: Iterable[tuple[int, Data]]) -> None:
        """Overwrite ``(start, bytes)`` parts of a value. By default reads and writes the whole."""
        self._default(Verbs.patch, key, parts)

    @verb
    def _remove_many(self, keys: Iterable[str]) -> None:
        """Remove many keys. By default removes each, at once where the store awaits."""
        return self._default(Verbs.remove_many, keys)

    @verb
    def _remove_below(self, prefix: str) -> None:
        """Remove everything below a directory, keys or not. By default scans and removes."""
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
        """Do what a verb does that the class doesn't define: driven, or a coroutine, as the others are."""
        if self._blocks:
            return drive(body(self._own_sync_verbs, *args))
        return cast("T", body(self._own_async_verbs, *args))

    def _default_listing(self, body: Callable[..., AsyncIterator[T]], prefix: str) -> Iterable[T]:
        if self._blocks:
            return drive_each(body(self._own_sync_verbs, prefix))
        return cast("Iterable[T]", body(self._own_async_verbs, prefix))
