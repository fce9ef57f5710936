"""Whose answer a question waits for on a bus with one pair of wires, and which drives have been silent for too long."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from firmware_bridge.masks import Mask, has_any

Rows = npt.NDArray[np.intp]
PATIENCE = 3
"""Questions: for a drive that answered none of these, others are not kept waiting."""
MOST_SILENT = 6
"""Questions: a drive that answers none of more may have lost its power meanwhile."""


class Turns:
    """The turns of one port's cycles.

    A protocol of questions and answers carries no number that tells an answer of this cycle from one of the last. So an
    answer counts only while its question is open, once: what comes later, or again, is dropped and counted.

    Attributes:
        late: answers that nobody waited for, counted.
        silent: (n,) questions in a row that each drive left open.
        is_trusted: (n,) bool, it has not been silent for long since `trust`; what has is told to do nothing.
    """

    def __init__(self, drives: int) -> None:
        self.late = 0
        self.silent = np.zeros(drives, np.int64)
        self.is_trusted = np.zeros(drives, np.bool_)
        self._open = np.zeros(drives, np.bool_)
        self._last = -1
        self._plan: Sequence[Rows] = ()
        self._asked: Rows = np.zeros(0, np.intp)
        self._has_heard = self._has_silent = False

    def plan(self, plan: Sequence[Rows]) -> None:
        """Which rows answer to each question of a cycle, in the order in which they answer."""
        self._plan = plan

    def begin(self, turn: int) -> None:
        """Question `turn` goes out; who has not answered the last has missed it."""
        if has_any(self._open):
            self.silent[self._open] += 1
            self._has_silent = True
            self.is_trusted &= self.silent <= MOST_SILENT
            self._open[:] = False
        self._asked = rows = self._plan[turn]
        self._has_heard = False
        self._open[rows] = True
        if len(rows) > 1 and self._has_silent:
            rows = rows[self.silent[rows] < PATIENCE]
        self._last = int(rows[-1]) if len(rows) else -1

    def take_one(self, row: int) -> bool:
        """Whether the answer of one row counts."""
        self._has_heard = True
        if not self._open[row]:
            self.late += 1
            return False
        self._open[row] = False
        self.silent[row] = 0
        return True

    def take(self, rows: Rows) -> Mask:
        """(m,) which of the answers of `rows` count."""
        if not self._has_heard and rows.tobytes() == self._asked.tobytes():  # the usual case: all of them, once
            self._has_heard = True
            self._open[rows], self.silent[rows] = False, 0
            self._has_silent &= len(rows) < len(self._open)
            return np.ones(len(rows), np.bool_)
        self._has_heard = True
        first = np.zeros(len(rows), np.bool_)
        first[np.unique(rows, return_index=True)[1]] = True
        good = self._open[rows] & first
        self.late += int(np.count_nonzero(~good))
        self._open[rows[good]] = False
        self.silent[rows[good]] = 0
        return good

    def unheard(self) -> Mask:
        """(n,) who has not answered the last question."""
        return self._open | (self.silent > 0)

    def is_answered(self) -> bool:
        """Whether nobody's answer is missing, or the last who still answers has: what is missing then is lost."""
        return not (has_any(self._open) if self._last < 0 else self._open[self._last])

    def trust(self, is_trusted: bool) -> None:
        """An operator's word on all drives: only this makes a drive that was silent for long move again."""
        self.is_trusted[:], self.silent[:] = is_trusted, 0
