"""An order's folder from start to start: what an interrupted routine left there, and whether it still counts.

`session.json` says what was ordered, which recordings of earlier parts belong to it, and whether it has ended. Every
step of the bookkeeping is one replaced file or one renamed one, so a kill leaves either side of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calibration.raw import finished_part, read_rows
from runtime.errors import Refused

SESSION, RAW = "session.json", "raw.mcap"


def begin(out: Path, order: Mapping[str, Any]) -> list[Path]:
    """Make a folder ready for a routine; returns the recordings of earlier parts that go on counting, oldest first.

    Args:
        order: everything that has to be the same for a recording to count.

    Raises:
        Refused: something else was interrupted here.
    """
    before = _read(out)
    parts: list[str] = []
    if before is not None and not before["ended"]:
        left = [name for name in (*before["parts"], RAW) if _counts(out / name)]
        if left and before["order"] != dict(order):
            raise Refused(f"{out}", expected="the routine that was interrupted there, or an empty folder",
                          found=_difference(before["order"], order),
                          what_to_do="repeat that command to go on with it, or name another --out")
        parts = [name for name in left if name != RAW]
        if RAW in left:
            name = f"raw-{1 + len(list(out.glob('raw-*.mcap')))}.mcap"
            _write(out, order, [*parts, name], ended=False)
            (out / RAW).rename(out / name)
            parts.append(name)
    _write(out, order, parts, ended=False)
    return [out / name for name in parts]


def is_open(out: Path) -> bool:
    """Whether something was begun there that has not ended."""
    before = _read(out)
    return before is not None and not before["ended"]


def end(out: Path, order: Mapping[str, Any]) -> None:
    """Nothing of this order is left to do: the next one in this folder starts clean."""
    before = _read(out)
    _write(out, order, [] if before is None else before["parts"], ended=True)


def order_in(out: Path) -> dict[str, Any]:
    """What was ordered in a folder.

    Raises:
        Refused: nothing, or it has ended.
    """
    before = _read(out)
    if before is None or before["ended"]:
        raise Refused("--resume", expected="a folder with an interrupted routine", what_to_do="start it with --out",
                      found=f"{out}: {'nothing was begun there' if before is None else 'it has ended'}")
    return dict(before["order"])


def _counts(path: Path) -> bool:
    """Whether there is a recording with a finished step; one killed at its start may not even have a topic."""
    try:
        return len(finished_part(read_rows(path))) > 0
    except Refused:
        return False


def _read(out: Path) -> dict[str, Any] | None:
    try:
        data = json.loads((out / SESSION).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Refused(f"{out / SESSION}", expected="what an earlier start wrote", found=str(error)[:200],
                      what_to_do="name another --out") from error
    return dict(data)


def _write(out: Path, order: Mapping[str, Any], parts: list[str], *, ended: bool) -> None:
    fresh = out / f"{SESSION}.tmp"
    fresh.write_text(json.dumps({"order": dict(order), "parts": parts, "ended": ended}, indent=1), encoding="utf-8")
    fresh.replace(out / SESSION)


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    keys = [key for key in dict.fromkeys([*before, *now]) if before.get(key) != now.get(key)]
    return "; ".join(f"{key} {str(before.get(key))[:80]}, now {str(now.get(key))[:80]}" for key in keys)
