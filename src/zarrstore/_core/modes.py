"""The modes in which a store or a path can be opened."""

from typing import Literal, get_args

AccessModeLiteral = Literal["r", "r+", "a", "w", "w-"]
_MODES = get_args(AccessModeLiteral)


def check_mode(mode: str | None) -> None:
    """Raise ValueError unless the mode is valid."""
    if mode is not None and mode not in _MODES:
        raise ValueError(f"mode is one of {', '.join(map(repr, _MODES))}, not {mode!r}")
