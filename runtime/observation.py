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
from runtime.terms import TERMS, Source, TickInputs

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


class _Gather:
    """Terms that stand together: taken from the inputs in one go, then shifted, clipped and scaled."""

    def __init__(self, inputs: TickInputs, parts: list[_Part], out: F32) -> None:
        self._values, self._out = inputs.values, out
        self._index = np.concatenate([part.source.index for part in parts])
        self._minus = _joined([p.minus for p in parts], 0.0)
        self._scale = _joined([p.scale for p in parts], 1.0)
        low, high = _joined([p.low for p in parts], -np.inf), _joined([p.high for p in parts], np.inf)
        self._clip = None if low is None and high is None else (
            low if low is not None else np.float32(-np.inf), high if high is not None else np.float32(np.inf)
        )

    def fill(self) -> None:
        """Write the terms' values of this tick."""
        out = self._out
        np.take(self._values, self._index, out=out, mode="clip")
        if self._minus is not None:
            np.subtract(out, self._minus, out=out)
        if self._clip is not None:
            np.minimum(np.maximum(out, self._clip[0], out=out), self._clip[1], out=out)
        if self._scale is not None:
            np.multiply(out, self._scale, out=out)


@dataclass(frozen=True)
class _Part:
    """One term, ready to be gathered; arrays are (size,) float32."""

    label: str
    note: str
    source: Source
    minus: F32
    scale: F32
    low: F32
    high: F32
    history: History | None
    scope: frozenset[int] | None

    @property
    def width(self) -> int:
        """Numbers in the observation, history included."""
        return self.source.size * (self.history.length if self.history else 1)


def _joined(pieces: list[F32], neutral: float) -> F32 | None:
    whole = np.concatenate(pieces).astype(np.float32)
    return None if (whole == neutral).all() else whole


class Observation:
    """One model input.

    Args:
        blocks: checked block dictionaries of the manifest.
        inputs: what terms read.
        joints: names in policy order (for `zero_joints`).
        out: where to build it, when that fits: the model's own input, so that nothing need be copied.

    Attributes:
        values: (size,) float32.
        rows: where each term stands.
    """

    def __init__(
        self, blocks: list[dict[str, Any]], inputs: TickInputs, joints: tuple[str, ...], out: F32 | None = None
    ) -> None:
        self._inputs, self._joints = inputs, joints
        plans = [self._plan(block) for block in blocks]
        widths = [sum(part.width for part in parts) for parts in plans]
        sizes = {block.get("name"): width for block, width in zip(blocks, widths, strict=True)}
        totals = [self._block_size(block, width, sizes) for block, width in zip(blocks, widths, strict=True)]
        places = [sum(totals[:i]) for i in range(len(totals))]
        self.rows: list[Row] = []
        fits = out is not None and out.shape == (sum(totals),) and out.dtype == np.float32
        self.values: F32 = out if out is not None and fits else np.zeros(sum(totals), np.float32)
        self._gathers: list[_Gather] = []
        self._pushes: list[Callable[[], None]] = []
        self._firsts: list[Callable[[], None]] = []
        self._comes: list[tuple[F32, frozenset[int]]] = []
        frames: dict[str, F32] = {}
        for block, parts, width, start in zip(blocks, plans, widths, places, strict=True):
            if "terms" in block:
                self._lay_block(block, parts, width, start, frames)
        for block, start in zip(blocks, places, strict=True):
            if "past_of" in block:
                self._lay_past(block, frames[block["past_of"]], start)
        self.rows.sort(key=lambda row: row.start)
        self._silent = {
            mode: [view for view, modes in self._comes if mode not in modes]
            for mode in (inputs.modes.values() if self._comes else ())
        }
        self._fresh = True

    def reset(self) -> None:
        """Forget every history."""
        self.values[:] = 0
        self._fresh = True

    def fill(self) -> None:
        """Build the observation of this tick; the inputs' derived places must be up to date."""
        for push in self._pushes:
            push()
        for gather in self._gathers:
            gather.fill()
        if self._fresh:
            self._fresh = False
            for first in self._firsts:
                first()
        if self._silent:
            for view in self._silent[int(self._inputs.mode[0])]:
                view[:] = 0

    def _plan(self, block: dict[str, Any]) -> list[_Part]:
        terms = block.get("terms", [])
        if block.get("sort") == "label":
            terms = sorted(terms, key=lambda term: str(term.get("label", term["term"])))
        return [self._part(term, term.get("modes", block.get("modes"))) for term in terms]

    def _part(self, term: dict[str, Any], modes: list[str] | None) -> _Part:
        kind, known = TERMS[term["term"]], self._inputs.modes
        self._inputs.scope = None if modes is None else frozenset(known[name] for name in modes)
        source = kind.make(self._inputs, kind.full(term))
        scope, self._inputs.scope = self._inputs.scope, None
        size = source.size
        scale = np.asarray(term.get("scale", 1.0), np.float32)
        if scale.ndim and scale.shape != (size,):
            raise Refused(f"scale of term {term['term']}", expected=f"one number or {size}", found=f"{scale.size}",
                          what_to_do="correct the manifest")
        scale = np.broadcast_to(scale, (size,)).copy()
        zero = self._zeroed(term, size)
        if zero is not None:
            scale[zero] = 0
        low, high = term.get("clip", (-np.inf, np.inf))
        note = f"x {term['scale']}" if "scale" in term else ""
        history = history_from(term["history"]) if "history" in term else None
        if history is not None:
            note += f" history {history.length}"
        if modes is not None:
            note += f" in {', '.join(modes)}" if modes else " never"
        return _Part(
            str(term.get("label", term["term"])), note.strip(), source,
            np.zeros(size, np.float32) if source.minus is None else source.minus, scale,
            np.full(size, low, np.float32), np.full(size, high, np.float32), history, scope,
        )

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
            return int(sizes[block["past_of"]] * history_from(block).length)
        return size * (history_from(block["history"]).length if "history" in block else 1)

    def _lay_block(
        self, block: dict[str, Any], parts: list[_Part], width: int, start: int, frames: dict[str, F32]
    ) -> None:
        frame = self.values[start : start + width]
        if "history" in block:
            history = history_from(block["history"])
            rows = self.values[start : start + width * history.length].reshape(history.length, width)
            frame = history.newest(rows)
            self._keep(history, rows, frame)
            start += 0 if history.newest_first else width * (history.length - 1)
        frames[str(block.get("name"))] = frame
        together: list[_Part] = []
        place = 0
        for part in parts:
            self.rows.append(Row(part.label, start + place, part.width, part.note))
            if part.scope is not None:
                self._comes.append((frame[place : place + part.width], part.scope))
            if part.history is None:
                together.append(part)
            else:
                self._gather(together, frame, place)
                rows = frame[place : place + part.width].reshape(part.history.length, part.source.size)
                newest = part.history.newest(rows)
                self._keep(part.history, rows, newest, inner=True)
                self._gathers.append(_Gather(self._inputs, [part], newest))
            place += part.width
        self._gather(together, frame, place)

    def _gather(self, together: list[_Part], frame: F32, end: int) -> None:
        """Gather the terms that stand before `end` without a history of their own; empties the list."""
        if together:
            width = sum(part.width for part in together)
            self._gathers.append(_Gather(self._inputs, together, frame[end - width : end]))
            together.clear()

    def _keep(self, history: History, rows: F32, newest: F32, *, inner: bool = False) -> None:
        self._pushes.append(lambda: history.push(rows))
        if history.repeat_first:  # a term's own history first: the block's repeats a whole frame
            place = 0 if inner else len(self._firsts)
            self._firsts.insert(place, lambda: rows.__setitem__(slice(None), newest.copy()))

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


def history_from(data: dict[str, Any]) -> History:
    """A history of the manifest: {length, order: oldest_first | newest_first, fill: zeros | repeat}."""
    order, fill = data.get("order", "oldest_first"), data.get("fill", "zeros")
    length = data.get("length")
    if order not in ("oldest_first", "newest_first") or fill not in ("zeros", "repeat"):
        raise Refused("history", expected="order oldest_first or newest_first, fill zeros or repeat",
                      found=f"{order}, {fill}", what_to_do="correct the manifest")
    if isinstance(length, bool) or not isinstance(length, int) or not 1 <= length <= 1000:
        raise Refused("history", expected="length from 1 to 1000", found=f"{length!r}",
                      what_to_do="correct the manifest")
    return History(length, order == "newest_first", fill == "repeat")


def describe(observation: Observation) -> str:
    """The input as a table of `start size label`, for refusals and cards."""
    lines = [f"  {row.start:5d} {row.size:5d}  {row.label} {row.note}".rstrip() for row in observation.rows]
    return "\n".join([*lines, f"  total {observation.values.size}"])
