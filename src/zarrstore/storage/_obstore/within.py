"""Copies that an object server makes by itself, from one place of a bucket to another."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from zarrstore._core.requests import RangeByteRequest
from zarrstore._core.secrets import safe_cause
from zarrstore._core.verbs import ANY, CONFLICT
from zarrstore.errors import KeyNotFoundError
from zarrstore.storage._obstore import calls, errors

if TYPE_CHECKING:
    from obstore.store import ObjectStore as ObstoreStore

    from zarrstore._core.verbs import Condition, Conflict
    from zarrstore.storage._obstore.store import ObjectStore

# How much of two values is held at once to compare them, in bytes.
_PIECE = 8 << 20
# How S3 is told that a copy is to create its target.
_CREATE = "header-with-status: if-none-match:*:412"


class ServerCopies:
    """Copies from one store's values to another's, within one bucket.

    Parameters
    ----------
    source, target : ObjectStore
        The stores, which differ in their prefixes at most.
    bucket : obstore.store.ObjectStore
        The bucket that both are in.
    """

    def __init__(
        self, source: ObjectStore[ObstoreStore], target: ObjectStore[ObstoreStore], bucket: ObstoreStore
    ) -> None:
        self._source = source
        self._target = target
        self._bucket = bucket

    async def copy(self, key: str, target_key: str, condition: Condition) -> str | Conflict | None:
        """Copy a value; `CONFLICT` if the target is to have none and has one.

        Raises
        ------
        KeyNotFoundError
            If the source has no such value.
        """
        target = self._target
        target._check(target_key)
        send = partial(self._send, key, target_key, condition)
        if condition is ANY:
            return await target._dispatcher.retry_call(send)
        return await target._write_if(
            send, partial(self._find_own, key, target_key), client_retries=not target._no_client_retries
        )

    async def _send(self, key: str, target_key: str, condition: Condition) -> str | Conflict | None:
        target = self._target
        paths = _below(self._source, key), _below(target, target_key)
        target._alive()
        send = partial(calls.copy, self._bucket, *paths, overwrite=condition is ANY)
        try:
            await target._dispatcher.dispatch_write(send)
        except Exception as error:
            if errors.proves_absence(error, key):
                raise KeyNotFoundError("there is no value to copy.", store=self._source, key=key) from None
            if condition is not ANY and errors.denies_condition(error, target_key):
                return CONFLICT
            raise target._failed(error, "copy", target_key) from safe_cause(error)
        return None

    async def _find_own(self, key: str, target_key: str) -> str | Conflict | None:
        """Return the version of the value if it is the source's, as an earlier attempt may have made it."""
        ours, theirs = await self._source._look(key), await self._target._look(target_key)
        if ours is None or theirs is None or ours.size != theirs.size:
            return CONFLICT
        if ours.version != theirs.version:  # on Azure no digest of the bytes
            for start in range(0, ours.size or 0, _PIECE):
                part = RangeByteRequest(start, start + _PIECE)
                if await self._source._read_once(key, part) != await self._target._read_once(
                    target_key, part
                ):
                    return CONFLICT
        return theirs.version


def server_copies(
    source: ObjectStore[ObstoreStore], target: ObjectStore[ObstoreStore]
) -> ServerCopies | None:
    """Return what makes a server copy, if both stores are in one bucket, and reached alike."""
    ends = [getattr(store.store, "__getnewargs_ex__", None) for store in (source, target)]
    if None in ends or type(source.store) is not type(target.store) or not target._leaves_token:
        return None
    (args, options), (other_args, other_options) = [end() for end in ends if end is not None]
    same = {**options, "prefix": None}
    if args != other_args or same != {**other_options, "prefix": None}:
        return None
    if type(target.store).__name__ == "S3Store" and "copy_if_not_exists" not in options.get("config", {}):
        same["config"] = {**options.get("config", {}), "copy_if_not_exists": _CREATE}
    if target._no_client_retries:
        same["retry_config"] = {"max_retries": 0}
    return ServerCopies(source, target, type(target.store)(*args, **same))


def _below(store: ObjectStore[ObstoreStore], key: str) -> str:
    prefix = (getattr(store.store, "prefix", None) or "").strip("/")
    return f"{prefix}/{key}" if prefix else key
