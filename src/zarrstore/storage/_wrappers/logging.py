"""A wrapper that counts and logs the calls made to a store."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from functools import cached_property, wraps
from inspect import BoundArguments, iscoroutinefunction, signature
from typing import TYPE_CHECKING, Any

from zarrstore._async.bindings import WrapperVerbs
from zarrstore._core.forks import in_forked_child
from zarrstore.abc.store import Store
from zarrstore.storage._wrappers.wrapper import T_Store, WrapperStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator
    from contextlib import AbstractContextManager
    from typing import Self, TypeAlias

    from zarr.abc.store import Store as TheirStore

    from zarrstore._core.verbs import Entry, Verbs

    AnyLoggingStore: TypeAlias = "LoggingStore[TheirStore]"

# Logged methods, each with the argument that is shown in its records.
_METHODS: dict[str, str | None] = {
    **dict.fromkeys(("clear", "list")),
    **dict.fromkeys(("create", "delete", "delete_if_unchanged", "exists", "get", "get_ranges"), "key"),
    **dict.fromkeys(("get_versioned", "getsize", "set", "set_if_not_exists", "set_if_unchanged"), "key"),
    **dict.fromkeys(("delete_dir", "getsize_prefix", "is_empty", "list_dir", "list_prefix"), "prefix"),
    "get_partial_values": "key_ranges",
    "set_partial_values": "key_start_values",
}
_METHODS |= {f"{name}_sync": argument for name, argument in _METHODS.items()}
_METHODS["tree"] = "prefix"  # this one blocks

# A wrapper around a logging store calls its verbs; each is counted as the method named here.
_VERBS = {
    "copy": "copy",
    "is_empty": "is_empty",
    "patch": "set_partial_values",
    "read": "get",
    "read_many": "get_partial_values",
    "read_ranges": "get_ranges",
    "read_versioned": "get_versioned",
    "remove": "delete",
    "remove_below": "delete_dir",
    "remove_many": "delete",
    "stat": "exists",
    "write": "set",
}

_counting = threading.Lock()


@in_forked_child
def _after_fork() -> None:
    global _counting
    _counting = threading.Lock()


class LoggingStore(WrapperStore[T_Store]):
    """A wrapper that counts and logs every call.

    Each call makes two records at level ``INFO``, one before and one after. If that level is disabled, no
    record is made, and the wrapper adds some microseconds to a call.

    Parameters
    ----------
    store : Store
        The store to wrap.
    log_level : str
        Level of the logger: ``"INFO"`` or below to see the calls.
    log_handler : logging.Handler, optional
        Receives the records. By default the root logger's handlers do or, if it has none, a handler that
        prints to standard output.

    Attributes
    ----------
    counter : dict
        Number of calls of each method; blocking methods have their own names. Stores returned by
        `with_read_only` count in the same dictionary.

    Notes
    -----
    ``log_handler`` isn't pickled, since handlers contain files and locks.
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
        """Raise ValueError for an unknown level."""
        logging.Handler().setLevel(self.log_level)

    @classmethod
    async def open(cls, store_cls: type[T_Store], *args: Any, **kwargs: Any) -> Self:
        """Create a store, open it and wrap it.

        Parameters
        ----------
        store_cls : type
            The class of the store to wrap.
        *args, **kwargs
            Passed to its constructor, except ``log_level`` and ``log_handler``, which the wrapper takes.
        """
        own = {name: kwargs.pop(name) for name in ("log_level", "log_handler") if name in kwargs}
        store = cls(store_cls(*args, **kwargs), **own)
        await store._open()
        return store

    def __str__(self) -> str:
        return f"logging-{self._below}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self._store).__name__}, {str(self._store)!r})"

    def __getstate__(self) -> dict[str, object]:
        state = super().__getstate__()
        state.pop("logger", None)
        state["log_handler"] = None
        return state

    def _around(self, store: T_Store) -> Self:
        other = super()._around(store)
        other.log_handler = self.log_handler
        return other

    def _verbs_for_wrapper(self, *, sync: bool) -> Verbs:
        return _LoggingVerbs(self, super()._verbs_for_wrapper(sync=sync))

    # -- logging ----------------------------------------------------------------------------------

    @cached_property
    def logger(self) -> logging.Logger:
        """The logger of this store only, so that no other store changes its level."""
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

    def _is_enabled(self) -> bool:
        # `Logger.isEnabledFor` caches its results, and only the caches of registered loggers are cleared.
        logger = self.logger
        return logger.level <= logging.INFO and logger.manager.disable < logging.INFO

    def _count(self, method: str) -> None:
        with _counting:
            self.counter[method] += 1

    def _record(self, text: str, *args: object) -> None:
        logger = self.logger
        logger.handle(logger.makeRecord(logger.name, logging.INFO, __file__, 0, text, args, None))

    @contextmanager
    def _logged(self, method: str, hint: object) -> Generator[None]:
        """Log the start and the end of a call."""
        if not self._is_enabled():
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

    def log(self, hint: object = "") -> AbstractContextManager[None]:
        """Count and log the body of a ``with`` statement as a call of the enclosing function.

        Parameters
        ----------
        hint : object
            Shown in parentheses in the records.
        """
        method = sys._getframe(1).f_code.co_name
        self._count(method)
        return self._logged(method, hint)


def _hint(value: object) -> str:
    """Return an argument as text for a record: a key, the keys of a batch, or whatever was passed instead."""
    if isinstance(value, list):
        return ",".join(_hint(item[0]) if isinstance(item, tuple) and item else repr(item) for item in value)
    # Handlers can't encode lone surrogates.
    return str(value).encode("utf-8", "backslashreplace").decode()


def _logging_method(name: str, argument: str | None) -> Callable[..., object]:
    """Make the method that counts and logs the calls of one of `Store`'s methods."""
    method: Callable[..., Any] = getattr(Store, name)
    parameters = signature(method)

    def bound(*args: object, **kwargs: object) -> tuple[str, BoundArguments]:
        """Return the hint and the arguments; a batch becomes a list, as an iterator can be read only once."""
        call = parameters.bind(*args, **kwargs)
        if argument not in call.arguments:
            return "", call
        if argument in ("key_ranges", "key_start_values"):
            call.arguments[argument] = list(call.arguments[argument])
        return _hint(call.arguments[argument]), call

    async def listing(self: AnyLoggingStore, *args: object, **kwargs: object) -> AsyncIterator[object]:
        self._count(name)
        hint, call = bound(self, *args, **kwargs)
        with self._logged(name, hint):
            async for item in method(*call.args, **call.kwargs):
                yield item

    async def awaited(self: AnyLoggingStore, *args: object, **kwargs: object) -> object:
        self._count(name)
        if not self._is_enabled():
            return await method(self, *args, **kwargs)
        hint, call = bound(self, *args, **kwargs)
        with self._logged(name, hint):
            return await method(*call.args, **call.kwargs)

    def listing_sync(self: AnyLoggingStore, *args: object, **kwargs: object) -> Iterator[object]:
        items = method(self, *args, **kwargs)  # raises errors about the arguments now, not at the first item
        self._count(name)
        hint, _ = bound(self, *args, **kwargs)

        def iterate() -> Iterator[object]:
            with self._logged(name, hint):
                yield from items

        return iterate()

    def blocking(self: AnyLoggingStore, *args: object, **kwargs: object) -> object:
        self._count(name)
        if not self._is_enabled():
            return method(self, *args, **kwargs)
        hint, call = bound(self, *args, **kwargs)
        with self._logged(name, hint):
            return method(*call.args, **call.kwargs)

    made: Callable[..., object]
    if method.__annotations__["return"].startswith("AsyncIterator["):
        made = listing
    elif iscoroutinefunction(method):
        made = awaited
    else:
        made = listing_sync if name.startswith("list") else blocking
    # `wraps` copies the mark of `own_face`, so the method doesn't count as an override.
    return wraps(method)(made)


for _name, _argument in _METHODS.items():
    setattr(LoggingStore, _name, _logging_method(_name, _argument))


class _LoggingVerbs(WrapperVerbs):
    """The verbs of a logging store, for a wrapper around it."""

    __slots__ = ()

    store: Callable[[], AnyLoggingStore]

    async def scan(self, prefix: str, deep: bool, sizes: bool) -> AsyncIterator[list[Entry]]:
        """Count and log, then list with the verb below."""
        store, method = self.store(), "list_prefix" if deep else "list_dir"
        store._count(method)
        with store._logged(method, _hint(prefix)):
            async for page in self.below.scan(prefix, deep, sizes):
                yield page


def _logging_verb(name: str, method: str) -> Callable[..., object]:
    async def verb(self: _LoggingVerbs, *args: object) -> object:
        store = self.store()
        store._count(method)
        with store._logged(method, _hint(args[0]) if isinstance(args[0], str) else ""):
            return await getattr(self.below, name)(*args)

    return verb


for _name, _method in _VERBS.items():
    setattr(_LoggingVerbs, _name, _logging_verb(_name, _method))
