"""The same stages in one process on simulated time: deterministic, and many times faster than real time."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from firmware_bridge.ailments import Ailments
from firmware_bridge.motor_bus import Reading, SafeCommand
from firmware_bridge.simulated_hands import SimulatedHands, read_hand_table
from firmware_bridge.simulated_robot import SimulatedRobot
from runtime.calibration_file import calibration_of
from runtime.errors import Refused
from runtime.faults import Mode, Request, flag_names
from runtime.gate import Gate
from runtime.gate_log import GateLog
from runtime.hand import KEEP
from runtime.hand_calibration import hand_of
from runtime.hand_gate import HandGate
from runtime.log_file import LogWriter
from runtime.mux import Source
from runtime.operator_watch import OperatorWatch
from runtime.pilot import READY_S, Phase
from runtime.policy import Policy
from runtime.records import STREAM_DTYPE, TRUTH_DTYPE
from runtime.settings import GATE_HZ, RunSettings
from runtime.stream_watch import StreamWatch

PERIOD_NS = 1_000_000_000 // GATE_HZ
ARM_AFTER_TICKS = 50
TRUTH_EVERY = 5


class Operator(Protocol):
    """Stands for the operator's process on simulated time."""

    def look(self, now_ns: int, record: Any) -> Iterable[bytes]:
        """Fill a record of `OPERATOR_DTYPE` with what there is to say at `now_ns`; streamed frames, if any."""
        ...


class Feeder(Protocol):
    """Stands for the process of a streamed motion on simulated time; hands frames to the policy's stream by itself."""

    @property
    def newest_ns(self) -> int:
        """When the newest frame was handed over."""
        ...

    @property
    def is_over(self) -> bool:
        """The motion has come to its end, standing: the run is to end."""
        ...

    def feed(self, now_ns: int, *, followed: bool) -> None:
        """Whatever is due."""
        ...


class Lockstep:
    """One run on simulated time.

    Args:
        settings: what to do.
        policy: the policy stage of the run.
        robot: the simulated robot.
        log: where records go, or None.
        operator: says what the operator's process would, at every gate tick; None for a run without.

    Attributes:
        gate: for tests and campaigns to look at.
        hands: the gate's part for hands with simulated ones, None in a run without.
        command: what the gate wrote in the last tick.
        ailments: what happens to states on their way to the gate; None for nothing.
        feeder: of a run whose own motion is streamed; None for others.
        stream: (1,) `STREAM_DTYPE` of a run with a stream, kept up to date by whoever stands for its process.
        press: when (s) which buttons of the remote are pressed.
        now_ns: simulated monotonic time.
        real_time_factor: simulated seconds a second, after `run`.
    """

    def __init__(
        self, settings: RunSettings, policy: Policy, robot: SimulatedRobot, log: LogWriter | None = None,
        operator: Operator | None = None,
    ) -> None:
        description = policy.manifest.robot
        self.settings, self.policy, self.robot, self._log = settings, policy, robot, log
        self.gate = Gate(description, 1 / GATE_HZ, policy_hz=policy.manifest.rate_hz,
                         calibration=calibration_of(settings.calibration, description, settings.serial))
        self._operator, self._engages = operator, 0
        self._watch = OperatorWatch(description.limits, self.gate.review.findings,
                                    teleoperates=settings.teleop is not None)
        self.stream = np.zeros(1, STREAM_DTYPE)
        self._stream_watch = StreamWatch(description.limits, self.gate.review.findings)
        self._gate_log = GateLog(self.gate, description.motors)
        self.hands: SteppedHands | None = None
        if settings.hands is not None:
            self.hands = SteppedHands(settings, settings.hands)
        self._truth = Truth(robot, [foot.joints[-1] for foot in description.feet])
        if log is not None:
            log.add_channel("gate", self._gate_log.dtype)
            log.add_channel("policy", policy.log.dtype)
            log.add_channel("truth", TRUTH_DTYPE)
            if self.hands is not None:
                log.add_channel("hands", self.hands.gate.record.dtype)
        self.now_ns = 1_000_000_000
        self.press = float("inf"), 0
        self.ailments: Ailments | None = None
        self.feeder: Feeder | None = None
        self.request = Request.NONE
        self.command: SafeCommand | None = None
        self.reading = Reading.NEW
        self.events = 0
        self.ticks = 0
        self._policy_period_ns = round(1e9 / policy.manifest.rate_hz)
        self._policy_due_ns = self.now_ns
        self._ready_ticks = 0
        self._damped_ticks = 0
        self.real_time_factor = 0.0

    def tick(self) -> None:
        """One gate period; every so often a policy period inside it."""
        sample = self.robot.step()
        if self.robot.time_s >= self.press[0]:
            sample.remote[2], sample.remote[3] = self.press[1] & 0xFF, self.press[1] >> 8
        self.now_ns += PERIOD_NS
        self.ticks += 1
        reading = Reading.NONE if self.robot.lose_frame() else self.reading
        if reading is not Reading.NONE:
            self.robot.sense_accelerometer()
        if self.ailments is not None:
            reading, sample = self.ailments.carry(reading, sample)
        if self.feeder is not None:
            self.feeder.feed(self.now_ns, followed=self.policy.helm.source is Source.STREAM)
            self.stream["newest_ns"] = self.feeder.newest_ns
        target = self.policy.target
        events = self.events | int(target["flags"][0]) | self._hear_operator()
        start = time.perf_counter_ns()
        command = self.gate.tick(
            reading, sample, target["block"][0], int(target["sequence"][0]), int(target["made_ns"][0]),
            self.request, events, self.now_ns,
        )
        taken = time.perf_counter_ns() - start
        self.request = Request.NONE
        self.command = command
        if command is not None:
            self.robot.command(command)
        self._tick_hands()
        if self._log is not None:
            self._gate_log.fill(
                self.now_ns, command, command is not None, int(target["state_ns"][0]), 0, taken, sample.temperature_c
            )
            self._log.write("gate", self._gate_log.record.tobytes())
            if self.ticks % TRUTH_EVERY == 0:
                self._log.write("truth", self._truth.record(self.now_ns))
        if self.now_ns >= self._policy_due_ns:
            self._policy_due_ns += self._policy_period_ns
            self.policy_tick()

    def _tick_hands(self) -> None:
        if self.hands is None or self.policy.hands is None:
            return
        is_new = self.hands.tick(self.now_ns, self.gate.machine.mode, self.policy.hands.record)
        if is_new and self._log is not None:
            self._log.write("hands", self.hands.gate.record.tobytes())

    def _hear_operator(self) -> int:
        """What the operator's process says, to the policy and to the gate: the gate's flags of it.

        A fresh gesture asks the gate to track where it holds or stands, as the supervisor does.
        """
        if self._operator is None:
            return 0
        record = self.policy.helm.operator
        frames = self._operator.look(self.now_ns, record[0])
        if self.policy.stream is not None:
            for frame in frames:
                self.policy.stream.take(frame)
        engages = int(record["engages"][0])
        if engages > self._engages and self.gate.machine.mode in (Mode.HOLD, Mode.STAND):
            self.request = Request.TRACK
        self._engages = engages
        return self._watch.look(record[0], self.now_ns) | self._hear_stream()

    def _hear_stream(self) -> int:
        """The gate's flags of the run's own stream."""
        if not self.settings.is_streamed:
            return 0
        source = int(self.policy.target["source"][0])
        return self._stream_watch.look(self.stream[0], source, self.gate.machine.mode, self.now_ns)

    def policy_tick(self) -> None:
        """One policy period on the gate's newest state."""
        mode, state = self.gate.machine.mode, self.gate.state
        start = time.perf_counter_ns()
        self.policy.tick(mode, state, self.now_ns)
        taken = time.perf_counter_ns() - start
        if self._log is not None:
            self.policy.write_log(mode, self.now_ns, 0, taken)
            self._log.write("policy", self.policy.log.tobytes())

    def operate(self) -> None:
        """Do what an operator does: arm, let it track once it is ready, damp when it is finished."""
        mode, phase = self.gate.machine.mode, self.policy.pilot.phase
        if mode is Mode.DISARMED and self.ticks == ARM_AFTER_TICKS:
            self.request = Request.ARM
        elif mode is Mode.DISARMED and self.ticks > 2 * ARM_AFTER_TICKS:
            raise Refused("arming", expected="a healthy robot state", found=", ".join(flag_names(self.gate.flags)),
                          what_to_do="see docs/safety.md for what each flag means")
        elif mode is Mode.READY and phase is Phase.READY:
            self._ready_ticks += 1
            if self._ready_ticks > READY_S * GATE_HZ:
                self.request = Request.TRACK
        elif mode < Mode.DAMP and (phase is Phase.FINISHED or (self.feeder is not None and self.feeder.is_over)):
            self.request = Request.DAMP

    @property
    def is_over(self) -> bool:
        """Damped for as long as the robot's limits ask."""
        if self.gate.machine.mode >= Mode.DAMP:
            self._damped_ticks += 1
        return self._damped_ticks > self.policy.manifest.robot.limits.damp_min_s * GATE_HZ

    def run(self, longest_s: float = 3600.0) -> None:
        """From hanging on the gantry to damped."""
        start = time.perf_counter()
        with np.errstate(all="ignore"):  # as the gate's process: what is not finite is a flag, not a warning
            while not self.is_over and self.ticks < longest_s * GATE_HZ:
                self.operate()
                self.tick()
        self.real_time_factor = self.ticks / GATE_HZ / (time.perf_counter() - start)


class SteppedHands:
    """Simulated hands on simulated time, and the gate's part for them.

    Attributes:
        simulated: the hands. gate: as in the gate's process.
    """

    def __init__(self, settings: RunSettings, file: str) -> None:
        self.simulated = SimulatedHands(read_hand_table(Path(file)), PERIOD_NS * 1e-9)
        self.gate = HandGate(hand_of(settings), self.simulated, GATE_HZ, settings.hands_on_damp or KEEP)

    def tick(self, now_ns: int, mode: Mode, order: Any) -> bool:
        """One gate tick, after the body's; true when there is something to log."""
        self.simulated.step()
        return self.gate.tick(now_ns, mode, order)


class Truth:
    """The simulator's own knowledge of the base, as a log record.

    Args:
        feet: the joint that moves each foot.
    """

    def __init__(self, robot: SimulatedRobot, feet: list[str]) -> None:
        self._robot, self._feet = robot, feet
        self._record = np.zeros(1, TRUTH_DTYPE)
        self._record["foot_force_n"] = -1

    def record(self, now_ns: int) -> bytes:
        """The bytes of the record of this instant."""
        record = self._record
        record["now_ns"] = now_ns
        record["position"][0] = self._robot.base_position
        record["velocity"][0] = self._robot.base_velocity
        record["quat_wxyz"][0] = self._robot.base_orientation
        if len(self._feet) == record["foot_force_n"].shape[1]:
            record["foot_force_n"][0] = self._robot.ground_forces(self._feet)
        return record.tobytes()


def run_lockstep(
    settings: RunSettings, policy: Policy, robot: SimulatedRobot, out: Path, press: tuple[float, int],
    ailments: Ailments | None = None, notices: list[str] | None = None, feeder: Feeder | None = None,
) -> float:
    """A whole run with its log; returns how many times faster than real time it was.

    Args:
        notices: gets what an operator should hear of the hands.
    """
    log = LogWriter(out / "log.mcap", asdict(settings))
    lockstep = Lockstep(settings, policy, robot, log)
    lockstep.press, lockstep.ailments, lockstep.feeder = press, ailments, feeder
    try:
        lockstep.run()
    finally:
        log.close()
    if notices is not None and lockstep.hands is not None:
        notices += lockstep.hands.gate.messages
    return lockstep.real_time_factor

