"""What `exoactor motion check` found: a row a check, with its value, its limit and where in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from export.motion.check_limits import CHECKS, Check

OK, ADVICE, REFUSED = "ok", "advice", "refused"
SCHEMA = "exoactor-motion-check/1"


@dataclass(frozen=True)
class Finding:
    """One check's result.

    Attributes:
        check: its name in `rows`.
        value: measured; None where it could not be.
        limit: the one passed, or the nearest that was not.
        verdict: OK, ADVICE or REFUSED.
        frames: first and last concerned; None where it is the whole motion.
        fps: to tell the time of frames.
        detail: the joint, the pair, the figures.
        rows: the table that says what is measured and how much of it is taken.
    """

    check: str
    value: float
    limit: float
    verdict: str
    frames: tuple[int, int] | None
    fps: float
    detail: str = ""
    rows: Mapping[str, Check] = field(default_factory=lambda: CHECKS, repr=False, compare=False)

    @property
    def row(self) -> Check:
        """What the table says of it."""
        return self.rows[self.check]

    def as_json(self) -> dict[str, Any]:
        """The finding as the report has it; frames and times are null for the whole motion."""
        first, last = self.frames if self.frames else (None, None)
        row = self.row
        return {
            "check": self.check, "value": self.value, "limit": self.limit, "unit": row.unit, "verdict": self.verdict,
            "from_frame": first, "to_frame": last, "from_s": None if first is None else first / self.fps,
            "to_s": None if last is None else last / self.fps, "detail": self.detail,
            "what_to_do": row.what_to_do if self.verdict != OK else "",
            "repair": row.repair if self.verdict != OK else "",
        }

    def where(self) -> str:
        """In frames and seconds."""
        if self.frames is None:
            return "whole motion"
        first, last = self.frames
        if first == last:
            return f"frame {first} ({first / self.fps:.2f} s)"
        return f"frames {first} to {last} ({first / self.fps:.2f} to {last / self.fps:.2f} s)"


def judge(check: str, value: float, fps: float, frames: tuple[int, int] | None = None, detail: str = "",
          rows: Mapping[str, Check] = CHECKS) -> Finding:
    """A value against its limits; not a number is refused."""
    row = rows[check]
    limit = row.advice if row.advice is not None else row.refused
    verdict = OK
    if row.refused is not None and not value <= row.refused:
        verdict, limit = REFUSED, row.refused
    elif row.advice is not None and not value <= row.advice:
        verdict, limit = ADVICE, row.advice
    return Finding(check, float(value), float(limit or 0.0), verdict, frames, fps, detail, rows)


def accepted(findings: Sequence[Finding]) -> bool:
    """Whether nothing is refused."""
    return all(finding.verdict != REFUSED for finding in findings)


def refused(findings: Sequence[Finding]) -> list[Finding]:
    """Those that let nobody have the motion."""
    return [finding for finding in findings if finding.verdict == REFUSED]


def table(findings: Sequence[Finding]) -> str:
    """For people: a line a check, and what to do below those that are not ok."""
    width = max(len(finding.check) for finding in findings)
    lines = [f"{'check':<{width}}  verdict       value      limit  where"]
    for finding in findings:
        row = finding.row
        detail = f": {finding.detail}" if finding.detail else ""
        lines.append(f"{finding.check:<{width}}  {finding.verdict:<7}  {finding.value:>10.4g} {finding.limit:>10.4g}  "
                     f"{row.unit + ', ' if row.unit else ''}{finding.where()}{detail}")
        if finding.verdict != OK:
            lines.append(f"{'':<{width}}  -> {row.value}. {row.what_to_do}. "
                         f"--repair: {row.repair or 'cannot help here'}")
    return "\n".join(lines)
