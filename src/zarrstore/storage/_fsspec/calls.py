"""Where an fsspec file system lives, and how its calls are made from anywhere.

An awaiting file system belongs to the event loop that its connections were opened on. So the one
that a user hands over is only looked at, and a copy of it, made with the same arguments, lives on the
process's private I/O thread: whichever thread or loop asks, its calls run there. A file system that
blocks has its calls made in the pool. Either is made anew in a forked child.
"""

from __future__ import annotations

import os
import pickle
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary, finalize

from zarrstore._async import io_loop
from zarrstore._async import threads as _threads
from zarrstore.errors import MissingDependencyError
from zarrstore.storage._fsspec import s3
from zarrstore.storage._fsspec.protocol import find

try:
    from fsspec import AbstractFileSystem
    from fsspec.asyn import AsyncFileSystem, sync
    from fsspec.core import url_to_fs
    from fsspec.dircache import DirCache
    from fsspec.implementations.local import LocalFileSystem
    from fsspec.utils import tokenize
except ImportError as error:
    raise MissingDependencyError(
        "URLs and fsspec's file systems need the package fsspec.", hint="pip install 'zarrstore[fsspec]'"
    ) from error
try:
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
except ImportError:  # before fsspec 2024.12
    AsyncFileSystemWrapper = None

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    from zarrstore.storage._remote.dispatch import Dispatcher

__all__ = [
    "Calls",
    "LocalFileSystem",
    "as_awaiting",
    "blocking_inside",
    "identity",
    "tokenize",
    "url_to_fs",
]

T = TypeVar("T")

# What says how a file system is run, not what it is.
_MANNER = frozenset(("asynchronous", "loop", "skip_instance_cache", "use_listings_cache", "batch_size"))

# Copies that live on this process's I/O thread, so that equal file systems share connections.
_copies: WeakValueDictionary[tuple[Any, ...], Any] = WeakValueDictionary()
_copies_lock = threading.Lock()
# Copies that a forked child found. Closing one there would reach into the parent's event loop.
_inherited: list[Any] = []


def _after_fork() -> None:
    global _copies, _copies_lock
    _inherited.append(list(_copies.values()))
    _release(forked=True)
    _copies = WeakValueDictionary()
    _copies_lock = threading.Lock()


def _release(*, forked: bool = False) -> None:
    """Drop what file systems left to be done at exit that would fail, or wait for a thread that isn't there.

    adlfs wants to be closed on its event loop then. One made to be asynchronous has none, and in a child
    the parent's doesn't run.
    """
    for finalizer in list(getattr(finalize, "_registry", ())):
        known = finalizer.peek()
        if known and known[1] is sync and (forked or known[2][0] is None):
            finalizer.detach()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def as_awaiting(fs: Any) -> Any:
    """Return a file system that counts as asynchronous: itself, itself made so, or itself wrapped."""
    if fs.async_impl and fs.asynchronous:
        return fs
    # A view of a directory awaits by its class, and blocks if what it is a view of does.
    if fs.async_impl and getattr(getattr(fs, "fs", None), "async_impl", True):
        options = {name: value for name, value in fs.storage_options.items() if name != "loop"}
        return type(fs)(*fs.storage_args, **{**options, "asynchronous": True})
    if AsyncFileSystemWrapper is None:
        raise MissingDependencyError(
            f"{type(fs).__name__} blocks, and this fsspec has no wrapper for such file systems.",
            hint="pip install 'fsspec>=2024.12'",
        )
    return AsyncFileSystemWrapper(fs, asynchronous=True)


def blocking_inside(fs: Any) -> Any:
    """Return the blocking file system inside fsspec's wrapper; None if this one awaits by itself."""
    if AsyncFileSystemWrapper is not None and isinstance(fs, AsyncFileSystemWrapper):
        return fs.sync_fs
    return None


def identity(value: Any) -> Any:
    """What makes two file systems the same place with the same rights, however they are run."""
    if isinstance(value, AbstractFileSystem):
        inside = blocking_inside(value)
        if inside is not None:
            return identity(inside)
        own = id(value.store) if getattr(value, "global_store", True) is False else None
        return type(value), identity(tuple(value.storage_args)), identity(dict(value.storage_options)), own
    if isinstance(value, dict):
        return {name: identity(inner) for name, inner in value.items() if name not in _MANNER}
    if isinstance(value, (list, tuple)):
        return tuple(map(identity, value))
    return value


def _resettled(value: Any, loop: asyncio.AbstractEventLoop) -> Any:
    """Copy a file system's arguments for a copy on another loop, file systems inside them included."""
    if isinstance(value, AsyncFileSystem) and blocking_inside(value) is None:
        options = {**_resettled(value.storage_options, loop), "asynchronous": False, "loop": loop}
        options["skip_instance_cache"] = True
        made = type(value)(*_resettled(tuple(value.storage_args), loop), **options)
        if type(made.dircache) is DirCache:
            # What a listing said a minute ago proves nothing.
            made.dircache = DirCache(use_listings_cache=False)
        return made
    if isinstance(value, dict):
        # A copy is "not asynchronous" in fsspec's sense: it has a loop of its own, ours.
        made = {
            name: False if name == "asynchronous" else _resettled(inner, loop)
            for name, inner in value.items()
            if name != "loop"
        }
        # What need not change stays the user's very object.
        same = made.keys() == value.keys() and all(made[name] is value[name] for name in made)
        return value if same else made
    if type(value) is tuple:
        return tuple(_resettled(inner, loop) for inner in value)
    return value


class Calls:
    """The calls of a file system, made where it lives.

    Parameters
    ----------
    fs : AsyncFileSystem
        The user's; pickled by itself, while what is made of it here never is.
    dispatcher : Dispatcher
        What every call has to pass.
    quiet : bool
        Whether the client itself is to try nothing again.
    """

    def __init__(self, fs: Any, dispatcher: Dispatcher, *, quiet: bool) -> None:
        self.fs = fs
        self.dispatcher = dispatcher
        self.quiet = quiet
        self.blocks = blocking_inside(fs) is not None
        self.direct = find(fs)
        _release()
        self._pid = 0
        self._living: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "direct": None, "_pid": 0, "_living": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, direct=find(state["fs"]))

    @property
    def living(self) -> Any:
        """The file system whose methods are called, as it is in this process."""
        if self._pid != os.getpid():
            self._living = self._renew()
            self._pid = os.getpid()
        return self._living

    def _renew(self) -> Any:
        if self._living is not None:
            _inherited.append(self._living)
        if self.blocks:
            inside = blocking_inside(self.fs)
            # In a child its connections are the parent's: pickle is how fsspec connects anew.
            return inside if self._living is None else pickle.loads(pickle.dumps(inside))
        if not self.fs.cachable:
            return self._settled()
        key = type(self.fs), hash(self.fs), self.quiet
        with _copies_lock:
            copy = _copies.get(key)
            if copy is None:
                copy = _copies[key] = self._settled()
        return copy

    def _settled(self) -> Any:
        copy = _resettled(self.fs, io_loop.io_loop())
        if s3.serves(copy):
            s3.settle(copy, quiet=self.quiet)
        return copy

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine that makes calls where they can be made."""
        if self.blocks:
            return await coroutine
        return await io_loop.await_on_io(coroutine)

    async def ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Make a call that changes nothing; cancelled, it may be left behind."""
        if self.blocks:
            call = partial(getattr(self.living, name), *args, **kwargs)
            return await self.dispatcher.dispatch(lambda: _threads.to_thread(call, abandon_on_cancel=True))
        return await self.dispatcher.dispatch(partial(getattr(self.living, "_" + name), *args, **kwargs))

    async def change(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Make a call that changes something; cancelled, it is waited for."""
        if self.blocks:
            call = partial(getattr(self.living, name), *args, **kwargs)
            return await self.dispatcher.dispatch_write(lambda: _threads.to_thread(call))
        return await self.dispatcher.dispatch_write(
            partial(getattr(self.living, "_" + name), *args, **kwargs)
        )

    async def own(self, call: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Make a call of ours with the file system, which changes nothing."""
        return await self.dispatcher.dispatch(partial(call, self.living, *args))

    async def own_change(self, call: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Make a call of ours with the file system, which changes something."""
        return await self.dispatcher.dispatch_write(partial(call, self.living, *args))
