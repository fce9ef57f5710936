"""Shared memory between the processes of a run: plain files in /dev/shm, mapped.

A slot holds the newest record under a sequence lock, with a checksum so that a torn read is noticed even where stores
become visible out of order (ARM). A ring keeps the last records for the logger. Both carry the run's id: a file left by
an earlier run is never mistaken for this one.
"""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import Refused

HEADER = np.dtype([("magic", "<u8"), ("run", "<u8"), ("size", "<u8"), ("sequence", "<u8"), ("crc", "<u8")])
MAGIC = 0x544F4C5341584531
TRIES = 200
"""A writer is inside for a few microseconds; this many looks outlast it."""
Record = npt.NDArray[Any]


class _Shared:
    """A mapped file of a header and `count` records."""

    def __init__(self, path: Path, dtype: np.dtype[np.void], run: int, count: int, *, create: bool) -> None:
        size = HEADER.itemsize + dtype.itemsize * count
        if create:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            os.posix_fallocate(descriptor, 0, size)  # not ftruncate: a full /dev/shm must fail here, not as a SIGBUS
        else:
            descriptor = os.open(path, os.O_RDWR)
        try:
            if os.fstat(descriptor).st_size != size:
                raise Refused(f"shared memory {path.name}", expected=f"{size} bytes",
                              found=f"{os.fstat(descriptor).st_size}", what_to_do="start the whole run again")
            self._map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        header = np.frombuffer(self._map, HEADER, 1)
        if create:
            header["run"], header["size"], header["magic"] = run, dtype.itemsize, MAGIC
        elif header["magic"][0] != MAGIC or header["run"][0] != run or header["size"][0] != dtype.itemsize:
            raise Refused(f"shared memory {path.name}", expected=f"run {run:x}", found=f"run {int(header['run'][0]):x}",
                          what_to_do="it was left by another run: start the whole run again")
        self._sequence = header["sequence"]
        self._crc = header["crc"]
        self._body = np.frombuffer(self._map, np.uint8, dtype.itemsize * count, HEADER.itemsize)


class Slot(_Shared):
    """The newest record of one writer.

    Attributes:
        record: (1,) structured, this process's own copy: fill and `publish`, or `read` and look.
    """

    def __init__(self, path: Path, dtype: np.dtype[np.void], run: int, *, create: bool = False) -> None:
        super().__init__(path, dtype, run, 1, create=create)
        self.record: Record = np.zeros(1, dtype)
        self._bytes = self.record.view(np.uint8)
        self._staging = np.zeros_like(self._bytes)
        self._seen = 0

    def publish(self) -> None:
        """Make `record` the newest."""
        sequence = (int(self._sequence[0]) + 1) & ~1  # even, also after a writer that died inside
        self._sequence[0] = sequence + 1
        self._body[:] = self._bytes
        self._crc[0] = zlib.crc32(self._bytes.data)
        self._sequence[0] = sequence + 2

    @property
    def count(self) -> int:
        """How often the record read last was preceded by another, plus one: the writer's own count."""
        return self._seen // 2

    def read(self) -> bool:
        """Bring the newest record into `record`; False when there is none newer, or a writer died inside it."""
        for _ in range(TRIES):
            before = int(self._sequence[0])
            if before == self._seen:
                return False
            if before & 1:
                continue
            self._staging[:] = self._body
            crc = int(self._crc[0])
            if int(self._sequence[0]) == before and zlib.crc32(self._staging.data) == crc:
                self._bytes[:] = self._staging
                self._seen = before
                return True
        return False


class Ring(_Shared):
    """The last `count` records of one writer, for a reader that may be slow; the writer never waits.

    Attributes:
        record: (1,) structured, filled by the writer before `push`.
    """

    def __init__(
        self, path: Path, dtype: np.dtype[np.void], run: int, count: int, *, create: bool = False
    ) -> None:
        super().__init__(path, dtype, run, count, create=create)
        self.record: Record = np.zeros(1, dtype)
        self._bytes = self.record.view(np.uint8)
        self._rows = self._body.reshape(count, dtype.itemsize)
        self._count, self._read = count, 0
        self.lost = 0

    def push(self) -> None:
        """Append `record`."""
        at = int(self._sequence[0])
        self._rows[at % self._count] = self._bytes
        self._sequence[0] = at + 1

    def drain(self, take: Callable[[bytes], None]) -> int:
        """Hand every unread record's bytes to `take`, oldest first; counts the overwritten ones in `lost`."""
        end = int(self._sequence[0])
        if end - self._read > self._count:
            self.lost += end - self._count - self._read
            self._read = end - self._count
        first = self._read
        while self._read < end:
            row = self._rows[self._read % self._count].tobytes()
            if int(self._sequence[0]) - self._read < self._count:
                take(row)
            else:
                self.lost += 1
            self._read += 1
        return end - first
