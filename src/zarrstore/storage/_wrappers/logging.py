"""A wrapper that counts and logs the calls made to a store."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from functools import cached_property, wraps
from inspect import iscoroutinefunction, signature
from typing import TYPE_CHECKING, Any

from zarrstore._async.bindings import WrapperVerbs
from zarrstore.abc.store import Store
from zarrstore.storage._wrappers.wrapper import T_Store, WrapperStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator
    from contextlib import AbstractContextManager
    from typing import Self

    from zarrstore._core.verbs import Entry, Verbs

# Each method that is watched, with the name of the argument that its records show.
_METHODS: dict[str, str | None] = {
    "clear": None,
    "create": "key",
    "delete": "key",
    "delete_dir": "prefix",
    "delete_if_unchanged": "key",
    "exists": "key",
    "get": "key",
    "get_partial_values": "key_ranges",
    "get_ranges": "key",
    "get_versioned": "key",
    "getsize": "key",
    "getsize_prefix": "prefix",
    "is_empty": "prefix",
    "list": None,
    "list_dir": "prefix",
    "list_prefix": "prefix",
    "set": "key",
    "set_if_not_exists": "key",
    "set_if_unchanged": "key",
    "set_partial_values": "key_start_values",
}
_METHODS |= {f"{name}_sync": argument for name, argument in _METHODS.items()}

# A wrapper around a logging store calls verbs; each is counted as the method that it stands for.
_VERBS = {
    "copy": "copy",
    "patch": "set_partial_values",
    "read": "get",
    "read_many": "get_partial_values",
    "read_versioned": "get_versioned",
    "remove": "delete",
    "remove_below": "delete_dir",
    "remove_many": "delete",
    "stat": "exists",
    "write": "set",
}

_counting = threading.Lock()


def _after_fork() -> None:
    global _counting
    _counting = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class LoggingStore(WrapperStore[T_Store]):
    """A store that counts and logs every call made to the store that it wraps.

    Two records of level ``INFO`` are made for each call, one before it and one after. Where the level
    is off, a call costs about a microsecond more than without the wrapper.

    Parameters
    ----------
    store : Store
        The store to wrap.
    log_level : str
        Level of the logger: ``"INFO"`` or below to see the calls.
    log_handler : logging.Handler, optional
        What to do with the records. By default the root logger's handlers see them or, if there are
        none, they are printed to the standard output.

    Attributes
    ----------
    counter : dict
        How often each method was called; blocking ones under their own names. Read-only or writable
        twins of this store (`with_read_only`) count into the same dictionary.

    Notes
    -----
    Pickling leaves ``log_handler`` behind, since handlers hold files and locks.
    """

    counter: defaultdict[str, int]

    def __init__(
        self, store: T_Store, log_level: str = "DEBUG", log_handler: logging.Handler | None = None
    ) -> None:
        super().__init__(store)
        self.counter = defaultdict(int)
        self.log_level = log_level
        self.log_handler = log_handler
        self._check_level()

    def _check_level(self) -> None:
        """Let a level that doesn't exist be an error here, not at the first call."""
        logging.Handler().setLevel(self.log_level)

    @classmethod
    async def open(cls, store_cls: type[T_Store], *args: Any, **kwargs: Any) -> Self:
        """Make a store, open it and wrap it.

        Parameters
        ----------
        store_cls : type
            The class of the store to wrap.
        *args, **kwargs
            Passed to its constructor, except ``log_level`` and ``log_handler``, which are for the wrapper.
        """
        own = {name: kwargs.pop(name) for name in ("log_level", "log_handler") if name in kwargs}
        store = cls(store_cls(*args, **kwargs), **own)
        await store._open()
        return store

    def __str__(self) -> str:
        return f"logging-{self._below}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self._store).__name__}, {str(self._store)!r})"

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("logger", None)
        state["log_handler"] = None
        return state

    def _around(self, store: Any) -> Self:
        other = super()._around(store)
        other.log_handler = self.log_handler
        return other

    def _verbs_for_wrapper(self, *, sync: bool) -> Verbs:
        return _Watched(self, super()._verbs_for_wrapper(sync=sync))

    # -- logging ----------------------------------------------------------------------------------

    @cached_property
    def logger(self) -> logging.Logger:
        """Where the records go. It is this store's own, so no other store changes its level."""
        logger = logging.Logger(f"LoggingStore({self._store})", self.log_level)
        logger.parent = logging.getLogger()
        if self.log_handler is not None:
            logger.addHandler(self.log_handler)
        elif not logger.hasHandlers():
            logger.addHandler(self._default_handler())
        return logger

    def _default_handler(self) -> logging.Handler:
        handler = logging.StreamHandler(sys.stdout)
        handler.setLevel(self.log_level)
        handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
        return handler

    def _speaks(self) -> bool:
        # `Logger.isEnabledFor` remembers its answers, and only registered loggers are told to forget them.
        logger = self.logger
        return logger.level <= logging.INFO and logger.manager.disable < logging.INFO

    def _count(self, method: str) -> None:
        with _counting:
            self.counter[method] += 1

    def _record(self, text: str, *args: object) -> None:
        logger = self.logger
        logger.handle(logger.makeRecord(logger.name, logging.INFO, __file__, 0, text, args, None))

    @contextmanager
    def _told(self, method: str, hint: Any) -> Generator[None]:
        """Log the begin and the end of a call."""
        if not self._speaks():
            yield
            return
        call = f"{type(self._store).__name__}.{method}" + (f"({hint})" if hint else "")
        self._record("Calling %s", call)
        start = time.perf_counter()
        try:
            yield
        except BaseException as error:
            self._record("Failed %s [%.2f s]: %s", call, time.perf_counter() - start, type(error).__name__)
            raise
        self._record("Finished %s [%.2f s]", call, time.perf_counter() - start)

    def log(self, hint: Any = "") -> AbstractContextManager[None]:
        """Count and log, under the name of the function that asks, what is done inside the ``with``.

        Parameters
        ----------
        hint : object
            Shown in the records, in parentheses.
        """
        method = sys._getframe(1).f_code.co_name
        self._count(method)
        return self._told(method, hint)


def _hint(value: Any) -> str:
    """What a record shows of an argument: a key, or the keys of a batch; whatever else came as it is."""
    if isinstance(value, list):
        return ",".join(_hint(item[0]) if isinstance(item, tuple) and item else repr(item) for item in value)
    # A lone surrogate would break the handler that writes it.
    return str(value).encode("utf-8", "backslashreplace").decode()


def _watching(name: str, argument: str | None) -> Callable[..., Any]:
    """Make the method of a logging store that counts and logs one of `Store`'s."""
    method = getattr(Store, name)
    place = 0 if argument is None else list(signature(method).parameters).index(argument) - 1

    def shown(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if argument is None:
            return ""
        value = args[place] if len(args) > place else kwargs.get(argument, "")
        return _hint(value)

    def listed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A batch may be an iterator, which can be looked at only once."""
        if len(args) > place:
            return (*args[:place], list(args[place]), *args[place + 1 :]), kwargs
        return args, {name: list(value) if name == argument else value for name, value in kwargs.items()}

    batch = argument in ("key_ranges", "key_start_values")

    if method.__annotations__["return"].startswith("AsyncIterator["):

        async def watched(self: LoggingStore[Any], *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            self._count(name)
            with self._told(name, shown(args, kwargs)):
                async for item in method(self, *args, **kwargs):
                    yield item

    elif iscoroutinefunction(method):

        async def watched(self: LoggingStore[Any], *args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
            self._count(name)
            if not self._speaks():
                return await method(self, *args, **kwargs)
            if batch:
                args, kwargs = listed(args, kwargs)
            with self._told(name, shown(args, kwargs)):
                return await method(self, *args, **kwargs)

    elif name.startswith("list"):

        def watched(self: LoggingStore[Any], *args: Any, **kwargs: Any) -> Iterator[Any]:  # type: ignore[misc]
            listing = method(self, *args, **kwargs)  # what is wrong with the arguments is wrong now
            self._count(name)

            def iterate() -> Iterator[Any]:
                with self._told(name, shown(args, kwargs)):
                    yield from listing

            return iterate()

    else:

        def watched(self: LoggingStore[Any], *args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
            self._count(name)
            if not self._speaks():
                return method(self, *args, **kwargs)
            if batch:
                args, kwargs = listed(args, kwargs)
            with self._told(name, shown(args, kwargs)):
                return method(self, *args, **kwargs)

    return wraps(method)(
        watched
    )  # the mark of `own_face` comes along: these only look on, nothing goes around them


for _name, _argument in _METHODS.items():
    setattr(LoggingStore, _name, _watching(_name, _argument))


class _Watched(WrapperVerbs):
    """A logging store's verbs as a wrapper around it sees them."""

    __slots__ = ()

    store: Callable[[], LoggingStore[Any]]

    async def scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        """Pass on, watched."""
        store, method = self.store(), "list_prefix" if deep else "list_dir"
        store._count(method)
        with store._told(method, _hint(prefix)):
            async for page in self.below.scan(prefix, deep, sizes):
                yield page


def _watching_verb(name: str) -> Callable[..., Any]:
    async def verb(self: _Watched, *args: Any) -> Any:
        store, method = self.store(), _VERBS[name]
        store._count(method)
        with store._told(method, _hint(args[0]) if isinstance(args[0], str) else ""):
            return await getattr(self.below, name)(*args)

    return verb


for _name in _VERBS:
    setattr(_Watched, _name, _watching_verb(_name))
