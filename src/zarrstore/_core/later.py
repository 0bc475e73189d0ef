"""Modules that take long to import and that listings don't need: imported when an attribute is first used.

Afterwards an attribute of `np` costs what it costs of ``numpy``, unlike an import inside a function.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["asyncio", "hashlib", "np", "recycling"]


class _Later(ModuleType):
    """Stands in for the module of its name, and becomes a copy of it on first use.

    Threads may use it at the same time: the import happens once, and all names are there before the class,
    and with it this method, goes.
    """

    def __getattr__(self, name: str) -> Any:
        module = import_module(self.__name__)
        vars(self).update(vars(module))
        ModuleType.__setattr__(self, "__class__", ModuleType)
        return getattr(module, name)


if TYPE_CHECKING:
    import asyncio
    import hashlib

    import numpy as np

    from zarrstore._core import recycling
else:
    asyncio = _Later("asyncio")
    hashlib = _Later("hashlib")
    np = _Later("numpy")
    recycling = _Later("zarrstore._core.recycling")
