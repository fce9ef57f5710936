"""CRC-32/MPEG-2 over 32-bit words, as Unitree's low-level messages carry it, computed by zlib.

Polynomial 0x04C11DB7, initial value 0xFFFFFFFF, no reflection, no final xor, words taken from their most
significant bit down. Source: ``crc32_core`` / ``__Crc32`` in unitreerobotics/unitree_sdk2_python @37116c52,
``unitree_sdk2py/utils/crc.py``.

zlib's CRC-32 has the same polynomial and start but is reflected and inverted at the end, hence:
most significant byte first, the bits of every byte reversed, ``zlib.crc32``, inverted, all 32 bits reversed.
"""

from __future__ import annotations

from zlib import crc32

import numpy as np
import numpy.typing as npt

REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Byte with its eight bits in reverse order, by byte; a table for ``bytes.translate``."""


def crc32_words(words: npt.NDArray[np.uint32]) -> int:
    """CRC-32/MPEG-2 of the words, each taken most significant bit first.

    Args:
        words: (n,) uint32, in the machine's (little-endian) order, any stride.
    """
    return crc32_most_significant_first(words.byteswap().tobytes())


def crc32_most_significant_first(data: bytes | bytearray) -> int:
    """CRC-32/MPEG-2 of a byte string, each byte taken most significant bit first."""
    reflected = crc32(data.translate(REVERSED_BITS)) ^ 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(REVERSED_BITS), "big")
