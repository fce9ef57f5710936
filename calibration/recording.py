"""What a routine has recorded: rows, and the named stretches of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from runtime.errors import Refused
from runtime.records import Dtype, routine_dtype

Rows = npt.NDArray[np.void]
WHOLE = "*"
"""Name of the step that is finished when all are."""


def recording_dtype(motors: int) -> Dtype:
    """One tick, `runtime.records.routine_dtype`."""
    return routine_dtype(motors)


@dataclass
class Recording:
    """What was seen: (ticks,) of `recording_dtype`, and named stretches of it, from and to."""

    rows: npt.NDArray[np.void]
    stretches: dict[str, tuple[int, int]] = field(default_factory=dict)

    def of(self, name: str) -> npt.NDArray[np.void]:
        """The rows of one stretch, each state once."""
        start, end = self.stretches[name]
        rows = self.rows[start:end]
        return rows[np.concatenate([[True], np.diff(rows["sequence"].astype(np.int64)) > 0])] if len(rows) else rows

    def named(self, prefix: str) -> list[str]:
        """The stretches whose names begin so, in order."""
        return [name for name in self.stretches if name.startswith(prefix)]


def name_of(row: np.void) -> str:
    """Of a row's stretch or step."""
    return bytes(row["name"]).rstrip(b"\0").decode("ascii", "replace")


def split(rows: Rows) -> tuple[Recording, list[str]]:
    """Rows as they were recorded: the recording, and the steps that were finished.

    Raises:
        Refused: records are missing.
    """
    lost = int(rows["number"][-1]) - len(rows) if len(rows) else 0
    if lost:
        raise Refused("raw recording", expected="every record", found=f"{lost} lost on their way to the file",
                      what_to_do="take load from this computer, then repeat")
    is_mark = rows["stretch"] == 0
    steps = [name_of(row) for row in rows[is_mark]]
    kept = rows[~is_mark]
    starts = np.flatnonzero(np.diff(kept["stretch"], prepend=0))
    ends = [*starts[1:].tolist(), len(kept)][: len(starts)]
    return Recording(kept, {name_of(kept[start]): (start, end)
                            for start, end in zip(starts.tolist(), ends, strict=True)}), steps
