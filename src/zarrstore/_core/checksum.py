"""Checksums of stored values, kept in their versions, so that values read in pieces can be verified."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from zarrstore.errors import CorruptError

if TYPE_CHECKING:
    from zarrstore._core.types import Data

_MARK = "crc32:"


def crc_version(crc: int, place: int) -> str:
    """Return a version made of the value's CRC-32 and the place where it is stored."""
    return f"{_MARK}{crc:08x}@{place:x}"


def told_crc(version: str | None) -> int | None:
    """Return the CRC-32 that a version contains, or None."""
    if version is None or not version.startswith(_MARK):
        return None
    return int(version[len(_MARK) :].partition("@")[0], 16)


class Checksum:
    """Verifies the pieces of a value against the CRC-32 in its version, if there is one."""

    def __init__(self, version: str | None) -> None:
        self._wanted = told_crc(version)
        self._crc = 0

    def update(self, piece: Data) -> None:
        """Add the next piece."""
        if self._wanted is not None:
            self._crc = crc32(piece, self._crc)

    def check(self) -> None:
        """Raise if the pieces don't match the checksum."""
        if self._wanted not in (None, self._crc):
            raise damaged()


def damaged() -> CorruptError:
    """Return the error for bytes that changed after they were stored."""
    return CorruptError(
        "its bytes don't match their checksum.",
        hint="Restore it from a copy; 'zarrstore repair' saves the undamaged values of an archive.",
    )
