"""Selects the keys of a source: globs to include and exclude, and files that operating systems add."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Files that file managers and network file systems add to data.
LITTER = (".DS_Store", "._*", ".nfs*", "Thumbs.db", "desktop.ini", "__MACOSX")

_WILD = {"*": "[^/]*", "?": "[^/]"}


def selection(
    include: Iterable[str], exclude: Iterable[str], *, exclude_litter: bool
) -> Callable[[str], bool] | None:
    """Return a function that tells whether the key of a name takes part; None if all do."""
    wanted, unwanted = _any_of(include), _any_of([*exclude, *(LITTER if exclude_litter else ())])
    if wanted is None and unwanted is None:
        return None

    def is_selected(name: str) -> bool:
        return (wanted is None or wanted(name) is not None) and (unwanted is None or unwanted(name) is None)

    return is_selected


def _any_of(globs: Iterable[str]) -> Callable[[str], re.Match[str] | None] | None:
    if isinstance(globs, str):
        raise TypeError(f"globs are a list, not one text: use [{globs!r}]")
    patterns = [_regex(glob) for glob in globs]
    return re.compile("|".join(patterns)).fullmatch if patterns else None


def _regex(glob: str) -> str:
    """Translate a glob: without a slash it matches at any depth; everything below a match matches, too."""
    text = glob.strip("/")
    if not text:
        raise ValueError(f"a glob needs a name, which {glob!r} doesn't have")
    parts = []
    for part in re.findall(r"\*\*/?|\[!?\]?[^\]]*\]|.", text, re.DOTALL):
        if part.startswith("**"):
            parts.append("(?:.*/)?" if part[-1] == "/" else ".*")
        elif part[0] == "[" and part[-1] == "]" and len(part) > 2:
            inside = re.sub(r"([\\\[&~|^])", r"\\\1", part[1:-1])
            parts.append(f"[^/{inside[1:]}]" if inside[0] == "!" else f"(?!/)[{inside}]")
        else:
            parts.append(_WILD.get(part, re.escape(part)))
    anywhere = "(?:.*/)?" if "/" not in glob.rstrip("/") else ""
    return f"(?s:{anywhere}{''.join(parts)}(?:/.*)?)"
