"""Model inputs laid out as their manifest says: one buffer an input, terms and histories are views into it.

A block is a list of terms, written one after the other. Histories come in the two forms in use: a term may keep its own
(`history` on the term: its values at successive ticks stand together), or a block may (`history` on the block: whole
frames stand together). A block may also be the past of another (`past_of`): frames before, without, the current one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import Refused
from runtime.terms import TERMS, TickInputs

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class History:
    """How many ticks, in which order, and what stands there before the first."""

    length: int
    newest_first: bool
    repeat_first: bool

    def push(self, rows: F32) -> None:
        """Make room for a new row in (length, size)."""
        if self.newest_first:
            rows[1:] = rows[:-1].copy()
        else:
            rows[:-1] = rows[1:].copy()

    def newest(self, rows: F32) -> F32:
        """The row of the present tick."""
        return np.asarray(rows[0] if self.newest_first else rows[-1])


@dataclass(frozen=True)
class Row:
    """One line of the input table: for cards, errors and logs."""

    label: str
    start: int
    size: int
    note: str


class Observation:
    """One model input.

    Args:
        blocks: checked block dictionaries of the manifest.
        inputs: what terms read.
        joints: names in policy order (for `zero_joints`).

    Attributes:
        values: (size,) float32, the buffer to bind.
        rows: where each term stands.
    """

    def __init__(self, blocks: list[dict[str, Any]], inputs: TickInputs, joints: tuple[str, ...]) -> None:
        self._inputs, self._joints = inputs, joints
        plans = [self._plan(block) for block in blocks]
        sizes = {block.get("name"): size for block, (size, _) in zip(blocks, plans, strict=True)}
        self.rows: list[Row] = []
        total = 0
        places: list[int] = []
        for block, (size, _) in zip(blocks, plans, strict=True):
            places.append(total)
            total += self._block_size(block, size, sizes)
        self.values = np.zeros(total, np.float32)
        self._fills: list[Callable[[], None]] = []
        self._pushes: list[Callable[[], None]] = []
        self._firsts: list[Callable[[], None]] = []
        frames: dict[str, F32] = {}
        for block, (size, terms), start in zip(blocks, plans, places, strict=True):
            if "terms" in block:
                self._lay_block(block, size, terms, start, frames)
        for block, start in zip(blocks, places, strict=True):
            if "past_of" in block:
                self._lay_past(block, frames[block["past_of"]], start)
        self._fresh = True

    def reset(self) -> None:
        """Forget every history."""
        self.values[:] = 0
        self._fresh = True

    def fill(self) -> None:
        """Build the observation of this tick."""
        for push in self._pushes:
            push()
        for fill in self._fills:
            fill()
        if self._fresh:
            self._fresh = False
            for first in self._firsts:
                first()

    def _plan(self, block: dict[str, Any]) -> tuple[int, list[tuple[dict[str, Any], int, Callable[[F32], None]]]]:
        planned = []
        terms = block.get("terms", [])
        if block.get("sort") == "label":
            terms = sorted(terms, key=lambda term: str(term.get("label", term["term"])))
        for term in terms:
            size, fill = self._make(term)
            length = term.get("history", {}).get("length", 1)
            planned.append((term, size * length, fill))
        return sum(size for _, size, _ in planned), planned

    def _make(self, term: dict[str, Any]) -> tuple[int, Callable[[F32], None]]:
        kind = TERMS[term["term"]]
        settings = {key: term.get(key, default) for key, default in kind.settings.items()}
        size, inner = kind.make(self._inputs, settings)
        scale = np.asarray(term.get("scale", 1.0), np.float32)
        if scale.ndim and scale.shape != (size,):
            raise Refused(f"scale of term {term['term']}", expected=f"one number or {size}", found=f"{scale.size}",
                          what_to_do="correct the manifest")
        zero = self._zeroed(term, size)
        limits = term.get("clip")
        if limits is None and zero is None and (scale == 1).all():
            return size, inner

        def fill(out: F32) -> None:
            inner(out)
            if limits is not None:
                np.clip(out, limits[0], limits[1], out=out)
            np.multiply(out, scale, out=out)
            if zero is not None:
                out[zero] = 0

        return size, fill

    def _zeroed(self, term: dict[str, Any], size: int) -> npt.NDArray[np.intp] | None:
        names = term.get("zero_joints", [])
        if not names:
            return None
        unknown = [name for name in names if name not in self._joints]
        if unknown or size != len(self._joints):
            raise Refused(f"zero_joints of term {term['term']}", expected="joints of the controller",
                          found=", ".join(unknown) or "a term that is not one value a joint",
                          what_to_do="correct the manifest")
        return np.array([self._joints.index(name) for name in names], np.intp)

    @staticmethod
    def _block_size(block: dict[str, Any], size: int, sizes: dict[str | None, int]) -> int:
        if "past_of" in block:
            if block["past_of"] not in sizes:
                raise Refused("past_of", expected="the `name` of another block", found=f"{block['past_of']}",
                              what_to_do="name the block whose past this is")
            return int(sizes[block["past_of"]] * block["length"])
        return int(size * block.get("history", {}).get("length", 1))

    def _lay_block(
        self,
        block: dict[str, Any],
        size: int,
        terms: list[tuple[dict[str, Any], int, Callable[[F32], None]]],
        start: int,
        frames: dict[str, F32],
    ) -> None:
        frame = self.values[start : start + size]
        if "history" in block:
            history = history_from(block["history"])
            rows = self.values[start : start + size * history.length].reshape(history.length, size)
            frame = history.newest(rows)
            self._keep(history, rows, frame)
            start += 0 if history.newest_first else size * (history.length - 1)
        frames[str(block.get("name"))] = frame
        place = 0
        for term, width, fill in terms:
            view = frame[place : place + width]
            note = f"x {term['scale']}" if "scale" in term else ""
            if "history" in term:
                history = history_from(term["history"])
                rows = view.reshape(history.length, width // history.length)
                view = history.newest(rows)
                self._keep(history, rows, view)
                note += f" history {history.length}"
            self.rows.append(Row(str(term.get("label", term["term"])), start + place, width, note.strip()))
            self._fills.append(_bind(fill, view))
            place += width

    def _keep(self, history: History, rows: F32, newest: F32) -> None:
        self._pushes.append(lambda: history.push(rows))
        if history.repeat_first:
            self._firsts.append(lambda: rows.__setitem__(slice(None), newest.copy()))

    def _lay_past(self, block: dict[str, Any], frame: F32, start: int) -> None:
        history = history_from(block)
        rows = self.values[start : start + frame.size * history.length].reshape(history.length, frame.size)
        newest = history.newest(rows)
        self.rows.append(Row(f"past of {block['past_of']}", start, rows.size, f"history {history.length}"))

        def push() -> None:
            history.push(rows)
            newest[:] = frame

        self._pushes.insert(0, push)
        if history.repeat_first:
            self._firsts.append(lambda: rows.__setitem__(slice(None), frame))


def _bind(fill: Callable[[F32], None], view: F32) -> Callable[[], None]:
    return lambda: fill(view)


def history_from(data: dict[str, Any]) -> History:
    """A history of the manifest: {length, order: oldest_first | newest_first, fill: zeros | repeat}."""
    order, fill = data.get("order", "oldest_first"), data.get("fill", "zeros")
    length = data.get("length")
    if order not in ("oldest_first", "newest_first") or fill not in ("zeros", "repeat"):
        raise Refused("history", expected="order oldest_first or newest_first, fill zeros or repeat",
                      found=f"{order}, {fill}", what_to_do="correct the manifest")
    if not isinstance(length, int) or not 1 <= length <= 1000:
        raise Refused("history", expected="length from 1 to 1000", found=f"{length}",
                      what_to_do="correct the manifest")
    return History(length, order == "newest_first", fill == "repeat")


def describe(observation: Observation) -> str:
    """The input as a table of `start size label`, for refusals and cards."""
    lines = [f"  {row.start:5d} {row.size:5d}  {row.label} {row.note}".rstrip() for row in observation.rows]
    return "\n".join([*lines, f"  total {observation.values.size}"])
