"""Names and paths that Windows doesn't allow, and why.

Source: "Naming Files, Paths, and Namespaces", Microsoft Learn.
"""

from __future__ import annotations

import ctypes
import re

_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9\xb9\xb2\xb3]|lpt[0-9\xb9\xb2\xb3])(\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[<>:"|?*\\\x01-\x1f]')

# Most characters in a path, unless long paths are enabled.
_LONGEST = 259


def refusal(path: str, key: str) -> str | None:
    """Return why Windows can't store a key's file; None if it can.

    Parameters
    ----------
    path : str
        The file's path.
    key : str
        The key.
    """
    for name in key.split("/"):
        if found := _FORBIDDEN.search(name):
            return f"Windows allows no {found[0]!r} in the name of a file."
        if name[-1] in ". ":
            return f"Windows cuts off the {name[-1]!r} at the end of {name!r}."
        if _DEVICE.fullmatch(name):
            return f"{name!r} is the name of a device on Windows."
    if len(path) > _LONGEST and not _long_paths():
        return f"its path has {len(path)} characters, and Windows takes {_LONGEST} without its long paths."
    return None


def _long_paths() -> bool:
    system = getattr(ctypes, "windll", None)
    return system is not None and bool(system.ntdll.RtlAreLongPathsEnabled())
