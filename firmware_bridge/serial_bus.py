"""A robot whose motors hang on serial ports, behind the seam that a DDS robot has.

A cycle is a write and, a gate's period later, a read: all ports are written first, then nobody waits, and what the
drives answered meanwhile is collected at the next read. In between the gate lends the time that it does not need
(`pump`): buses with one pair of wires take their turns in it, all ports beside each other. A drive that did not answer
keeps its last state, and its age grows: it costs its own sample and nobody else's. Ports that have gone are looked for
in a thread beside; their drives have let go by their own watchdogs by then, and nothing here gives them torque again:
only `enable` does.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.can_port import open_port
from firmware_bridge.drives.language import Facts
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import MotorCommand, MotorSample, Q, Reading, SafeCommand
from firmware_bridge.serial_imu import BaseImu
from firmware_bridge.serial_line import Line

SHARE_OF_PERIOD = 0.99
"""Eight MIT drives fill a 1 Mbit/s CAN at 500 Hz to 98 %, with the stuffing that is usual."""
REOPEN_S = 0.5
COLLECT_NS, LONGEST_COLLECT_NS = 300_000, 1_000_000
"""So long before the next tick the answers are taken in, so that the tick itself finds them decoded: at first, and
at most. In between what it has taken of late counts, and a quarter more."""
COLLECT_PARTS = 16
CLOSE_S, CLOSE_TIMES = 0.02, 3
"""Torque is taken three times over, with this between, as one frame may be lost."""
LOOK_CYCLES = 5


class SerialBus:
    """Every motor of a robot over its serial ports; a `MotorBus`.

    Args:
        lines: the ports.
        motors: how many slots the robot has.
        period_s: of the gate.
        watchdog_s: after which silence each drive is to let go.
        velocity_rad_s: (motors,) what each joint can do at most, for telling positions that cannot be.
        imu: of the base; None leaves the sample upright and at rest. While it is stale there is no new reading at all.
        mode_machine: the variant its robot's file says it is.

    Attributes:
        lines: the ports.

    Raises:
        BridgeError: a cycle does not fit the period.
    """

    def __init__(
        self, lines: Sequence[Line], motors: int, period_s: float, watchdog_s: float = 0.05,
        imu: BaseImu | None = None, *, velocity_rad_s: npt.NDArray[np.floating[Any]] | None = None,
        mode_machine: int = 0,
    ) -> None:
        self.lines, self.imu = list(lines), imu
        self._in_turns = [line for line in self.lines if line.turns is not None]
        self._watchdog_s = watchdog_s
        for line in self.lines:
            _refuse_a_long_cycle(line, period_s)
            if velocity_rad_s is not None:
                line.limit_speed(velocity_rad_s)
        self.sample = MotorSample.zeros(motors)
        self.sample.temperature_c[:] = 0
        self.sample.mode_machine[0] = mode_machine
        self._nothing = MotorCommand(motors)
        self._collect_ns = COLLECT_NS
        self._is_open = True
        self._has_written = self._may_command = self._is_complete = False
        self._tick = 0
        self._lock = threading.Lock()
        self._seeker = threading.Thread(target=self._seek, name="serial-reconnect", daemon=True)

    def connect(self) -> None:
        """Open every port and make every drive ready, without torque.

        Raises:
            BridgeError: a port or drive is missing, a drive is another than the robot file says, or a watchdog cannot
                be set.
        """
        try:
            for line in self.lines:
                line.port = open_port(line.path, line.language.baud)
                self._check(line, line.language.connect(line.port.exchange, self._watchdog_s))
                line.opened(line.port)
            if self.imu is not None:
                self.imu.connect()
        except BridgeError:
            self.close()
            raise
        self._seeker.start()

    @staticmethod
    def _check(line: Line, facts: list[Facts]) -> None:
        problems = [problem for fact in facts for problem in fact.problems]
        problems += [f"{drive.name}: its watchdog is off" for drive, fact in zip(line.drives, facts, strict=True)
                     if fact.watchdog_s == 0 and not fact.problems]
        lacks = [drive.name for drive, fact in zip(line.drives, facts, strict=True) if fact.watchdog_s is None]
        if lacks and not problems and not line.without_watchdog:
            raise BridgeError(
                f"bus {line.path}", expected="drives that let go by themselves when nobody speaks to them",
                found=f"drives without a watchdog: {', '.join(lacks)}",
                what_to_do='put a relay in their supply that a watchdog of yours opens, and say `"without_watchdog": '
                'true` of this bus in the wiring file')
        if problems:
            raise BridgeError(f"bus {line.path}", expected="drives as the robot file describes them, watchdog on",
                              found="; ".join(problems), what_to_do="correct the robot file, or the drives' settings")

    def enable(self) -> None:
        """Give the drives torque: an operator's doing, never a reconnect's."""
        self._may_command = True
        for line in self.lines:
            line.arm()

    def open_writer(self) -> None:
        """The same, as the gate says it when its operator has armed it."""
        self.enable()

    def wait(self, timeout_s: float) -> bool:
        """Ask every drive and give the answers the time; whether there is somebody to read then. For start-up."""
        self.watch()
        self.pump(time.monotonic_ns() + round(timeout_s * 1e9))
        return self.link_is_up()

    def is_sealed(self) -> bool:
        """Drives that do not answer as the file says are refused at `connect`."""
        return True

    def echo(self, mode_machine: int) -> None:
        """Nothing to do: no protocol of drives names a variant."""

    def read(self) -> Reading:
        """What the drives answered since the last read, into `sample`."""
        now_ns = time.monotonic_ns()
        has_new = False
        for line in self.lines:
            line.hear(now_ns)
            has_new |= line.take(self.sample, self._has_written)
        self._has_written = False
        if not self._hear_imu(now_ns) or not has_new or not self._has_heard_all():
            return Reading.NONE
        self._tick += 1
        self.sample.tick[0] = self._tick & 0xFFFFFFFF
        return Reading.NEW

    def _has_heard_all(self) -> bool:
        """Whether every drive has told its position at least once: nobody may be armed on zeros."""
        self._is_complete = self._is_complete or all(line.is_complete for line in self.lines)
        return self._is_complete

    def _hear_imu(self, now_ns: int) -> bool:
        """The IMU's newest into `sample`; whether it is to be believed."""
        if self.imu is None:
            return True
        self.imu.hear(now_ns)
        if self.imu.is_stale(now_ns):
            return False
        self.imu.fill(self.sample)
        return True

    def write(self, command: SafeCommand) -> bool:
        """Ask every drive for its state with its new target; False when a port did not take it.

        Before `enable` the target is withheld: drives are only asked.
        """
        return self.relay(command)

    def relay(self, command: MotorCommand) -> bool:
        """The same for a bridge, which passes on what a gate at the other end of a network has made safe."""
        if not self._may_command:
            self.watch()
            return False
        is_taken = self._command(command) and self._is_open
        self._has_written = True
        return is_taken

    def watch(self) -> None:
        """Ask every drive for its state with a target that asks for nothing, while nobody commands them."""
        self._nothing.block[:, Q] = self.sample.q
        self._command(self._nothing)
        self._has_written = True

    def _command(self, command: MotorCommand) -> bool:
        is_taken = all([line.command(command) for line in self.lines])
        now_ns = time.monotonic_ns()
        for line in self._in_turns:
            line.hear(now_ns)
        return is_taken

    def pump(self, until_ns: int) -> None:
        """Turns of the buses that take them, until all are done or the time has come; then collect all answers."""
        end_ns = until_ns - self._collect_ns
        self._take_turns(end_ns)
        time.sleep(max(end_ns - time.monotonic_ns(), 0) * 1e-9)
        now_ns = time.monotonic_ns()
        for line in self.lines:
            line.hear(now_ns)
        if self.imu is not None:
            self.imu.hear(now_ns)
        took_ns = time.monotonic_ns() - now_ns
        self._collect_ns += (min(took_ns * 5 // 4, LONGEST_COLLECT_NS) - self._collect_ns) // COLLECT_PARTS

    def _take_turns(self, end_ns: int) -> None:
        """All ports beside each other; each is looked at only when something came on it, or its turn is over."""
        now_ns = time.monotonic_ns()
        due_ns = {line: line.hear(now_ns) for line in self._in_turns}
        while True:
            waiting = {line.port.descriptor: line for line, due in due_ns.items()
                       if due and line.port is not None and line.port.is_open}
            now_ns = time.monotonic_ns()
            if not waiting or now_ns >= end_ns:
                return
            next_ns = min(end_ns, *(due_ns[line] for line in waiting.values()))
            ready = select.select(list(waiting), [], [], max(next_ns - now_ns, 0) * 1e-9)[0]
            now_ns = time.monotonic_ns()
            for descriptor, line in waiting.items():
                if descriptor in ready or due_ns[line] <= now_ns:
                    due_ns[line] = line.hear(now_ns)

    def other_writers(self) -> list[str]:
        """Ports are locked for us alone while they are open."""
        return []

    def link_is_up(self) -> bool:
        """Whether every port is there."""
        return all(line.is_open for line in self.lines) and (self.imu is None or self.imu.is_open)

    def gain_reach(self) -> npt.NDArray[np.float64]:
        """(motors, 2) kp and kd that each motor's drive can take, in the joint's terms; infinite where nobody says."""
        out = np.full((len(self.sample.q), 2), np.inf)
        for line in self.lines:
            out[line.motors] = line.gain_reach()
        return out

    def statistics(self) -> list[dict[str, Any]]:
        """Of each port, for a monitor."""
        now_ns = time.monotonic_ns()
        return [line.statistics(now_ns) for line in self.lines]

    def _seek(self) -> None:
        """Opens again what has gone; its drives come back without torque, and stay so."""
        while self._is_open:
            time.sleep(REOPEN_S)
            for line in self.lines:
                if self._is_open and line.port is not None and not line.port.is_open:
                    self._reopen(line)
            if self._is_open and self.imu is not None and not self.imu.is_open:
                with contextlib.suppress(BridgeError):
                    self.imu.connect()

    def _reopen(self, line: Line) -> None:
        try:
            port = open_port(line.path, line.language.baud)
        except BridgeError:
            return
        with self._lock:
            if not self._is_open:
                port.close()
                return
            try:
                self._check(line, line.language.connect(port.exchange, self._watchdog_s))
            except BridgeError:
                port.close()
                return
            line.opened(port)
            line.reconnects += 1

    def close(self) -> None:
        """Take the torque and let every port go."""
        self._is_open = False
        with self._lock:
            self._take_torque()
            for line in self.lines:
                if line.port is not None:
                    line.port.close()
            if self.imu is not None:
                self.imu.close()


    def _take_torque(self) -> None:
        there = [line for line in self.lines if line.is_open]
        for _ in range(CLOSE_TIMES if there else 0):
            for line in there:
                line.disarm()
            self.pump(time.monotonic_ns() + round(CLOSE_S * 1e9))

    def let_go(self) -> list[str]:
        """Instead of `connect`: take the torque of every drive that can be reached, however it is set.

        Returns:
            Who may still have torque, in words: ports that cannot be opened, drives that say nothing or say that they
            have it. Empty when each drive was heard to have none.
        """
        doubts = []
        for line in self.lines:
            try:
                line.port = open_port(line.path, line.language.baud)
            except BridgeError as error:
                doubts.append(f"{', '.join(drive.name for drive in line.drives)}: {error}")
        self._take_torque()
        there = [line for line in self.lines if line.port is not None]
        for line in there:
            assert line.port is not None
            line.language.connect(line.port.exchange, self._watchdog_s)
            line.opened(line.port)
        self._take_torque()
        before = [line.language.states.answers.copy() for line in there]
        for _ in range(LOOK_CYCLES):
            self.watch()
            self.pump(time.monotonic_ns() + round(CLOSE_S * 1e9))
        for line, answers in zip(there, before, strict=True):
            states = line.language.states
            doubts += [f"{drive.name}: {'still has torque' if said else 'says nothing'}"
                       for drive, said, is_driving in zip(line.drives, (states.answers != answers).tolist(),
                                                          states.is_driving.tolist(), strict=True)
                       if is_driving or not said]
        return doubts


def _refuse_a_long_cycle(line: Line, period_s: float) -> None:
    needed = line.language.cycle_s()
    if needed > SHARE_OF_PERIOD * period_s:
        raise BridgeError(
            f"bus {line.path}", expected=f"a cycle within {SHARE_OF_PERIOD * period_s * 1e3:.2f} ms "
            f"({1 / period_s:.0f} Hz)", found=f"{needed * 1e3:.2f} ms for {len(line.drives)} drives",
            what_to_do="put fewer drives on this bus, or choose a lower rate")
