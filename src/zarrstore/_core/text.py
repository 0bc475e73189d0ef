"""Names, sizes and numbers as text for people."""


def shown(key: str) -> str:
    """Return a key as a terminal can show it: on one line and without control sequences."""
    return key if key.isprintable() else key.encode("unicode_escape").decode("ascii")


def size_text(count: float) -> str:
    """Return a number of bytes as text, in binary units."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        count /= 1024
        if count < 1023.95:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} PiB"


def values_text(count: int) -> str:
    """Return a number of values as text."""
    return "1 value" if count == 1 else f"{count:,} values"
