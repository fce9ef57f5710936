"""The raw recording of a routine, read back: from one file, or from those of a routine that was interrupted.

What a fit uses is always what stands in the file, never what a process remembers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from calibration.recording import Recording, Rows, split
from runtime.errors import Refused
from runtime.log_file import read_log

TOPIC = "routine"


def finished_part(rows: Rows) -> Rows:
    """Of an interrupted recording, what stays good: all up to the last step that was finished."""
    marks = np.flatnonzero(rows["stretch"] == 0)
    return rows[: int(marks[-1]) + 1] if len(marks) else rows[:0]


def joined(parts: Sequence[Recording]) -> Recording:
    """Several parts as one; of a stretch that stands in more than one the newest counts."""
    stretches: dict[str, tuple[int, int]] = {}
    offset = 0
    for part in parts:
        for name, (start, end) in part.stretches.items():
            stretches.pop(name, None)  # its place in the order is the newest too
            stretches[name] = (start + offset, end + offset)
        offset += len(part.rows)
    return Recording(np.concatenate([part.rows for part in parts]), stretches)


def read_rows(path: Path) -> Rows:
    """The routine's records in a file, however it ended.

    Raises:
        Refused: no such file, or none of a routine.
    """
    try:
        topics = read_log(path).topics
    except OSError as error:
        raise Refused(f"{path.name}", expected="a readable recording", found=str(error),
                      what_to_do="repeat the routine") from error
    if TOPIC not in topics:
        raise Refused(f"{path.name}", expected=f"records of topic {TOPIC}", found=", ".join(topics) or "nothing",
                      what_to_do="repeat the routine")
    return topics[TOPIC]


def read_recording(path: Path, earlier: Iterable[Path] = ()) -> Recording:
    """The whole recording: a file, after what stays good of earlier parts.

    Raises:
        Refused: see `split`.
    """
    parts = [split(finished_part(read_rows(part)))[0] for part in earlier]
    return joined([*parts, split(read_rows(path))[0]])


def finished_steps(paths: Iterable[Path]) -> list[str]:
    """The steps that interrupted recordings finished."""
    return [step for path in paths for step in split(finished_part(read_rows(path)))[1]]


def sha256(path: Path) -> str:
    """Of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
