"""What a run's report says of hands: what each event of the motion became, and how far from the body's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.hand_bus import SIDES
from runtime.hand_gate import HandFinding
from runtime.hand_track import HandEvent
from runtime.human_motion import HAND_STATES
from runtime.pilot import Phase
from runtime.reference import ON_FRAME

Array = npt.NDArray[Any]


def hand_report(topics: dict[str, Array], events: Sequence[HandEvent]) -> dict[str, Any]:
    """The report's `hands`; of a log of a run with hands.

    An event's offset is from the gate tick that first wrote the body's target of that moment to the write that first
    told the hand: positive where the hand is later.
    """
    hands = topics["hands"]
    rows = [_event(topics, event) for event in events]
    offsets = [row["offset_ms"] for row in rows if row["offset_ms"] is not None]
    written = hands["written"].sum(axis=0).tolist() if len(hands) else [0, 0]
    last = hands["state"][-1].tolist() if len(hands) else [-1, -1]
    return {
        "connected": {side: bool(was) for side, was in zip(SIDES, written, strict=True)},
        "events": rows,
        "events_told": len(offsets),
        "offset_ms_largest": max(offsets, key=abs) if offsets else None,
        "last_state": {side: _state(state) for side, state in zip(SIDES, last, strict=True)},
        "torque_n_m_largest": round(float(np.abs(hands["tau"]).max()), 3) if len(hands) else None,
        "findings": _findings(hands),
    }


def _state(state: int) -> str:
    return "streamed" if state == len(HAND_STATES) else HAND_STATES[state] if state >= 0 else "as it was"


def _event(topics: dict[str, Array], event: HandEvent) -> dict[str, Any]:
    """An event with when it came, None where it did not."""
    gate, policy, hands = topics["gate"], topics["policy"], topics["hands"]
    out: dict[str, Any] = {**event.as_dict(), "offset_ms": None}
    due = policy[(policy["phase"] == Phase.PLAY) & (policy["play_time_s"] >= event.time_s - ON_FRAME)]
    body = gate[gate["target_sequence"] >= due["sequence"][0]] if len(due) else gate[:0]
    if not len(body):
        return out
    moved_ns = int(body["now_ns"][0])
    told = hands[(hands["state"][:, event.side] == event.state) & (hands["now_ns"] >= int(due["now_ns"][0]))
                 & (hands["written"][:, event.side] > 0)]
    if len(told):
        out["offset_ms"] = round((int(told["now_ns"][0]) - moved_ns) * 1e-6, 3)
    return out


def _findings(hands: Array) -> dict[str, int]:
    """How many writes each finding was up for, by hand and kind."""
    counts = {f"{side} {kind.name}": int(((hands["finding"][:, row] & kind.value) > 0).sum())
              for row, side in enumerate(SIDES) for kind in HandFinding}
    return {name: count for name, count in counts.items() if count}
