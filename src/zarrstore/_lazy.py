"""Packages whose names are imported on first use, while type checkers see them whole."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def attach(
    module: str, places: dict[str, str], scope: dict[str, Any]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for a package.

    Parameters
    ----------
    module : str
        The package's name.
    places : dict
        For each public name the module it comes from; a module's own name stands for the module.
    scope : dict
        The package's ``globals()``: what was imported once is kept there.
    """

    def getattribute(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        source = import_module(places[name])
        value = source if places[name] == f"{module}.{name}" else getattr(source, name)
        scope[name] = value
        return value

    return getattribute, lambda: sorted({*scope, *places})
