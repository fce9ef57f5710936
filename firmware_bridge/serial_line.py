"""One port of a serial robot: its drives in the joints' terms, who is missing, who says what cannot be."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.drives.language import F64, Drive, Language
from firmware_bridge.masks import Mask, has_all, has_any
from firmware_bridge.motor_bus import DQ, KD, KP, TAU, MotorCommand, MotorSample, Q
from firmware_bridge.serial_port import SerialPort
from firmware_bridge.serial_turns import Turns

FAULT_LOST, FAULT_LIMP, FAULT_JUMP = 1 << 16, 1 << 17, 1 << 18
"""Of `motor_error`, beside the protocol's own bits: it has not answered for too long; the operator gave it torque and
it says that it has none; its position jumped so often that somebody else must be answering, and it is shut out."""
LATE_CYCLES = 3
"""A computer or an adapter that pauses for as many cycles has lost nothing yet."""
MOST_MISSES = 10
"""Cycles without an answer before a drive counts as lost."""
ENABLE_CYCLES = 10
"""Cycles in which torque is asked for again where a drive never had it: a lost frame must not leave a limp leg."""
SPEED_RATIO, SLACK_RAD = 2.0, 0.1
"""A position farther from the last than this times the joint's speed limit, and this, is none."""
USUAL_RAD_S = 30.0
JUMP_WEIGHT, JUMP_LIMIT = 3, 9
"""A jump counts three against one good sample; at nine a drive is shut out. Rare noise is forgotten by then."""


@dataclass(eq=False)
class Line:
    """One port, the drives on it and how they speak.

    Attributes:
        without_watchdog: drives that have none are accepted: when nobody speaks to them they go on by themselves.
        misses: (drives,) cycles without an answer, in a row.
        missed: (drives,) all of them.
        most_misses: (drives,) the longest row of them.
        lost: (drives,) those of them that were no mere lateness: the answer was not there `LATE_CYCLES` later either.
        is_armed: an operator gave torque; a reconnect never sets it, and never gives torque.
    """

    path: str
    drives: list[Drive]
    language: Language
    port: SerialPort | None = None
    without_watchdog: bool = False

    def __post_init__(self) -> None:
        drives, n = self.drives, len(self.drives)
        self.motors = np.array([drive.motor for drive in drives], np.intp)
        self._where = _as_slice(self.motors)
        self.sign = np.array([float(drive.sign) for drive in drives])
        self.gear = np.array([drive.gear for drive in drives])
        self.offset = np.array([drive.offset_rad for drive in drives])
        self._q_scale, self._tau_scale = self.sign / self.gear, self.sign * self.gear
        turn, square = self.sign * self.gear, self.gear**2
        self._scale = np.ones((n, 5))
        self._scale[:, Q] = self._scale[:, DQ] = turn
        self._scale[:, TAU], self._scale[:, KP], self._scale[:, KD] = self.sign / self.gear, 1 / square, 1 / square
        self._zero = np.zeros((n, 5))
        self._zero[:, Q] = self.offset
        self.misses = np.zeros(n, np.int64)
        self.missed, self.lost = np.zeros(n, np.uint32), np.zeros(n, np.uint32)
        self.most_misses = np.zeros(n, np.int64)
        self._opened_ns, self._at_first = 0, np.zeros(n, np.uint32)
        self._before, self._taken_ns = np.zeros(n, np.uint32), np.zeros(n, np.int64)
        self._jumps, self.is_shut_out = np.zeros(n, np.int64), np.zeros(n, np.bool_)
        self._reach_per_ns = np.full(n, SPEED_RATIO * USUAL_RAD_S * 1e-9)
        self._last_q = np.zeros(n)
        self._is_suspect = False
        self.is_armed, self._armed_cycles = False, 0
        self._was_driven, self._at_armed = np.zeros(n, np.bool_), np.zeros(n, np.uint32)
        self.reconnects = self.refused = 0
        self.turns = Turns(self.language) if self.language.takes_turns else None

    def limit_speed(self, velocity_rad_s: npt.NDArray[np.floating[Any]]) -> None:
        """What the joints can do at most, (motors,) rad/s; 0 where nobody says."""
        mine = velocity_rad_s[self.motors]
        self._reach_per_ns[:] = SPEED_RATIO * 1e-9 * np.where(mine > 0, mine, USUAL_RAD_S)

    def gain_reach(self) -> F64:
        """(n, 2) kp and kd of a joint beyond which its drive would do something else; infinite where nobody says."""
        ranges = getattr(self.language, "ranges", None)
        if ranges is None:
            return np.full((len(self.drives), 2), np.inf)
        reach: F64 = np.array([[one.kp, one.kd] for one in ranges]) * (self.gear**2)[:, None]
        return reach

    def to_drive(self, block: npt.NDArray[np.float32]) -> F64:
        """Joint targets of this line's motors, (n, 5), on the drives' side; none for who is shut out."""
        out: F64 = block[self._where] - self._zero
        out *= self._scale
        if self._is_suspect:
            out[self.is_shut_out] = 0
        return out

    @property
    def is_complete(self) -> bool:
        """Whether every drive has told its position."""
        return bool(self._taken_ns.all())

    @property
    def is_open(self) -> bool:
        """Whether its port is there."""
        return self.port is not None and self.port.is_open

    def arm(self) -> None:
        """An operator gives torque; who was shut out is heard again."""
        self.is_armed, self._armed_cycles = True, 0
        self.is_shut_out[:] = self._was_driven[:] = False
        self._jumps[:] = 0
        self._is_suspect = False
        self._say(self.language.enabling())

    def disarm(self) -> bool:
        """Torque is taken; False when the port did not take that."""
        was_armed, self.is_armed = self.is_armed, False
        if self.turns is not None and self.turns.is_saying and not was_armed:
            return self.is_open  # it is being said already
        return self._say(self.language.disabling())

    def command(self, command: MotorCommand) -> bool:
        """A cycle: ask each drive for its state with its new target; False when the port did not take that."""
        if not self.is_open:
            return False
        if not command.enabled:
            return self.disarm()
        reminder = self.reminder()
        if reminder:
            self._say(reminder)
        if self.turns is not None and self.turns.is_saying:
            return True
        questions = self.language.ask(self.to_drive(command.block))
        if self.turns is not None:
            self.turns.begin(questions)
            return bool(questions)
        return bool(questions) and self._send(questions)

    def reminder(self) -> list[bytes]:
        """Once more what gives torque, soon after arming, where a drive never had it; nothing once one has lost it."""
        if not self.is_armed or self._armed_cycles >= ENABLE_CYCLES:
            return []
        self._armed_cycles += 1
        is_driving = self.language.states.is_driving
        self._was_driven |= is_driving
        self._at_armed[:] = self.language.states.answers
        if (self._was_driven & ~is_driving).any():
            self._armed_cycles = ENABLE_CYCLES
            return []
        return [] if self._armed_cycles < 3 or is_driving.all() else self.language.enabling()

    def opened(self, port: SerialPort) -> None:
        """A port was connected; what its drives said while that went on is no news."""
        self.port = port
        self._before[:] = self.language.states.answers
        if not self._opened_ns:
            self._opened_ns, self._at_first[:] = time.monotonic_ns(), self._before
        self._armed_cycles, self._at_armed[:] = ENABLE_CYCLES, self._before
        if self.turns is not None:
            self.turns.forget()

    def _say(self, questions: list[bytes]) -> bool:
        if self.turns is None:
            return self._send(questions)
        self.turns.say_once(questions)
        return self.is_open

    def _send(self, questions: list[bytes]) -> bool:
        port, is_taken = self.port, True
        for data in questions:
            is_taken &= port is not None and port.write(data)
        self.refused += not is_taken
        return is_taken

    def hear(self, now_ns: int) -> int:
        """Take in what has come, and with turns ask on; when the present turn ends, 0 for none."""
        port = self.port
        if port is None or not port.is_open:
            return 0
        if self.turns is not None:
            return self.turns.advance(port, now_ns)
        data = port.read()
        if data:
            self.language.hear(data, now_ns)
        return 0

    def take(self, sample: MotorSample, was_asked: bool) -> bool:
        """The drives' newest states into the sample, in the joints' terms; whether any is new."""
        states, where = self.language.states, self._where
        came = states.answers != self._before
        self._before[:] = states.answers
        q = self._q_scale * states.q
        q += self.offset
        is_whole = has_all(came) and self._is_plausible(q, states.answered_ns)
        if not is_whole:
            came &= ~self._jumped(q, came, states.answered_ns)
        if was_asked:
            self._count(came, is_whole)
        if is_whole:
            self._last_q[:], self._taken_ns[:] = q, states.answered_ns
            sample.q[where], sample.dq[where] = q, self._q_scale * states.dq
            sample.tau[where], sample.temperature_c[where] = self._tau_scale * states.tau, states.temperature_c
        elif has_any(came):
            rows = self.motors[came]
            sample.q[rows], sample.dq[rows] = q[came], (self._q_scale * states.dq)[came]
            sample.tau[rows] = (self._tau_scale * states.tau)[came]
            sample.temperature_c[rows] = states.temperature_c[came]
        self._tell(sample)
        return is_whole or has_any(came)

    def _count(self, came: Mask, is_whole: bool) -> None:
        """Whose answer a cycle did not bring."""
        if is_whole:
            self.misses.fill(0)
            return
        self.misses += 1
        self.misses[came] = 0
        self.missed += ~came
        np.maximum(self.most_misses, self.misses, out=self.most_misses)
        self.lost += self.misses > LATE_CYCLES

    def _is_plausible(self, q: F64, now_ns: npt.NDArray[np.int64]) -> bool:
        """Whether nobody has jumped of late, and nobody does now: the usual case."""
        if self._is_suspect:
            return False
        reach = self._reach_per_ns * (now_ns - self._taken_ns)
        reach += SLACK_RAD
        return has_all(np.abs(q - self._last_q) <= reach)

    def _jumped(self, q: F64, came: Mask, now_ns: npt.NDArray[np.int64]) -> Mask:
        """Whose new position cannot be: not taken, and after some the drive is shut out until it is armed anew."""
        reach = self._reach_per_ns * (now_ns - self._taken_ns) + SLACK_RAD
        far = came & (np.abs(q - self._last_q) > reach) & (self._taken_ns > 0)
        good = came & ~far
        self._last_q[good], self._taken_ns[good] = q[good], now_ns[good]
        if self._is_suspect or has_any(far):
            self._jumps = np.maximum(self._jumps + JUMP_WEIGHT * far - good, 0)
            self.is_shut_out |= self._jumps >= JUMP_LIMIT
            self._is_suspect = bool(self._jumps.any() or self.is_shut_out.any())
        impossible: Mask = far | self.is_shut_out
        return impossible

    def _tell(self, sample: MotorSample) -> None:
        states, errors = self.language.states, self.language.states.faults
        lost = self.misses > MOST_MISSES
        if has_any(lost):
            errors = errors | np.where(lost, np.uint32(FAULT_LOST), 0)
        if self.is_armed:
            is_due = states.answers != self._at_armed if self._armed_cycles >= ENABLE_CYCLES else False
            limp = ~states.is_driving & (self._was_driven | is_due)
            if has_any(limp):
                errors = errors | np.where(limp, np.uint32(FAULT_LIMP), 0)
        if self._is_suspect:
            errors = errors | np.where(self.is_shut_out, np.uint32(FAULT_JUMP), 0)
        sample.motor_error[self._where], sample.motor_lost[self._where] = errors, self.lost

    def statistics(self, now_ns: int) -> dict[str, Any]:
        """What a monitor shows of this port, and a run's report; `rate_hz` since the port was first opened."""
        states, port, turns = self.language.states, self.port, self.turns
        heard = states.answered_ns > 0
        ages = np.where(heard, (now_ns - states.answered_ns) * 1e-9, np.nan)
        open_s = max((now_ns - self._opened_ns) * 1e-9, 1e-6) if self._opened_ns else np.inf
        rates_hz = (states.answers - self._at_first) / open_s
        drives = [
            {"joint": drive.name, "motor": drive.motor, "id": drive.id, "answers": int(states.answers[at]),
             "rate_hz": round(float(rates_hz[at]), 1),
             "missed": int(self.missed[at]), "most_missed": int(self.most_misses[at]), "lost": int(self.lost[at]),
             "age_s": round(float(ages[at]), 6) if heard[at] else None, "faults": int(states.faults[at]),
             "is_driving": bool(states.is_driving[at]), "is_shut_out": bool(self.is_shut_out[at])}
            for at, drive in enumerate(self.drives)
        ]
        return {"port": self.path, "is_open": self.is_open, "bad": self.language.bad, "reconnects": self.reconnects,
                "dropped_bytes": 0 if port is None else port.dropped,
                "expired_turns": 0 if turns is None else turns.expired,
                "put_off": 0 if turns is None else turns.put_off, "drives": drives}


def _as_slice(rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp] | slice:
    """Rows one behind the other as the slice that they are: numpy takes those several times as fast."""
    first = int(rows[0]) if len(rows) else 0
    is_run = np.array_equal(rows, np.arange(first, first + len(rows)))
    return slice(first, first + len(rows)) if is_run else rows
