"""Copies within a bucket that the object server makes itself, with obstore."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from zarrstore._core.secrets import safe_cause
from zarrstore._core.verbs import ANY, CONFLICT
from zarrstore.errors import KeyNotFoundError
from zarrstore.storage._obstore import calls, errors
from zarrstore.storage._remote.copies import StoreCopies

if TYPE_CHECKING:
    from obstore.store import ObjectStore as ObstoreStore

    from zarrstore._core.verbs import Condition, Conflict
    from zarrstore.storage._obstore.store import ObjectStore

# Tells S3 that a copy must create its target.
_CREATE = "header-with-status: if-none-match:*:412"


def server_copies(source: ObjectStore[ObstoreStore], target: ObjectStore[ObstoreStore]) -> StoreCopies | None:
    """Return copies made by the server, if both stores are in one bucket and reached in the same way."""
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
    send = partial(_send, source, target, type(target.store)(*args, **same))
    return StoreCopies(source, target, send, client_retries=not target._no_client_retries)


async def _send(
    source: ObjectStore[ObstoreStore],
    target: ObjectStore[ObstoreStore],
    bucket: ObstoreStore,
    key: str,
    target_key: str,
    condition: Condition,
) -> str | Conflict | None:
    target._check(target_key)
    target._alive()
    paths = _below(source, key), _below(target, target_key)
    send = partial(calls.copy, bucket, *paths, overwrite=condition is ANY)
    try:
        await target._dispatcher.dispatch_write(send)
    except Exception as error:
        if errors.proves_absence(error, key):
            raise KeyNotFoundError("there is no value to copy.", store=source, key=key) from None
        if condition is not ANY and errors.denies_condition(error, target_key):
            return CONFLICT
        raise target._failed(error, "copy", target_key) from safe_cause(error)
    return None


def _below(store: ObjectStore[ObstoreStore], key: str) -> str:
    prefix = (getattr(store.store, "prefix", None) or "").strip("/")
    return f"{prefix}/{key}" if prefix else key
