"""The fault machine: from flags to what the gate does. The flags themselves are rows of `runtime/fault_table.py`.

A flag names something wrong, so that false is healthy. The most severe reaction wins, the machine goes down by itself
and up only by an operator; DAMP absorbs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from runtime.fault_table import BIT, FAULTS, FLAGS, PLACE, Fault, Mode

__all__ = [
    "BIT", "FAULTS", "FLAGS", "PLACE", "Fault", "Machine", "Mode", "Request", "flag_names", "most_severe", "step",
]


class Request(IntEnum):
    """What an operator asks for."""

    NONE = 0
    ARM = 1
    TRACK = 2
    STAND = 3
    DAMP = 4
    ZERO = 5


_REACTION = [fault.reaction for fault in FLAGS]
_FORBIDS = sum(BIT[fault.flag] for fault in FLAGS if fault.forbids_arming)


def most_severe(flags: int) -> tuple[Mode | None, int]:
    """The reaction that flags call for and the place in the table of its (first) cause, -1 without any."""
    worst: Mode | None = None
    cause = -1
    while flags:
        place = (flags & -flags).bit_length() - 1
        flags &= flags - 1
        reaction = _REACTION[place]
        if reaction is not None and (worst is None or reaction > worst):
            worst, cause = reaction, place
    return worst, cause


@dataclass(frozen=True)
class Machine:
    """Where the gate stands: mode, the place in the table of what brought it there (-1: an operator), since when."""

    mode: Mode = Mode.DISARMED
    cause: int = -1
    since_ns: int = 0


_UP = {
    (Mode.DISARMED, Request.ARM): Mode.READY,
    (Mode.READY, Request.TRACK): Mode.TRACK,
    (Mode.HOLD, Request.TRACK): Mode.TRACK,
    (Mode.STAND, Request.TRACK): Mode.TRACK,
}
_DOWN = {Request.STAND: Mode.STAND, Request.DAMP: Mode.DAMP, Request.ZERO: Mode.ZERO}


def step(machine: Machine, flags: int, request: Request, now_ns: int) -> Machine:
    """The next state of the fault machine; pure.

    Unarmed, a fault forbids arming and nothing else. Armed, the most severe of flags and request decides. ZERO is only
    reached from DAMP, and nothing leaves DAMP or ZERO upwards: a new run must be started.
    """
    mode = machine.mode
    if not flags and request is Request.NONE:
        return machine
    worst, cause = most_severe(flags)
    if mode is Mode.DISARMED:
        if request is Request.ARM and not flags & _FORBIDS:
            return Machine(Mode.READY, -1, now_ns)
        if request is Request.DAMP:
            return Machine(Mode.DAMP, cause, now_ns)
        return machine
    if mode >= Mode.DAMP:
        return Machine(Mode.ZERO, -1, now_ns) if mode is Mode.DAMP and request is Request.ZERO else machine
    if worst is not None and worst > mode:
        return Machine(worst, cause, now_ns)
    lower = _DOWN.get(request)
    if lower is not None and min(lower, Mode.DAMP) > mode:
        return Machine(min(lower, Mode.DAMP), -1, now_ns)
    higher = _UP.get((mode, request))
    if higher is not None and worst is None:
        return Machine(higher, -1, now_ns)
    return machine


def flag_names(flags: int) -> list[str]:
    """The names of set flags."""
    return [fault.flag for place, fault in enumerate(FLAGS) if flags >> place & 1]
