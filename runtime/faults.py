"""The fault table and the fault machine.

One table is the code's data, the documentation page (`docs/safety.md` is checked against it) and the tests' parameter
list. A flag names something wrong, so that false is healthy. The most severe reaction wins, the machine goes down by
itself and up only by an operator; DAMP absorbs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Mode(IntEnum):
    """What the gate is doing. From HOLD on, higher is more severe."""

    DISARMED = 0
    """Watching only: nothing is written."""
    READY = 1
    """Armed: targets are followed, slowly, towards the start pose."""
    TRACK = 2
    """Armed: targets are followed."""
    HOLD = 3
    """The reference is frozen, the policy balances."""
    STAND = 4
    """The reference goes back to standing, the policy balances."""
    DAMP = 5
    """No stiffness, only damping; latched and re-sent."""
    ZERO = 6
    """Drives off."""


class Request(IntEnum):
    """What an operator asks for."""

    NONE = 0
    ARM = 1
    TRACK = 2
    STAND = 3
    DAMP = 4
    ZERO = 5


@dataclass(frozen=True)
class Fault:
    """One row.

    Attributes:
        flag: its name, and by its place in the table its bit.
        meaning: what is wrong, for people.
        unit: of the measured value and the limit.
        reaction: the least severe mode it leads to; None only counts.
        limit: field of `Limits` that holds its limit, or None.
        norm: where the figure comes from.
    """

    flag: str
    meaning: str
    unit: str
    reaction: Mode | None
    limit: str | None
    norm: str


OURS = "this project, measured in simulation"
FAULTS: tuple[Fault, ...] = (
    Fault("STATE_LATE", "robot state older than it should ever be", "s", None, "state_warn_s", "two 200 Hz periods"),
    Fault("STATE_STALE", "robot state stale", "s", Mode.HOLD, "state_hold_s", "libfranka stops after 20 missed ms"),
    Fault("STATE_LOST", "robot state lost", "s", Mode.DAMP, "state_damp_s", "moteus watchdog 100 ms"),
    Fault("STATE_REJECTED", "a state failed its CRC or went backwards; dropped", "count", None, None, OURS),
    Fault("STATE_FROZEN", "states arrive but the robot's counter stands still", "s", Mode.DAMP, "frozen_s", OURS),
    Fault("STATE_NON_FINITE", "NaN or infinity in the robot state", "count", Mode.DAMP, "non_finite_samples", OURS),
    Fault("TILT", "the base tilts too far: a fall", "rad", Mode.DAMP, "tilt_rad", "dimensionalOS/dimos#3621: 45 deg"),
    Fault("OVERSPEED", "a joint turns faster than its limit, either way", "ratio", Mode.DAMP, "overspeed_ratio",
          "35 rad/s in NVlabs/GR00T-WholeBodyControl, one-sided there"),
    Fault("MODE_MACHINE", "the robot says it is another variant", "mode", Mode.DAMP, None, "unitree_rl_lab g1_sub.h"),
    Fault("TARGET_STALE", "the policy's target is old: it died, hangs or is late", "s", Mode.DAMP, "target_s", OURS),
    Fault("TARGET_NON_FINITE", "NaN or infinity in the policy's target", "count", Mode.DAMP, "bad_targets", OURS),
    Fault("TARGET_LIMITED", "a target left the position or rate limit and was held to it", "rad", None, None,
          OURS),
    Fault("POLICY_FAULT", "the policy process reported an error", "", Mode.DAMP, None, OURS),
    Fault("SECOND_WRITER", "somebody else commands the motors", "count", Mode.DAMP, None,
          "unitreerobotics/xr_teleoperate#107"),
    Fault("REMOTE_STOP", "the emergency combination is pressed on the wireless remote", "buttons", Mode.DAMP, None,
          "Unitree's own damping combination"),
    Fault("OPERATOR_STOP", "stop signal, Ctrl-C or the run's supervisor is gone", "", Mode.DAMP, None, OURS),
    Fault("GATE_RESTARTED", "the gate died and was brought up again", "", Mode.DAMP, None,
          "drives keep the last command"),
    Fault("INTERNAL_ERROR", "an exception inside the gate's own tick", "", Mode.DAMP, None, OURS),
)
BIT = {fault.flag: 1 << place for place, fault in enumerate(FAULTS)}
PLACE = {fault.flag: place for place, fault in enumerate(FAULTS)}
_REACTION = [fault.reaction for fault in FAULTS]


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
        if worst is None and request is Request.ARM:
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
    return [fault.flag for place, fault in enumerate(FAULTS) if flags >> place & 1]


def table_markdown() -> str:
    """The table as docs/safety.md shows it."""
    lines = ["| flag | what is wrong | reaction | limit (setting) | norm |", "|---|---|---|---|---|"]
    for fault in FAULTS:
        reaction = fault.reaction.name if fault.reaction is not None else "counted"
        lines.append(f"| `{fault.flag}` | {fault.meaning} | {reaction} | {fault.limit or '-'} | {fault.norm} |")
    return "\n".join(lines)
