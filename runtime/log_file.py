"""Run logs: MCAP with fixed-size records, so that any MCAP viewer plots them and we read them back as numpy arrays.

Written without chunks or compression: a killed process loses at most its last records, and `read_log` reads what is
there even when the end of the file is missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from mcap.records import Channel, Message, Metadata, Schema
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, Writer

CDR_LITTLE_ENDIAN = b"\x00\x01\x00\x00"
_ROS = {"i1": "int8", "u1": "uint8", "i2": "int16", "u2": "uint16", "i4": "int32", "u4": "uint32", "i8": "int64",
        "u8": "uint64", "f4": "float32", "f8": "float64"}


def message_definition(dtype: np.dtype[Any]) -> str:
    """The dtype as a ROS 2 message definition; matrices become flat arrays, row by row."""
    lines = []
    for name in dtype.names or ():
        kind = dtype[name]
        base, shape = kind.subdtype if kind.subdtype else (kind, ())
        size = f"[{int(np.prod(shape))}]" if shape else ""
        lines.append(f"{_ROS[base.str[1:]]}{size} {name}")
    return "\n".join(lines)


class LogWriter:
    """An MCAP file with one channel a record type."""

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        self._file = path.open("wb", buffering=1 << 16)
        self._writer = Writer(self._file, compression=CompressionType.NONE, use_chunking=False)
        self._writer.start(profile="", library="exoactor")
        self._writer.add_metadata("run", {"json": json.dumps(dict(about))})
        self._channels: dict[str, int] = {}
        self._sequence = 0
        self.written = 0

    def add_channel(self, topic: str, dtype: np.dtype[Any]) -> None:
        """Announce a topic; every record of it has this dtype, its first field the time in monotonic ns."""
        schema = self._writer.register_schema(
            f"exoactor/msg/{topic.title().replace('_', '')}", "ros2msg", message_definition(dtype).encode()
        )
        layout = json.dumps(np.lib.format.dtype_to_descr(dtype))
        self._channels[topic] = self._writer.register_channel(topic, "cdr", schema, metadata={"numpy": layout})

    def write(self, topic: str, record: bytes) -> None:
        """Append one record's bytes."""
        now = int.from_bytes(record[:8], "little")
        self._sequence += 1
        self._writer.add_message(
            self._channels[topic], log_time=now, publish_time=now, sequence=self._sequence,
            data=CDR_LITTLE_ENDIAN + record,
        )
        self.written += len(record)

    def flush(self) -> None:
        """Hand what is buffered to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Write the summary and close."""
        self._writer.finish()  # type: ignore[no-untyped-call]
        self._file.close()


@dataclass
class Log:
    """A log read back: what the run was, and a structured array a topic."""

    about: dict[str, Any] = field(default_factory=dict)
    topics: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    complete: bool = True


def read_log(path: Path) -> Log:
    """Everything that can be read of a log; `complete` is False when its end or a part of a record is missing."""
    log = Log()
    dtypes: dict[int, tuple[str, np.dtype[Any]]] = {}
    rows: dict[str, list[bytes]] = {}
    with path.open("rb") as file:
        try:
            for record in StreamReader(file, record_size_limit=1 << 24).records:
                if isinstance(record, Message):
                    rows[dtypes[record.channel_id][0]].append(record.data[4:])
                elif isinstance(record, Channel):
                    descr = json.loads(record.metadata["numpy"])
                    dtypes[record.id] = (record.topic, _plain(np.lib.format.descr_to_dtype(_tuples(descr))))
                    rows.setdefault(record.topic, [])
                elif isinstance(record, Metadata) and record.name == "run":
                    log.about = json.loads(record.metadata["json"])
                elif isinstance(record, Schema):
                    continue
        except Exception:  # the reader raises struct, EOF and its own errors on a cut file
            log.complete = False
    for topic, dtype in dtypes.values():
        whole = [row for row in rows[topic] if len(row) == dtype.itemsize]
        log.complete &= len(whole) == len(rows[topic])
        log.topics[topic] = np.frombuffer(b"".join(whole), dtype)
    return log


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """A record of numbers; ValueError for one with objects or of no size."""
    if dtype.hasobject or dtype.itemsize == 0:
        raise ValueError(f"{dtype} holds no plain numbers")
    return dtype


def _tuples(descr: list[Any]) -> list[Any]:
    return [tuple(tuple(part) if isinstance(part, list) else part for part in row) for row in descr]
