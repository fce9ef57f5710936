"""What a bus of drives is to whoever runs it: questions out, answers in, states in arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import BridgeError

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

Exchange = Callable[[bytes, Callable[[bytes], bool], float], bool]
"""Sends bytes and feeds what comes back until it is enough, at most so many seconds; whether it was enough."""


@dataclass(frozen=True)
class Drive:
    """One motor on a bus, as the robot's file describes it.

    Attributes:
        motor: its slot among the robot's motors.
        id: on its bus.
        model: what the protocol knows it as.
        sign, gear, offset_rad: q of the joint = sign * q of the drive / gear + offset_rad.
        answer_id: what it answers with, where the protocol has that; 0 for the protocol's usual one.
    """

    motor: int
    id: int
    model: str
    sign: int = 1
    gear: float = 1.0
    offset_rad: float = 0.0
    answer_id: int = 0
    name: str = ""


def refuse_unknown_models(drives: Sequence[Drive], known: Iterable[str]) -> None:
    """For a language that is given its drives.

    Raises:
        BridgeError: a model that the protocol does not know.
    """
    names = list(known)
    unknown = sorted({drive.model for drive in drives} - set(names))
    if unknown:
        raise BridgeError("drive model", expected=f"one of {', '.join(names)}", found=", ".join(unknown),
                          what_to_do="correct the robot file")


class DriveStates:
    """What the drives of one bus said last, in the order of the bus; on the drive's own side of sign, gear and offset.

    Attributes:
        q, dq, tau: (n,) float64, rad, rad/s, N m.
        temperature_c: (n,) int16, the hottest sensor.
        faults: (n,) uint32, 0 is healthy, in the protocol's own bits or codes.
        is_driving: (n,) bool, the drive says that it has torque.
        answered_ns: (n,) int64, when; 0 for never.
        answers: (n,) uint32, counted.
    """

    def __init__(self, drives: int) -> None:
        self.q: F64 = np.zeros(drives)
        self.dq: F64 = np.zeros(drives)
        self.tau: F64 = np.zeros(drives)
        self.temperature_c = np.zeros(drives, np.int16)
        self.faults = np.zeros(drives, np.uint32)
        self.is_driving = np.zeros(drives, np.bool_)
        self.answered_ns = np.zeros(drives, np.int64)
        self.answers = np.zeros(drives, np.uint32)

    def note(self, rows: npt.NDArray[np.intp], motion: F64, now_ns: int) -> None:
        """Answers of the drives at `rows`, (m, 3) q, dq, tau; of two of one drive the later counts."""
        self.q[rows], self.dq[rows], self.tau[rows] = motion.T
        self.answered_ns[rows] = now_ns
        self.answers += np.bincount(rows, minlength=len(self.answers)).astype(np.uint32)

    def note_all(self, q: F64, dq: F64, tau: F64, now_ns: int) -> None:
        """One answer of each drive, (n,) each."""
        self.q[:], self.dq[:], self.tau[:] = q, dq, tau
        self.answered_ns.fill(now_ns)
        self.answers += 1


@dataclass
class Facts:
    """What a drive said of itself when it was connected.

    Attributes:
        watchdog_s: after which silence it lets go; 0 when that is off, None where the protocol cannot say.
        problems: what must not be: lines for a refusal.
    """

    watchdog_s: float | None = None
    problems: list[str] = field(default_factory=list)


class Language(Protocol):
    """One protocol on one port, for the drives of it.

    Attributes:
        states: what the drives said last.
        baud: of the port.
        bad: pieces of bytes that were none, counted.
        takes_turns: an answer has to be waited for before the next question (a bus with one pair of wires). Then
            `ask` gives one question a turn: read and `hear` what still lies there, `begin` the turn, send it, and go on
            when it `is_answered` or after `turn_s`. An answer that nobody waits for any more is no new state.
            `enabling` and `disabling` give questions of such turns too, and count as the last `ask` for `begin`.
        turn_s: longest time that a question of the last `ask` and its answers take.
    """

    states: DriveStates
    baud: int
    takes_turns: bool
    turn_s: float

    @property
    def bad(self) -> int: ...

    def connect(self, exchange: Exchange, watchdog_s: float) -> list[Facts]:
        """Set each drive's watchdog and read it back, read what it can tell of its limits; torque stays off."""
        ...

    def ask(self, block: F64) -> list[bytes]:
        """The questions of one cycle, with the drives' targets (n, 5): q, dq, tau, kp, kd; none when not finite."""
        ...

    def begin(self, turn: int) -> None:
        """Question `turn` of the last `ask` goes out now; where turns are taken, only what answers it counts."""
        ...

    def is_answered(self) -> bool:
        """Whether all is there that the question begun last brings."""
        ...

    def hear(self, data: bytes, now_ns: int) -> int:
        """Take what has arrived into `states`; returns how many answers it held."""
        ...

    def enabling(self) -> list[bytes]:
        """Gives the drives torque."""
        ...

    def disabling(self) -> list[bytes]:
        """Takes it."""
        ...

    def cycle_s(self) -> float:
        """Time on the wire of one question and answer each, with everything usual about this protocol."""
        ...
