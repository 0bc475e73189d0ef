"""CRC-32C (Castagnoli), which Zarr's codec ``crc32c`` uses to protect chunks and shard indices.

Reading zeros changes a register linearly. So a value is cut into rows, and NumPy computes their registers
side by side. They are then combined through the effect of a row of zeros on each bit.
"""

from __future__ import annotations

from functools import cache, reduce
from typing import TYPE_CHECKING

from zarrstore._core.later import np

if TYPE_CHECKING:
    import numpy.typing as npt

    from zarrstore._core.types import Data

    Registers = npt.NDArray[np.uint32]

_POLYNOMIAL = 0x82F63B78  # bits reversed
_ROW = 512


def crc32c(data: Data) -> int:
    """Return the CRC-32C of a value."""
    whole = np.frombuffer(data, np.uint8)
    cut = len(whole) // _ROW * _ROW
    register = np.full(1, 0xFFFFFFFF, np.uint32)
    if cut:
        rows = whole[:cut].reshape(-1, _ROW)
        register[0] = _joined(int(register[0]), _read(np.zeros(len(rows), np.uint32), rows))
    return int(_read(register, whole[cut:].reshape(1, -1))[0]) ^ 0xFFFFFFFF


def _read(registers: Registers, rows: npt.NDArray[np.uint8]) -> Registers:
    """Update each register with its row."""
    table = _table()
    for column in np.ascontiguousarray(rows.T):
        registers = table[(registers ^ column) & np.uint32(0xFF)] ^ (registers >> np.uint32(8))
    return registers


def _joined(register: int, rows: Registers) -> int:
    """Return the register after all rows, given the register of each row alone."""
    low, second, third, high = _over_a_row()
    for row in rows.tolist():
        register = (
            low[register & 255]
            ^ second[register >> 8 & 255]
            ^ third[register >> 16 & 255]
            ^ high[register >> 24]
            ^ row
        )
    return register


@cache
def _table() -> Registers:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ (table & np.uint32(1)) * np.uint32(_POLYNOMIAL)
    return table


@cache
def _over_a_row() -> list[list[int]]:
    """Return the effect of a row of zeros on a register: for each of its bytes, by its value."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    images = _read(bits, np.zeros((32, _ROW), np.uint8)).tolist()
    return [
        [
            reduce(int.__xor__, [images[8 * place + bit] for bit in range(8) if byte >> bit & 1], 0)
            for byte in range(256)
        ]
        for place in range(4)
    ]
