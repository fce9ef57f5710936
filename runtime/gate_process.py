"""The gate as a process: the only writer of commands. No model, no network but the bus.

    python -m runtime.gate_process SETTINGS.json [--spare]

A spare is loaded and waits for a line on standard input: it takes over, damping, from a gate that died, in the time
that joining the wire takes and not in the one that Python takes to start. It is no part of the run until then.
"""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType

import numpy as np

from firmware_bridge.errors import BridgeError
from firmware_bridge.libddsc import library
from firmware_bridge.motor_bus import Reading, SafeCommand
from firmware_bridge.remote import buttons_in
from runtime.calibration_file import calibration_of
from runtime.child import SPARE
from runtime.errors import Refused
from runtime.events import emit, emit_refusal
from runtime.faults import BIT, PLACE, Machine, Mode, Request, flag_names
from runtime.gate import Gate
from runtime.gate_bus import open_gate_bus, profile_of
from runtime.gate_hands import GateHands
from runtime.gate_log import GateLog
from runtime.operator_watch import OperatorWatch
from runtime.realtime import (
    Metronome,
    die_with_parent,
    freeze_garbage,
    go_first,
    go_real_time,
    lock_pages,
    protect_from_oom,
    unhurried,
)
from runtime.records import (
    CONTROL_DTYPE,
    GATE_RING,
    OPERATOR_DTYPE,
    STREAM_DTYPE,
    gate_log_dtype,
    status_dtype,
    target_dtype,
)
from runtime.robot import load_robot
from runtime.settings import GATE_HZ, SERIAL, RunSettings
from runtime.slots import Ring, Slot
from runtime.stream_watch import StreamWatch

PRIORITY, CORE = 80, -1
SPARE_NICE = -15
FIRST_STATE_S, FRESH_S = 5.0, 0.02
DISCOVERY_S = 0.6
"""How long to look for other writers before arming: discovery of a known participant takes milliseconds."""
WRITER_CHECK_TICKS, LINK_CHECK_TICKS = 5, 25
"""Other writers are looked for every 10 ms, the interface every 50 ms."""
PERIOD_NS = 1_000_000_000 // GATE_HZ
LONGEST_SILENCE_MS = 1000
CRASHED = 3
"""Exit code of a gate that did not end by itself: the supervisor brings up a damping one."""


class GateProcess:
    """Connects, checks, then ticks until the robot is damped and released."""

    def __init__(self, settings: RunSettings, *, real_time: bool = False) -> None:
        self._settings = settings
        robot = load_robot(settings.robot)
        profile = profile_of(settings)
        if profile.simulator_only:
            robot = replace(robot, mode_machine=(0,))  # that simulator leaves the variant zero
        self._robot = robot
        self._profile = profile
        self._bus = open_gate_bus(settings, robot)
        self._gate = Gate(
            robot, 1 / GATE_HZ, policy_hz=settings.rate_hz, checks_tick=profile.checks_tick,
            needs_remote=settings.target == "g1", real_time=real_time,
            calibration=calibration_of(settings.calibration, robot, settings.serial),
        )
        self._watch: OperatorWatch | None = None
        if settings.has_operator:
            self._watch = OperatorWatch(robot.limits, self._gate.review.findings,
                                        teleoperates=settings.teleop is not None)
        self._stream_watch: StreamWatch | None = None
        if settings.is_streamed:
            self._stream_watch = StreamWatch(robot.limits, self._gate.review.findings)
        shared, run, motors = Path(settings.shared), settings.run, robot.motors
        self._status = Slot(shared / "status", status_dtype(motors), run)
        self._target = Slot(shared / "target", target_dtype(motors), run)
        self._control = Slot(shared / "control", CONTROL_DTYPE, run)
        self._operator = Slot(shared / "operator", OPERATOR_DTYPE, run) if settings.has_operator else None
        self._stream = Slot(shared / "stream", STREAM_DTYPE, run) if settings.is_streamed else None
        self._ring = Ring(shared / "gate_ring", gate_log_dtype(motors), run, GATE_RING)
        self._log = GateLog(self._gate, motors, self._ring.record)
        self._hands = None if settings.hands is None else GateHands(settings)
        self._stop = False
        self._release = False
        self._has_writer = False
        self._others = 0
        self._link_is_up = True
        self._damp_until_ns = self._damped_ticks = self._silent_until_ns = 0
        self._is_silent = False
        self._status_state = self._status.record["state"]
        self._block = self._target.record["block"][0]
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """SIGINT damps until released; the others, the parent's death among them, damp for the minimum and end."""
        self._stop = True
        self._release |= number != signal.SIGINT

    def connect(self) -> None:
        """Wait for the robot and check that it is ours alone.

        Raises:
            Refused: no robot, another variant, or somebody else commanding it.
        """
        settings, bus = self._settings, self._bus
        where = f"rt/lowstate on domain {settings.domain}, interface {settings.interface or 'lo (loopback)'}"
        if settings.target == SERIAL:
            where = "an answer of every drive, and of the IMU,"
        deadline = time.monotonic() + FIRST_STATE_S
        reading = Reading.NONE
        while reading is not Reading.NEW:
            if time.monotonic() > deadline:
                raise Refused(
                    "robot", expected=f"{where} within {FIRST_STATE_S:.0f} s",
                    found="states with a wrong CRC" if reading is Reading.REJECTED else "nothing",
                    what_to_do="check power, cable, interface name and domain"
                    + (" (exoactor sim starts a simulated robot)" if settings.target in ("dds", "sim") else ""),
                )
            bus.wait(0.05)
            latest = bus.read()
            reading = latest if latest is not Reading.NONE else reading
        self._check_variant()
        end = time.monotonic() + DISCOVERY_S
        while time.monotonic() < end:
            others = bus.other_writers()
            if others:
                raise Refused("rt/lowcmd", expected="no other writer", found="; ".join(others),
                              what_to_do="stop the other controller (a killed one is forgotten after a few seconds)")
            time.sleep(0.02)
        if self._hands is not None:
            self._hands.connect()

    def _check_variant(self) -> None:
        sealed, mode = self._bus.is_sealed(), int(self._bus.sample.mode_machine[0])
        if self._profile.simulator_only:
            if sealed:
                raise Refused("robot", expected="unitree_mujoco: CRC, counter and mode_machine all zero",
                              found=f"a robot with CRC and mode_machine {mode}",
                              what_to_do="this profile is for that simulator only; use --robot g1 or --robot dds")
            return
        if self._robot.wire == "unitree_hg" and mode not in self._robot.mode_machine:
            raise Refused("mode_machine", expected=f"{self._robot.mode_machine} ({self._robot.description})",
                          found=f"{mode}", what_to_do="choose the controller and robot file of this variant")

    def arm_bus(self) -> None:
        """Announce the writer, unless the run is dry.

        Serial drives have let go by themselves when a gate had to be replaced, and stay so: torque is an operator's.
        """
        self._has_writer = True
        if self._settings.dry_run or (self._settings.damping and self._settings.target == SERIAL):
            return
        self._bus.open_writer()
        mode = self._settings.mode_machine
        self._bus.echo(mode if mode >= 0 else int(self._bus.sample.mode_machine[0]))

    def run(self) -> int:
        """Tick until released; returns 1 when a fault brought the robot down."""
        gate, control = self._gate, self._control
        if self._settings.damping:
            gate.machine = Machine(Mode.DAMP, PLACE["GATE_RESTARTED"])
            gate.seen_flags |= BIT["GATE_RESTARTED"]
        mode_machine = int(self._bus.sample.mode_machine[0])
        emit("ready", mode_machine=mode_machine, limits=asdict(self._robot.limits))
        self._settle_memory()
        self._bus.wait(FRESH_S)  # what was read so far is old by now, and the operator may arm at the first tick
        metronome, count, last_control = Metronome(PERIOD_NS), 0, 0
        while True:
            now = metronome.wait()
            count += 1
            request = Request.NONE
            if control.read() and int(control.record["sequence"][0]) != last_control:
                last_control = int(control.record["sequence"][0])
                request = Request(int(control.record["request"][0]))
                self._release |= request is Request.ZERO
                self._fall_silent(now, int(control.record["silence_ms"][0]))
            try:
                command = self._tick(now, request, count)
            except Exception as error:  # a bug of ours must end in damping, not in a stiff robot
                emit("error", message=f"{type(error).__name__}: {error}")
                gate.machine = Machine(Mode.DAMP, PLACE["INTERNAL_ERROR"], now)
                gate.seen_flags |= BIT["INTERNAL_ERROR"]
                command = gate.damp_now()
            self._is_silent = now < self._silent_until_ns and gate.machine.mode < Mode.DAMP
            written = command is not None and not self._is_silent and self._bus.write(command)
            if command is None:
                self._bus.watch()
            if self._hands is not None:
                self._hands.tick(now, gate.machine.mode)
            done = time.monotonic_ns()
            self._publish(now, command, written, metronome.late_ns, done - now)
            if self._is_over(now):
                break
            self._bus.pump(metronome.deadline_ns)
        ports = self._bus.statistics()
        self._bus.close()
        if self._hands is not None:
            self._hands.close()
        if ports:
            emit("buses", ports=ports)
        emit("done", flags=flag_names(gate.seen_flags), mode=gate.machine.mode.name, skipped=metronome.skipped)
        return 1 if gate.machine.cause >= 0 else 0

    def _settle_memory(self) -> None:
        """No more garbage, and no page that is not there. It takes 50 ms: whoever damps a robot does not wait for it,
        and the gate of another robot on this computer has to run meanwhile.
        """
        if self._settings.damping:
            freeze_garbage(at_once=True)
            return
        with unhurried():
            freeze_garbage()
            for line in lock_pages() if self._settings.real_time else ():
                emit("warning", message=f"gate without {line}")

    def _fall_silent(self, now: int, silence_ms: int) -> None:
        """Under a routine of calibration alone, and damping ends it: what does the firmware do when nobody commands?"""
        if self._settings.routine is not None and silence_ms:
            self._silent_until_ns = now + min(silence_ms, LONGEST_SILENCE_MS) * 1_000_000

    def _tick(self, now: int, request: Request, count: int) -> SafeCommand | None:
        events = BIT["OPERATOR_STOP"] if self._stop else 0
        if count % WRITER_CHECK_TICKS == 0 and not self._settings.damping:
            self._others = len(self._bus.other_writers())
        if self._others:
            events |= self._gate.review.note("SECOND_WRITER", self._others)
        target = self._target
        target.read()
        record = target.record
        events |= int(record["flags"][0])
        if self._watch is not None and self._operator is not None:
            self._operator.read()
            events |= self._watch.look(self._operator.record[0], now)
        if self._stream_watch is not None and self._stream is not None:
            self._stream.read()
            source = int(record["source"][0])
            events |= self._stream_watch.look(self._stream.record[0], source, self._gate.machine.mode, now)
        if count % LINK_CHECK_TICKS == 0:
            self._link_is_up = self._bus.link_is_up()
        if not self._link_is_up:
            events |= BIT["LINK_DOWN"]
        command = self._gate.tick(
            self._bus.read(), self._bus.sample, self._block, int(record["sequence"][0]), int(record["made_ns"][0]),
            request if request is not Request.ZERO else Request.NONE, events, now,
        )
        if command is not None and not self._has_writer:
            self.arm_bus()
        return command

    def _publish(self, now: int, command: SafeCommand | None, written: bool, late_ns: int, tick_ns: int) -> None:
        gate, status = self._gate, self._status
        record = status.record
        record["now_ns"], record["flags"], record["target_sequence"] = now, gate.flags, gate.target_sequence
        record["mode"], record["cause"] = gate.machine.mode, gate.machine.cause
        record["silent"] = self._is_silent
        record["temperature_c"][0] = self._bus.sample.temperature_c
        remote = self._bus.sample.remote
        record["buttons"] = buttons_in(int(remote[2]), int(remote[3]))
        self._status_state[0] = gate.state.record[0]
        status.publish()
        self._log.fill(now, command, written, int(self._target.record["state_ns"][0]), late_ns, tick_ns,
                       self._bus.sample.temperature_c)
        self._ring.push()

    def _is_over(self, now: int) -> bool:
        mode = self._gate.machine.mode
        if mode is Mode.DISARMED:
            return self._stop or self._release
        if mode < Mode.DAMP:
            return False
        if not self._damp_until_ns:
            self._damp_until_ns = now + round(self._robot.limits.damp_min_s * 1e9) + 50 * PERIOD_NS
        # Counted as well as timed: on a loaded machine without SCHED_FIFO periods are skipped.
        self._damped_ticks += 1
        is_long = now >= self._damp_until_ns and self._damped_ticks > self._robot.limits.damp_min_s * GATE_HZ
        return is_long and self._release


def _is_called(settings: RunSettings) -> bool:
    """Load what a gate needs, say so, and wait; False when the supervisor went without calling."""
    library()
    freeze_garbage()
    if settings.real_time:
        go_first(SPARE_NICE)  # waits at no cost, and has to wake at once
    emit("spare")
    return bool(sys.stdin.readline())


def main(argv: list[str]) -> int:
    """Entry of the process."""
    settings = RunSettings.load(Path(argv[0]))
    die_with_parent(signal.SIGTERM)
    if SPARE in argv and not _is_called(settings):
        return 0
    lacking: list[str] = []
    if settings.real_time:
        lacking = go_real_time(PRIORITY, CORE)
        for line in lacking:
            emit("warning", message=f"gate without {line}")
        protect_from_oom()
    np.seterr(all="ignore")
    try:
        process = GateProcess(settings, real_time=settings.real_time and not lacking)
        if settings.damping:
            process.arm_bus()
        else:
            process.connect()
    except BridgeError as error:
        emit_refusal(error)
        return 2
    try:
        return process.run()
    except Exception as error:  # Python's own code for this, 1, is a fault's
        emit("error", message=f"{type(error).__name__}: {error}")
        return CRASHED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
