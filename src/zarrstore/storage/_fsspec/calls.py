"""The file system that a store's calls are made on: a copy of the user's, for this process's I/O thread.

An async file system belongs to the event loop that opened its connections, but one store serves every thread
and loop. So calls run on the process's private I/O thread, on a copy made with the same arguments. The user's
own may belong to another loop and keeps working there. A blocking file system is called in the thread pool.
After a fork, the child renews either kind.
"""

from __future__ import annotations

import pickle
import threading
from functools import cached_property, partial
from typing import TYPE_CHECKING
from weakref import WeakSet, WeakValueDictionary, finalize

from zarrstore._async.io_loop import io_loop
from zarrstore._async.threads import to_thread
from zarrstore._core.forks import in_forked_child
from zarrstore.errors import MissingDependencyError
from zarrstore.storage._fsspec.protocol import find

try:
    from fsspec import AbstractFileSystem
    from fsspec.asyn import AsyncFileSystem, sync
    from fsspec.core import url_to_fs
    from fsspec.dircache import DirCache
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
    from fsspec.implementations.dirfs import DirFileSystem
    from fsspec.implementations.local import LocalFileSystem
    from fsspec.utils import tokenize
except ImportError as error:
    raise MissingDependencyError(
        "URLs and fsspec's file systems need the package fsspec.", hint="pip install 'zarrstore[fsspec]'"
    ) from error

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from zarrstore.storage._fsspec.protocol import FileSystem, Untyped

__all__ = ["Files", "LocalFileSystem", "as_awaiting", "identity", "tokenize", "url_to_fs"]

# Arguments that affect how a file system runs, not which one it is.
_MANNER = frozenset(("asynchronous", "loop", "skip_instance_cache", "use_listings_cache", "batch_size"))

# Copies on this process's I/O thread, so that equal file systems share connections.
_copies: WeakValueDictionary[tuple[object, ...], FileSystem] = WeakValueDictionary()
_copies_lock = threading.Lock()
_all_files: WeakSet[Files] = WeakSet()
# What a forked child inherited. It is kept, since closing it would affect the parent's event loop.
_inherited: list[FileSystem] = []


@in_forked_child
def _after_fork() -> None:
    global _copies, _copies_lock
    _detach_finalizers(forked=True)
    for files in list(_all_files):
        files.after_fork()
    _inherited.append(list(_copies.values()))
    _copies = WeakValueDictionary()
    _copies_lock = threading.Lock()


def _detach_finalizers(*, forked: bool = False) -> None:
    """Remove adlfs's finalizers that would fail or hang at exit.

    They close the client on the file system's event loop. An asynchronous file system has no loop, and in a
    forked child the parent's loop doesn't run. adlfs keeps no reference to its finalizers, so they are found
    in the private registry of `weakref.finalize`, by the function that they call.
    """
    for finalizer in list(getattr(finalize, "_registry", ())):
        call = finalizer.peek()
        if call and call[1] is sync and (forked or call[2][0] is None):
            finalizer.detach()


def as_awaiting(fs: FileSystem) -> FileSystem:
    """Return an asynchronous file system: the given one, a copy of it, or a wrapper around it."""
    if fs.async_impl and fs.asynchronous:
        return fs
    # fsspec's view of a directory is async by its class, but it blocks if the file system below does.
    if fs.async_impl and getattr(getattr(fs, "fs", None), "async_impl", True):
        options = {name: value for name, value in fs.storage_options.items() if name != "loop"}
        return type(fs)(*fs.storage_args, **{**options, "asynchronous": True})
    return AsyncFileSystemWrapper(fs, asynchronous=True)


def _blocking_inside(fs: FileSystem) -> FileSystem | None:
    """Return the blocking file system inside fsspec's wrapper; None if this one is async itself."""
    if isinstance(fs, AsyncFileSystemWrapper):
        return fs.sync_fs
    return None


def _behind_views(fs: FileSystem) -> tuple[FileSystem, str]:
    """Return the blocking file system behind fsspec's views of directories, and the directory viewed."""
    directory = ""
    while type(fs) is DirFileSystem and fs.path and not fs.fs.async_impl:
        fs, directory = fs.fs, f"{fs.path.rstrip('/')}/{directory.lstrip('/')}"
    return fs, directory


def identity(value: Untyped) -> object:
    """Return what is equal for two file systems with the same place and the same credentials."""
    if isinstance(value, AbstractFileSystem):
        inside = _blocking_inside(value)
        if inside is not None:
            return identity(inside)
        own = id(value.store) if getattr(value, "global_store", True) is False else None
        return type(value), identity(tuple(value.storage_args)), identity(dict(value.storage_options)), own
    if isinstance(value, dict):
        return {name: identity(inner) for name, inner in value.items() if name not in _MANNER}
    if isinstance(value, (list, tuple)):
        return tuple(map(identity, value))
    return value


def _moved(value: Untyped, loop: asyncio.AbstractEventLoop) -> Untyped:
    """Copy a file system, or arguments that may contain some, for an event loop."""
    if isinstance(value, AsyncFileSystem) and _blocking_inside(value) is None:
        # In fsspec, "not asynchronous" means having a loop of its own.
        options = {**_moved(value.storage_options, loop), "asynchronous": False, "loop": loop}
        options["skip_instance_cache"] = True
        copy = type(value)(*_moved(tuple(value.storage_args), loop), **options)
        if type(copy.dircache) is DirCache:
            # An earlier listing proves nothing about the present.
            copy.dircache = DirCache(use_listings_cache=False)
        return copy
    if isinstance(value, dict):
        copy = {
            name: False if name == "asynchronous" else _moved(inner, loop)
            for name, inner in value.items()
            if name != "loop"
        }
        # If nothing changes, the user's own object is passed on, as it may be shared on purpose.
        same = copy.keys() == value.keys() and all(copy[name] is value[name] for name in copy)
        return value if same else copy
    if type(value) is tuple:
        return tuple(_moved(inner, loop) for inner in value)
    return value


class Files:
    """A user's file system, and the one that calls are made on in its place.

    Parameters
    ----------
    fs : AsyncFileSystem
        The user's file system. It is pickled; what is made from it here is not.
    quiet : bool
        Whether to disable the client's own retries.
    """

    def __init__(self, fs: FileSystem, *, quiet: bool = False) -> None:
        self.fs = fs
        self.quiet = quiet
        # The user's file system, without fsspec's wrapper and then without its views if it blocks.
        self.unwrapped = _blocking_inside(fs) or fs
        self.inside, self._viewed = _behind_views(self.unwrapped)
        self.blocks = self.inside is not fs
        self.direct = find(fs)
        self._is_child = False
        _detach_finalizers()
        _all_files.add(self)

    def __getstate__(self) -> dict[str, object]:
        return {"fs": self.fs, "quiet": self.quiet}

    def __setstate__(self, state: dict[str, Untyped]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def path_inside(self, path: str) -> str:
        """Return where a path of the user's file system is in the one behind its views."""
        path = path or self.unwrapped.root_marker
        return self._viewed + path.lstrip("/") if self._viewed else path

    @cached_property
    def client(self) -> FileSystem:
        """The file system whose methods this process calls."""
        if self.blocks:
            # In a child its connections belong to the parent; fsspec reconnects when it is unpickled.
            return pickle.loads(pickle.dumps(self.inside)) if self._is_child else self.inside
        if not self.fs.cachable:
            return self._copy()
        key = type(self.fs), hash(self.fs), self.quiet
        with _copies_lock:
            copy = _copies.get(key)
            if copy is None:
                copy = _copies[key] = self._copy()
        return copy

    def _copy(self) -> FileSystem:
        copy = _moved(self.fs, io_loop())
        settle = getattr(self.direct, "settle", None)
        if settle is not None:
            settle(copy, quiet=self.quiet)
        return copy

    def method(
        self, name: str, args: Untyped, kwargs: Untyped, *, abandon: bool
    ) -> Callable[[], Awaitable[Untyped]]:
        """Bind a method; blocking ones to the thread pool, where cancelling abandons them if ``abandon``."""
        call = partial(getattr(self.client, name if self.blocks else "_" + name), *args, **kwargs)
        return partial(to_thread, call, abandon_on_cancel=abandon) if self.blocks else call

    def after_fork(self) -> None:
        """In a forked child, drop the parent's connections."""
        client = self.__dict__.pop("client", None)
        if client is not None:
            _inherited.append(client)
            self._is_child = True
