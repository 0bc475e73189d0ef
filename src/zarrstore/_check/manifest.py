"""Manifests: files with the MD5 of each key, as the program ``md5sum`` writes and checks them."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from zarrstore.errors import CorruptError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

_LINE = re.compile(r"(\\?)([0-9a-f]{32}) [ *](.+)", re.DOTALL)
_ESCAPED = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_MEANT = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


def line_of(md5: str, key: str) -> str:
    """Return a key's line; if line breaks or backslashes are escaped, it starts with a backslash."""
    name = re.sub(r"[\\\n\r]", lambda found: _ESCAPED[found[0]], key)
    mark = "" if name == key else "\\"
    return f"{mark}{md5}  {name}\n"


@contextmanager
def written(path: str | os.PathLike[str] | None) -> Iterator[Callable[[Iterable[str]], None] | None]:
    """Yield a function that writes lines of a manifest; None without a path."""
    if path is None:
        yield None
        return
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        yield file.writelines


def read(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the MD5 of each key.

    Raises
    ------
    CorruptError
        If it isn't a manifest.
    """
    found = {}
    with open(path, encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            parts = _LINE.fullmatch(line.rstrip("\n"))
            if parts is None:
                raise CorruptError(
                    f"line {number} of the manifest {str(path)!r} isn't an MD5 and a key.",
                    hint="'zarrstore digest --manifest FILE' or 'md5sum' writes one.",
                )
            key = re.sub(r"\\[\\nr]", lambda escape: _MEANT[escape[0]], parts[3]) if parts[1] else parts[3]
            found[key.removeprefix("./")] = parts[2]
    return found
