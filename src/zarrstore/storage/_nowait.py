"""What our blocking stores add to `Store`: on an event loop, calls that won't block are made in place.

Such a store answers `_read_nowait` and similar methods at once, or returns `WOULD_BLOCK`. `get` and `set`
call these directly, which saves a coroutine per call; `zarrstore._async.nowait` does so for everything else.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, cast

from zarrstore._async.bindings import bind, read_each
from zarrstore._async.nowait import MAX_INLINE_CALLS, Budget, NowaitVerbs
from zarrstore._async.threads import to_thread, to_thread_batched
from zarrstore._core.keys import check_key
from zarrstore._core.requests import as_request
from zarrstore._core.verbs import ANY, CONFLICT, WOULD_BLOCK, host_memory, refused_write
from zarrstore._faces.overrides import own_face
from zarrstore._faces.to_device import HOST_BUFFERS
from zarrstore._faces.values import as_pieces, wrap
from zarrstore.abc.store import Store
from zarrstore.errors import ByteRequestError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator

    from zarrstore._async.bindings import BlockingStore
    from zarrstore._async.threads import Continuation
    from zarrstore._core.requests import ByteRequest, ByteRequestLike
    from zarrstore._core.types import Allocate, Data, Pieces, Prototype, Value
    from zarrstore._core.verbs import Conflict, Entry, Precondition, Request, WouldBlock
    from zarrstore.buffer import Buffer


# Methods called in place of a verb. If a subclass redefines the verb, these would bypass it.
_SHORTCUTS = {
    "_read": ("_read_nowait", "_read_many_nowait", "_read_parts"),
    "_stat": ("_stat_nowait",),
    "_write": ("_write_nowait", "_write_in_steps", "_write_many"),
    "_scan": ("_can_list_nowait",),
    "_remove_below": ("_remove_below_in_steps",),
}


class NowaitStore(Store, abstract=True):
    """Base of stores whose verbs block, but often don't have to."""

    supports_partial_writes: bool = False

    _loop_binding: ClassVar[type[NowaitVerbs]] = NowaitVerbs
    # Half the small calls that one task may make in place, less one: see `Budget`.
    _inline_calls: ClassVar[int] = MAX_INLINE_CALLS // 2 - 1

    def __init_subclass__(cls, *, abstract: bool = False) -> None:
        super().__init_subclass__(abstract=abstract)
        for verb, shortcuts in _SHORTCUTS.items():
            for shortcut in shortcuts:
                if _depth(cls, verb) < _depth(cls, shortcut):
                    setattr(cls, shortcut, getattr(NowaitStore, shortcut))

    @cached_property
    def _own_async_verbs(self) -> NowaitVerbs:
        return bind(self._loop_binding, self)

    @cached_property
    def _budget(self) -> Budget:
        return Budget(self._inline_calls)

    # Each returns what the verb of that name would, if that doesn't block, and otherwise `WOULD_BLOCK`.

    def _read_nowait(
        self, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> Data | WouldBlock | None:
        return WOULD_BLOCK

    def _read_many_nowait(
        self, requests: Iterable[Request], allocate: Allocate
    ) -> Generator[Data | WouldBlock | None]:
        for key, request in requests:
            yield self._read_nowait(key, request, allocate)

    def _read_parts(
        self, key: str, requests: list[ByteRequest | None], allocate: Allocate
    ) -> list[Data | None]:
        """Read parts of one value, from the same version if the store can ensure that; blocks."""
        return read_each(cast("BlockingStore", self), [(key, request) for request in requests], allocate)

    def _stat_nowait(self, key: str) -> Entry | WouldBlock | None:
        return WOULD_BLOCK

    def _write_nowait(
        self, key: str, pieces: Pieces, condition: Precondition
    ) -> str | Conflict | WouldBlock | None:
        return WOULD_BLOCK

    def _can_list_nowait(self) -> bool:
        """Whether ``_scan``, ``_names`` and ``_keys`` won't block now."""
        return False

    def _remove_below_in_steps(self, prefix: str) -> Iterator[None]:
        """Remove everything below a directory, in steps no longer than a page of a listing."""
        self._remove_below(prefix)  # type: ignore[call-arg, arg-type]
        yield

    def _write_in_steps(
        self, key: str, pieces: Pieces, condition: Precondition
    ) -> str | Conflict | Continuation | None:
        """Write in a thread of the pool; a `Continuation` lets queued calls go first."""
        answer = self._write(key, pieces, condition)  # type: ignore[call-arg, arg-type]
        return cast("str | Conflict | None", answer)

    def _read_in_thread(
        self, key: str, request: ByteRequest | None, allocate: Allocate
    ) -> Awaitable[Data | None]:
        read: Callable[..., Data | None] = self._read  # type: ignore[assignment]
        return to_thread(read, key, request, allocate, abandon_on_cancel=True)

    async def _write_in_thread(
        self, key: str, pieces: Pieces, condition: Precondition
    ) -> str | Conflict | None:
        """Write in a thread, together with other tasks' writes if the store can write many at once."""
        answer: object
        if self._write_many is not None:
            answer = await to_thread_batched(self._write_many, key, pieces, condition)
        else:
            answer = await to_thread(self._write_in_steps, key, pieces, condition)
        return cast("str | Conflict | None", answer)

    # Makes the write for each ``(key, pieces, condition)``; returns the results, including errors.
    _write_many: ClassVar[Callable[..., list[object]] | None] = None

    # Faster forms of `Store.get` and `Store.set`, which must pass the same tests.

    @own_face
    async def get(
        self, key: str, prototype: Prototype | None = None, byte_range: ByteRequestLike | None = None
    ) -> Buffer | None:
        """Read a value, or part of it; see `Store.get`."""
        if prototype is not None and prototype.buffer not in HOST_BUFFERS:
            return await super().get(key, prototype, byte_range)
        check_key(key, self)
        request = None if byte_range is None else as_request(byte_range, self, key)
        self._is_open = True
        try:
            value = self._read_nowait(key, request, host_memory)
            if value is WOULD_BLOCK:
                value = await self._read_in_thread(key, request, host_memory)
            elif self._budget.is_spent(0 if value is None else len(value)):
                await self._budget.refill()
        except ByteRequestError as error:
            raise error.about(self, key) from None
        return None if value is None else wrap(value, prototype)

    @own_face
    async def set(self, key: str, value: Value, *, byte_range: tuple[int, int] | None = None) -> None:
        """Replace a value; see `Store.set`."""
        if byte_range is not None:
            await super().set(key, value, byte_range=byte_range)
            return
        # The same as `_ready`, without calls into two more modules.
        if self._read_only:
            self._check_writable(key)
        check_key(key, self)
        pieces = as_pieces(value, self, on_device=self._on_device)
        self._is_open = True
        answer = self._write_nowait(key, pieces, ANY)
        if answer is WOULD_BLOCK:
            answer = await self._write_in_thread(key, pieces, ANY)
        elif self._budget.is_spent(len(pieces[0]), 2):
            await self._budget.refill()
        if answer is CONFLICT:
            raise refused_write(key, self)


def _depth(cls: type, name: str) -> int:
    """Return the position in a class's MRO of the first class that defines a name."""
    return next((depth for depth, base in enumerate(cls.__mro__) if name in vars(base)), len(cls.__mro__))
