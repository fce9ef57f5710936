"""The header of constants that the C far end of our link includes, made from the codec so that they cannot part.

`python -m firmware_bridge.drives.mcu_constants` writes it anew; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from firmware_bridge.drives import mcu_link
from firmware_bridge.drives.mcu_link import CRC_BYTES, HEADER, HELLO, MOST_MOTORS, MOTOR_STATE, TAIL

PATH = Path(__file__).parents[1] / "mcu" / "exo_link_constants.h"
TARGET_BYTES = 20
_POLYNOMIAL = 0xEDB88320


def crc_table() -> list[int]:
    """CRC-32 (zlib's) of each half byte."""
    table = []
    for value in range(16):
        for _ in range(4):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


def most_plain() -> int:
    """Bytes of the longest frame before it is stuffed."""
    bodies = (TARGET_BYTES * MOST_MOTORS, MOTOR_STATE.itemsize * MOST_MOTORS + TAIL.itemsize, HELLO.itemsize)
    return HEADER.itemsize + max(bodies) + CRC_BYTES


def header() -> str:
    """The whole file."""
    return "\n".join([
        "/* Made from firmware_bridge/drives/mcu_link.py by `python -m firmware_bridge.drives.mcu_constants`: "
        "change that. */",
        "#ifndef EXO_LINK_CONSTANTS_H", "#define EXO_LINK_CONSTANTS_H", "",
        *(f"#define {name} {value}" for name, value in _numbers()), "",
        "#define EXO_CRC_TABLE { \\", *_rows(crc_table()), "}", "", "#endif", "",
    ])


def _rows(table: list[int]) -> Iterator[str]:
    for begin in range(0, len(table), 4):
        row = ", ".join(f"0x{value:08X}u" for value in table[begin : begin + 4])
        yield f"    {row}{'' if begin + 4 == len(table) else ','} \\"


def _numbers() -> Iterator[tuple[str, str]]:
    yield "EXO_VERSION", f"{mcu_link.VERSION}u"
    yield "EXO_MOST_MOTORS", f"{MOST_MOTORS}u"
    most = most_plain()
    yield "EXO_MOST_PLAIN", f"{most}u"
    yield "EXO_MOST_FRAME", f"{most + 1 + most // 254 + 1}u"
    yield "EXO_CRC_BYTES", f"{CRC_BYTES}u"
    yield "EXO_TARGET_BYTES", f"{TARGET_BYTES}u"
    for name, layout in (("HEADER", HEADER), ("HELLO", HELLO), ("MOTOR", MOTOR_STATE), ("TAIL", TAIL)):
        yield f"EXO_{name}_BYTES", f"{layout.itemsize}u"
        yield from ((f"EXO_{name}_{part.upper()}", f"{offset}u") for part, offset in _offsets(layout))
    for prefix, members in (("KIND", mcu_link.Kind), ("MODE", mcu_link.LinkMode), ("FAULT", mcu_link.MotorFault)):
        yield from ((f"EXO_{prefix}_{member.name}", f"{int(member)}u") for member in members)
    for name in ("LEAST_WATCHDOG_MS", "USUAL_WATCHDOG_MS", "MOST_WATCHDOG_MS"):
        yield f"EXO_{name}", f"{getattr(mcu_link, name)}u"
    yield "EXO_DAMPING", f"{mcu_link.DAMPING}f"


def _offsets(layout: np.dtype[np.void]) -> Iterator[tuple[str, int]]:
    assert layout.names is not None and layout.fields is not None
    for part in layout.names:
        yield part, int(layout.fields[part][1])


if __name__ == "__main__":
    PATH.write_text(header(), encoding="ascii")
