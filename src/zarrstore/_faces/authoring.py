"""Checks a store's class when it is defined: a mistake in a verb raises an error that says how to fix it."""

from __future__ import annotations

from inspect import CO_VARARGS, isasyncgenfunction, iscoroutinefunction, isfunction, isgeneratorfunction

from zarrstore._core.verbs import LISTINGS, NAMES, REQUIRED, defines

# The arguments that each verb is called with, under the names that the documentation uses.
_ARGUMENTS = {
    "read": ("key", "request", "allocate"),
    "write": ("key", "pieces", "condition"),
    "remove": ("key", "condition"),
    "scan": ("prefix", "deep", "sizes"),
    "read_many": ("requests", "allocate"),
    "read_versioned": ("key", "request", "allocate"),
    "stat": ("key",),
    "names": ("prefix",),
    "keys": ("prefix",),
    "is_empty": ("prefix",),
    "patch": ("key", "parts"),
    "remove_many": ("keys",),
    "remove_below": ("prefix",),
    "copy": ("source", "target"),
}

# Modules whose private methods an author's helper must not replace; below, those that may be overridden.
_OURS = (
    "zarrstore.abc.store",
    "zarrstore._faces.bodies",
    "zarrstore._faces.declared",
    "zarrstore._faces.sync",
    "zarrstore.storage._wrappers.wrapper",
)
_HOOKS = {f"_{name}" for name in NAMES} | {
    "_open",
    "_ensure_open",
    "_check_writable",
    "_get_many",
    "_set_many",
    "_get_bytes",
    "_get_bytes_sync",
    "_get_json",
    "_get_json_sync",
}


def check_names(store_class: type) -> None:
    """Refuse a class whose helper methods would replace private methods that the public ones call.

    Raises
    ------
    TypeError
        If the class defines such a helper.
    """
    if store_class.__module__.startswith("zarrstore."):
        return
    ours = {
        name
        for base in store_class.__mro__
        if base.__module__ in _OURS
        for name, method in vars(base).items()
        if isfunction(method) and name[0] == "_" and not name.startswith("__")
    }
    for name in sorted(ours - _HOOKS):
        if isfunction(vars(store_class).get(name)):
            raise TypeError(
                f"{store_class.__name__}.{name} would replace a method of the base class that others call; "
                "give your helper another name."
            )


def check_store_class(store_class: type) -> bool | None:
    """Check a store's verbs; return whether they block, or None if the class has none.

    Raises
    ------
    TypeError
        If a verb is missing, takes other arguments, or awaits while others block.
    """
    names = [name for name in NAMES if defines(store_class, name)]
    if not names:
        return None
    if missing := [f"_{name}" for name in REQUIRED if name not in names]:
        raise TypeError(
            f"{store_class.__name__} lacks {', '.join(missing)}: a store defines _read, _write, _remove and "
            "_scan. If it is only a base of stores, say class ...(Store, abstract=True)."
        )
    for name in names:
        _check_arguments(store_class, name, ())
    awaiting = {name: kind for name in names if (kind := _awaits(store_class, name)) is not None}
    if len(set(awaiting.values())) > 1:
        first = [f"_{name}" for name in names if awaiting.get(name)]
        raise TypeError(
            f"{store_class.__name__} mixes blocking and awaiting verbs ({', '.join(first)} with 'async def', "
            "others with 'def'); define all with 'def', or all with 'async def'."
        )
    return not awaiting["read"]


def check_wrapper_class(wrapper_class: type) -> None:
    """Check the verbs of a wrapper.

    Raises
    ------
    TypeError
        If a verb takes other arguments, or doesn't await.
    """
    for name in NAMES:
        if not defines(wrapper_class, name):
            continue
        _check_arguments(wrapper_class, name, ("below",))
        if not _awaits(wrapper_class, name) and name not in LISTINGS:
            raise TypeError(
                f"{wrapper_class.__name__}._{name} is a plain 'def'; a wrapper's verbs await those below, so "
                f"define it as 'async def _{name}({', '.join(('self', 'below', *_ARGUMENTS[name]))})'."
            )


def _awaits(store_class: type, name: str) -> bool | None:
    """Whether a verb awaits; None if unknown, since a listing may return another verb's iterator."""
    method = getattr(store_class, "_" + name)
    if iscoroutinefunction(method) or isasyncgenfunction(method):
        return True
    return None if name in LISTINGS and not isgeneratorfunction(method) else False


def _check_arguments(store_class: type, name: str, first: tuple[str, ...]) -> None:
    method = getattr(store_class, "_" + name)
    if not isfunction(method):
        return  # wrapped by a decorator: its arguments can't be seen
    code = method.__code__
    given = 1 + len(first) + len(_ARGUMENTS[name])
    needed = code.co_argcount - len(method.__defaults__ or ())
    required = code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]
    fits = needed <= given <= code.co_argcount or (code.co_flags & CO_VARARGS and needed <= given)
    if fits and set(required) <= set(method.__kwdefaults__ or ()):
        return
    raise TypeError(
        f"{store_class.__name__}._{name} can't be called as a verb; define it as "
        f"'_{name}({', '.join(('self', *first, *_ARGUMENTS[name]))})'."
    )
