"""Mutants of valid inputs, seeded: bytes flipped, cut, doubled, spliced, numbers and tokens exchanged."""

from __future__ import annotations

import random
from collections.abc import Iterator

TOKENS = (b"NaN", b"Infinity", b"-1", b"0", b"1e999", b"null", b"[]", b"{}", b'""', b"true", b"..", b"/", b"\x00",
          b"\xff\xff\xff\xff", b"\x00\x00\x80\x7f", b"\x00\x00\xc0\x7f", b"9" * 30, b"[" * 200)


def mutants(seeds: list[bytes], seed: int) -> Iterator[bytes]:
    """Without end; the first ones are the seeds themselves."""
    yield from seeds
    dice = random.Random(seed)
    while True:
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.choice((1, 1, 1, 2, 4, 16))):
            data = _changed(dice, data, seeds)
        yield bytes(data)


def _changed(dice: random.Random, data: bytearray, seeds: list[bytes]) -> bytearray:
    at = dice.randrange(len(data) + 1)
    far = min(len(data), at + dice.choice((1, 2, 4, 8, 64, 1024)))
    kind = dice.randrange(7)
    if kind == 0 and data:
        data[min(at, len(data) - 1)] ^= 1 << dice.randrange(8)
    elif kind == 1 and data:
        data[min(at, len(data) - 1)] = dice.randrange(256)
    elif kind == 2:
        del data[at:far]
    elif kind == 3:
        data[at:at] = data[at:far]
    elif kind == 4:
        data[at:far] = dice.choice(TOKENS)
    elif kind == 5:
        other = dice.choice(seeds)
        start = dice.randrange(len(other) + 1)
        data[at:far] = other[start : start + dice.choice((4, 64, 1024))]
    else:
        del data[at:]
    return data
