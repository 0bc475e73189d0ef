"""Modules that take long to import and that listings don't need: imported when an attribute is first used.

Whoever imported them from here then has the modules themselves, so that later uses cost nothing more.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["asyncio", "hashlib", "np", "recycling"]

_PACKAGE = __name__.partition(".")[0]


class _Later(ModuleType):
    """Stands in for the module of its name, until an attribute is used."""

    def __getattr__(self, name: str) -> Any:
        module = import_module(self.__name__)
        for key, holder in list(sys.modules.items()):
            if key.partition(".")[0] == _PACKAGE and holder is not None:
                for alias in [alias for alias, held in list(vars(holder).items()) if held is self]:
                    setattr(holder, alias, module)
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
