"""CRC-32C (Castagnoli), by which Zarr's codec ``crc32c`` protects chunks and the indices of shards.

A register that reads zeros changes linearly, so a value is cut into rows whose registers NumPy moves side
by side, and the rows' registers are joined by what a row of zeros does to each bit.
"""

from __future__ import annotations

from functools import cache, reduce
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from zarrstore._core.types import Data

    Registers = npt.NDArray[np.uint32]

_POLYNOMIAL = np.uint32(0x82F63B78)  # with its bits in reverse
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
    """Move each register over its row."""
    table = _table()
    for column in np.ascontiguousarray(rows.T):
        registers = table[(registers ^ column) & np.uint32(0xFF)] ^ (registers >> np.uint32(8))
    return registers


def _joined(register: int, rows: Registers) -> int:
    """Return the register after all rows, from what each row alone gives."""
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
        table = (table >> np.uint32(1)) ^ (table & np.uint32(1)) * _POLYNOMIAL
    return table


@cache
def _over_a_row() -> list[list[int]]:
    """What a row of zeros makes of a register: for each of its bytes, of each value of the byte."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    images = _read(bits, np.zeros((32, _ROW), np.uint8)).tolist()
    return [
        [
            reduce(int.__xor__, [images[8 * place + bit] for bit in range(8) if byte >> bit & 1], 0)
            for byte in range(256)
        ]
        for place in range(4)
    ]
