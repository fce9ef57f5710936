"""Animated GIFs of our own: one palette for all frames, only what changes is drawn again (GIF89a)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.errors import Refused

Image = npt.NDArray[np.uint8]
COLOURS = 255
TRANSPARENT = 255
"""The palette's last place: a pixel that stays as it was."""
_MOST_CODES = 4096


def save_gif(path: Path, frames: Sequence[Image], fps: float) -> None:
    """Frames (h, w, 3) of equal shape, for ever again.

    The format counts in hundredths of a second, and 2/100 s is the least that browsers keep: 50 frames a second.

    Raises:
        Refused: no frames, or of different shapes.
    """
    if not frames or len({frame.shape for frame in frames}) != 1 or frames[0].shape[2:] != (3,):
        raise Refused("gif", expected="frames (h, w, 3) of one shape", found=f"{len(frames)} frames",
                      what_to_do="render them at one size")
    height, width, _ = frames[0].shape
    palette, lookup = _palette(frames)
    out = [b"GIF89a", struct.pack("<HHBBB", width, height, 0xF7, 0, 0), palette.tobytes(),
           b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"]
    delay = max(2, round(100 / fps))
    before: Image | None = None
    for frame in frames:
        indices = lookup[_bins(frame)]
        drawn = indices if before is None else np.where(indices == before, np.uint8(TRANSPARENT), indices)
        out += [b"\x21\xf9\x04", struct.pack("<BHB", 0x05, delay, TRANSPARENT), b"\x00",
                b"\x2c", struct.pack("<HHHHB", 0, 0, width, height, 0), b"\x08",
                _blocks(_packed(drawn.tobytes())), b"\x00"]
        before = indices
    Path(path).write_bytes(b"".join([*out, b"\x3b"]))


def _bins(frame: Image) -> npt.NDArray[np.intp]:
    """(h, w) of 32768 colours: five bits of each channel."""
    high = (frame >> 3).astype(np.intp)
    return np.asarray(high[..., 0] << 10 | high[..., 1] << 5 | high[..., 2])


def _palette(frames: Sequence[Image]) -> tuple[Image, Image]:
    """(256, 3) colours, and the nearest of them for each of the 32768."""
    counts = np.zeros(1 << 15, np.int64)
    for frame in frames:
        counts += np.bincount(_bins(frame).reshape(-1), minlength=1 << 15)
    often = np.argsort(counts, kind="stable")[::-1][:COLOURS]
    every = np.arange(1 << 15)
    rgb = np.stack([every >> 10, every >> 5 & 31, every & 31], axis=1) * 8 + 4
    palette = np.zeros((256, 3), np.uint8)
    palette[:COLOURS] = rgb[often]
    used = np.flatnonzero(counts)
    lookup = np.zeros(1 << 15, np.uint8)
    for part in np.array_split(used, max(len(used) // 1024, 1)):
        off = ((rgb[part][:, None] - rgb[often][None]) ** 2).sum(axis=2)
        lookup[part] = off.argmin(axis=1)
    return palette, lookup


def _packed(indices: bytes) -> bytes:
    """LZW as GIF has it: codes of 9 to 12 bits, least significant bit first; 256 clears, 257 ends."""
    clear, end = 256, 257
    out, bits, held = bytearray(), 0, 0
    table: dict[tuple[int, int], int] = {}
    following, width = 258, 9

    def put(code: int) -> None:
        nonlocal bits, held
        held |= code << bits
        bits += width
        while bits >= 8:
            out.append(held & 255)
            held >>= 8
            bits -= 8

    put(clear)
    prefix = indices[0]
    for value in indices[1:]:
        known = table.get((prefix, value))
        if known is not None:
            prefix = known
            continue
        put(prefix)
        table[prefix, value] = following
        if following == 1 << width and width < 12:
            width += 1
        following += 1
        if following == _MOST_CODES:
            put(clear)
            table.clear()
            following, width = 258, 9
        prefix = value
    put(prefix)
    if following == 1 << width and width < 12:
        width += 1
    put(end)
    if bits:
        out.append(held & 255)
    return bytes(out)


def _blocks(data: bytes) -> bytes:
    parts = [data[i : i + 255] for i in range(0, len(data), 255)]
    return b"".join(bytes([len(part)]) + part for part in parts)
