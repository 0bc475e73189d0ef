"""A store and a path within it: the location of an array or a group."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias, cast

from zarrstore._core.keys import check_prefix
from zarrstore._core.modes import AccessModeLiteral, check_mode
from zarrstore._core.zarr_compat import path_class
from zarrstore.errors import KeyConflictError, ReadOnlyError, UnsupportedOperationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    # Type checkers see ours as a subclass of zarr-python's, which is not imported at runtime.
    from zarr.storage import StorePath as _Base

    from zarrstore._core.requests import ByteRequestLike
    from zarrstore._core.types import Prototype, Value
    from zarrstore.abc.store import Store
    from zarrstore.buffer import Buffer
else:
    _Base = object

JSON: TypeAlias = "str | int | float | Mapping[str, JSON] | Sequence[JSON] | None"


class StorePath(_Base):
    """A path within a store; zarr-python accepts one as its own.

    Parameters
    ----------
    store : Store
        The store.
    path : str
        Path within the store; ``""`` is the root. Leading, trailing and doubled slashes are removed.

    Raises
    ------
    InvalidKeyError
        If the path has a segment ``.`` or ``..``.
    """

    store: Store
    path: str

    def __init__(self, store: Store, path: str = "") -> None:
        self.store = store
        self.path = _normalise(path, store)

    @property
    def __class__(self) -> type[Self]:
        # isinstance() reads this, also when zarr-python calls it: see `zarr_compat`.
        return path_class(type(self))

    @__class__.setter
    def __class__(self, value: type[Self]) -> None:
        object.__dict__["__class__"].__set__(self, value)

    def __reduce__(self) -> tuple[object, ...]:
        # The inherited method requires that __class__ be the type.
        return object.__new__, (type(self),), self.__dict__

    def __dask_tokenize__(self) -> tuple[object, ...]:
        return type(self).__qualname__, self.store.__dask_tokenize__(), self.path

    @property
    def read_only(self) -> bool:
        """Whether the store is read-only."""
        return self.store.read_only

    @classmethod
    async def open(  # type: ignore[override]  # our own store class, not zarr-python's
        cls, store: Store, path: str, mode: AccessModeLiteral | None = None
    ) -> Self:
        """Open a path in a mode.

        Parameters
        ----------
        store : Store
            The store.
        path : str
            Path within the store.
        mode : str, optional
            ``"r"`` makes the result read-only. ``"r+"``, ``"a"`` and None change nothing. ``"w-"`` requires
            that there are no keys below the path. ``"w"`` **removes all keys below the path**.

        Raises
        ------
        ValueError
            If the mode is invalid.
        FileExistsError
            If the mode is ``"w-"`` and there are keys below the path.
        ReadOnlyError
            If the mode writes and the store is read-only.
        """
        check_mode(mode)
        await store._ensure_open()
        self = cls(store, path)
        if mode is None:
            return self
        if mode == "r":
            if not store.read_only:
                self.store = store.with_read_only(True)
                await self.store._ensure_open()
            return self
        if store.read_only:
            raise ReadOnlyError(
                f"mode {mode!r} writes, and the store was opened in read-only mode.",
                store=store,
                key=self.path or None,
            )
        if mode == "w-" and not await self.is_empty():
            raise KeyConflictError(
                "there are keys here already, and mode 'w-' only creates.",
                store=store,
                key=self.path or None,
                hint="Use mode 'a' to add to them, or 'w' to remove them first.",
            )
        if mode == "w":
            await self.delete_dir()
        return self

    async def get(
        self, prototype: Prototype | None = None, byte_range: ByteRequestLike | None = None
    ) -> Buffer | None:
        """Read the value at this path.

        Parameters
        ----------
        prototype : BufferPrototype, optional
            The buffer classes of the result; host memory by default.
        byte_range : ByteRequest, optional
            Which bytes; all by default.

        Returns
        -------
        Buffer or None
            None if there is no such value.
        """
        return await self.store.get(self.path, prototype=prototype, byte_range=byte_range)

    async def get_json(self, *, byte_range: ByteRequestLike | None = None) -> JSON:
        """Read the JSON document at this path; None if there is none.

        Parameters
        ----------
        byte_range : ByteRequest, optional
            Read only these bytes, which need not be a complete document.

        Raises
        ------
        ValueError
            If the value isn't JSON.
        """
        return _parsed(await self.get(byte_range=byte_range))

    async def set(self, value: Value, byte_range: ByteRequestLike | None = None) -> None:
        """Replace the value at this path.

        Parameters
        ----------
        value : Buffer or bytes-like
            What to store.
        byte_range : ByteRequest, optional
            Must be None: a path writes whole values.

        Raises
        ------
        UnsupportedOperationError
            If ``byte_range`` is given (a `NotImplementedError`).
        """
        if byte_range is not None:
            raise UnsupportedOperationError(
                "a store path writes whole values only.",
                store=self.store,
                key=self.path,
                hint="Use the store's set_partial_values.",
            )
        await self.store.set(self.path, value)

    async def delete(self) -> None:
        """Remove the value at this path; not an error if there is none.

        Raises
        ------
        UnsupportedOperationError
            If there is a value and the store can't delete (a `NotImplementedError`).
        """
        await self.store.delete(self.path)

    async def delete_dir(self) -> None:
        """Remove all keys below this path."""
        await self.store.delete_dir(self.path)

    async def set_if_not_exists(self, default: Value) -> None:
        """Store a value at this path unless there is one.

        Parameters
        ----------
        default : Buffer or bytes-like
            What to store.
        """
        await self.store.set_if_not_exists(self.path, default)

    async def exists(self) -> bool:
        """Whether there is a value at this path."""
        return bool(self.path) and await self.store.exists(self.path)

    async def is_empty(self) -> bool:
        """Whether there is no key below this path."""
        return await self.store.is_empty(self.path)

    def get_sync(
        self, prototype: Prototype | None = None, byte_range: ByteRequestLike | None = None
    ) -> Buffer | None:
        """Blocking form of `get`."""
        return self.store.get_sync(self.path, prototype=prototype, byte_range=byte_range)

    def get_json_sync(self, *, byte_range: ByteRequestLike | None = None) -> JSON:
        """Blocking form of `get_json`."""
        return _parsed(self.get_sync(byte_range=byte_range))

    def set_sync(self, value: Value) -> None:
        """Blocking form of `set`."""
        self.store.set_sync(self.path, value)

    def delete_sync(self) -> None:
        """Blocking form of `delete`."""
        self.store.delete_sync(self.path)

    def __truediv__(self, other: str) -> Self:
        """Return a path below this one."""
        return type(self)(self.store, f"{self.path}/{other}")

    def __str__(self) -> str:
        return f"{str(self.store).removesuffix('/')}/{self.path}".removesuffix("/")

    def __repr__(self) -> str:
        return f"StorePath({type(self.store).__name__}, {str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not hasattr(other, "store") or not hasattr(other, "path"):
            return NotImplemented
        return bool(self.store == other.store and self.path == other.path)

    def __hash__(self) -> int:
        return hash((self.store, self.path))


def _parsed(document: Buffer | None) -> JSON:
    return None if document is None else cast("JSON", json.loads(document.to_bytes()))


def _normalise(path: str, store: object) -> str:
    parts = [part for part in str(path).split("/") if part]
    return check_prefix("/".join(parts), store).removesuffix("/")
