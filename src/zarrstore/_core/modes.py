"""The modes that a place is opened in."""

from typing import Literal, get_args

AccessModeLiteral = Literal["r", "r+", "a", "w", "w-"]
_MODES = get_args(AccessModeLiteral)


def check_mode(mode: str | None) -> None:
    """Raise ValueError unless there is such a mode."""
    if mode is not None and mode not in _MODES:
        raise ValueError(f"mode is one of {', '.join(map(repr, _MODES))}, not {mode!r}")
