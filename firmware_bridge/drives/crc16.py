"""Two CRC-16 over many frames of one length at once, and over bytes of any length.

A CRC is affine over XOR: that of a frame is the XOR of one table entry a byte and position with that of a frame of
zeros. So n frames take one look-up and one reduction (about twice as fast as a loop from a dozen frames on).
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]


_MIRRORED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def _straight(polynomial: int) -> list[int]:
    table = []
    for value in range(256):
        value <<= 8
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value & 0x8000 else 0)) & 0xFFFF
        table.append(value)
    return table


def _of_words(table: list[int]) -> list[int]:
    """The CRC of each pair of bytes, so that a loop takes two bytes at a time."""
    single, words = np.array(table, np.uint32), np.arange(65536, dtype=np.uint32)
    first = single[words >> 8]
    out: list[int] = ((first << 8 ^ single[(first >> 8 ^ words) & 0xFF]) & 0xFFFF).tolist()
    return out


_BUYPASS = _straight(0x8005)
_BUYPASS_WORDS = _of_words(_BUYPASS)


def kermit(data: bytes) -> int:
    """CRC-16/KERMIT: polynomial 0x1021 reflected, start 0; the standard library's XMODEM with every byte mirrored."""
    crc = binascii.crc_hqx(data.translate(_MIRRORED), 0)
    return _MIRRORED[crc & 0xFF] << 8 | _MIRRORED[crc >> 8]


def buypass(data: bytes, crc: int = 0) -> int:
    """CRC-16/BUYPASS: polynomial 0x8005, start 0 or a CRC so far, highest bit first (Dynamixel protocol 2.0)."""
    for word in struct.unpack_from(f">{len(data) // 2}H", data):
        crc = _BUYPASS_WORDS[crc ^ word]
    if len(data) & 1:
        crc = (crc << 8 ^ _BUYPASS[crc >> 8 ^ data[-1]]) & 0xFFFF
    return crc


def xmodem(data: bytes) -> int:
    """CRC-16/XMODEM, the standard library's."""
    return binascii.crc_hqx(data, 0)


class CrcOfFrames:
    """Such a CRC of many frames of `length` bytes."""

    def __init__(self, length: int, crc: Callable[[bytes], int]) -> None:
        self._zero = crc(bytes(length))
        self._table = np.array(
            [crc(bytes(at) + bytes([value]) + bytes(length - at - 1)) ^ self._zero for at in range(length)
             for value in range(256)], "<u2")
        self._places = np.arange(length) * 256

    def of(self, frames: U8) -> U16:
        """(n,) CRCs of (n, length) bytes."""
        return np.asarray(np.bitwise_xor.reduce(self._table.take(frames + self._places), axis=1) ^ self._zero)


class KermitOfFrames(CrcOfFrames):
    """CRC-16/KERMIT of many frames."""

    def __init__(self, length: int) -> None:
        super().__init__(length, kermit)


class BuypassOfFrames(CrcOfFrames):
    """CRC-16/BUYPASS of many frames."""

    def __init__(self, length: int) -> None:
        super().__init__(length, buypass)
