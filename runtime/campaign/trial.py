"""A lock-step run that can be harmed: its states, its policy, its gate's own time, its operator.

What the gate's process does around its gate (`runtime/gate_process.py`) is done here on simulated time and at that
process's own cadence: other writers, the carrier, the policy's flags, the operator's record.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from firmware_bridge.ailments import Ailments
from firmware_bridge.motor_bus import F32, Q
from firmware_bridge.simulated_robot import SimulatedRobot
from runtime.campaign.streamer import Streamer
from runtime.faults import BIT, Mode, Request
from runtime.gate import Gate
from runtime.gate_process import LINK_CHECK_TICKS, WRITER_CHECK_TICKS
from runtime.lockstep import PERIOD_NS, Lockstep
from runtime.loop_checks import Misses
from runtime.mux import Source
from runtime.operator_watch import OperatorWatch
from runtime.pilot import Phase
from runtime.policy import Policy
from runtime.records import OPERATOR_DTYPE
from runtime.settings import GATE_HZ, RunSettings

OPERATOR_TICKS = 5
"""The operator's process writes its record every 10 ms."""
HEARD_TICKS = 25
"""A commander's message arrives every 50 ms: 20 Hz, the slowest that is allowed."""
CHARGE_PERCENT = 22.0
"""Just enough to be healthy, so that a battery runs low within the seconds of a run."""
STREAM_S = 0.25
"""A stream is healthy by then."""
TILTED = 0.5
"""Cosine of a trunk's tilt that is a fall, as in reports."""


class ScriptedOperator:
    """What a healthy operator's process says on simulated time, until told otherwise.

    Attributes:
        record: `OPERATOR_DTYPE` fields as they are now; written for others every 10 ms.
        beats, hears: its process lives; its commander's messages arrive.
        stream: who sends reference frames; None for nobody.
    """

    def __init__(self) -> None:
        self.record = np.zeros(1, OPERATOR_DTYPE)
        self.record["held"] = 1
        self.beats = self.hears = True
        self.stream: Streamer | None = None
        self._ticks = 0

    def engage(self, source: Source = Source.NONE) -> None:
        """A fresh gesture: from now on this source commands (NONE: the run's own motion goes on)."""
        self.record["engages"] += 1
        self.record["source"] = source

    def look(self, now_ns: int, record: Any) -> Iterable[bytes]:
        """As `Lockstep` asks: the record that others see, and the frames that have come."""
        if self.hears and self._ticks % HEARD_TICKS == 0:
            self.record["heard_ns"] = now_ns
        if self.beats and self._ticks % OPERATOR_TICKS == 0:
            self.record["beat_ns"] = now_ns
            for name in OPERATOR_DTYPE.names or ():
                record[name] = self.record[name][0]
        self._ticks += 1
        return self.stream.frames(now_ns) if self.stream is not None else ()


class Trial(Lockstep):
    """One run that can be harmed.

    Attributes:
        policy_tick_instead: called instead of the policy's tick.
        target_after: called after each policy tick, to change the target; `targets_changed` counts them.
        pauses: gate ticks to leave out, each at or after a tick.
        pauses_done: how many of them are over.
        gate_is_dead: the gate does not tick.
        is_stopped: a stop signal has reached the gate.
        frozen: the motor that repeats itself, and its target when it began to, rad.
    """

    def __init__(self, settings: RunSettings, policy: Policy, robot: SimulatedRobot, seed: int) -> None:
        self.operator = ScriptedOperator()
        super().__init__(settings, policy, robot, operator=self.operator)
        description = policy.manifest.robot
        self.gate = Gate(description, 1 / GATE_HZ, policy_hz=policy.manifest.rate_hz, real_time=True)
        self.ailments: Ailments = Ailments(robot, seed=seed, holds=True)
        robot.sample.battery_percent[0] = CHARGE_PERCENT
        self._watch = OperatorWatch(description.limits, self.gate.review.findings, teleoperates=True)
        self._misses = Misses(description.limits, self._policy_period_ns)
        self.policy_tick_instead: Callable[[Trial], None] | None = None
        self.target_after: Callable[[Trial], None] | None = None
        self.pauses: deque[tuple[int, int]] = deque()
        self.pauses_done = self.targets_changed = 0
        self.gate_is_dead = self.is_stopped = False
        self.frozen = 0, 0.0
        self._fall_height_m = description.fall_height_m or 0.0
        self._later: list[tuple[int, Callable[[Trial], None]]] = []
        self._others, self._link_is_up = False, True

    def tick(self) -> None:
        """One gate period, or one that the gate sleeps through."""
        for due in [due for due in self._later if due[0] <= self.now_ns]:
            self._later.remove(due)
            due[1](self)
        if self.gate_is_dead or (self.pauses and self.ticks >= self.pauses[0][0]):
            self._sleep()
            return
        self.events = self._events()
        super().tick()

    def _sleep(self) -> None:
        """The world goes on without the gate."""
        self.robot.step()
        self.now_ns += PERIOD_NS
        self.ticks += 1
        if self.pauses:
            start, count = self.pauses.popleft()
            if count > 1:
                self.pauses.appendleft((start, count - 1))
            else:
                self.pauses_done += 1
        if self.now_ns >= self._policy_due_ns:
            self._policy_due_ns += self._policy_period_ns
            self.policy_tick()

    def _events(self) -> int:
        """What the gate's process would tell its gate beside the policy's and the operator's flags."""
        if self.ticks % WRITER_CHECK_TICKS == 0:
            self._others = self.ailments.has("second-writer")
        if self.ticks % LINK_CHECK_TICKS == 0:
            self._link_is_up = not self.ailments.has("link-down")
        flags = BIT["SECOND_WRITER"] if self._others else 0
        flags |= BIT["OPERATOR_STOP"] if self.is_stopped else 0
        return flags if self._link_is_up else flags | BIT["LINK_DOWN"]

    def policy_tick(self) -> None:
        """The policy's tick, or what befalls it."""
        if self.policy_tick_instead is not None:
            self.policy_tick_instead(self)
            return
        super().policy_tick()
        if self.target_after is not None:
            self.target_after(self)
            self.targets_changed += 1

    def finish_late(self, due_ns: int) -> None:
        """A policy tick that was due at `due_ns` is done and published only now, as `PolicyProcess` does it."""
        super().policy_tick()
        self.policy.target["flags"] |= np.uint64(self._misses.look(self.now_ns - due_ns))

    def stream_on(self) -> None:
        """Stream the run's own clip from where it is, and let the operator's stream command once it is healthy."""
        assert self.settings.clip is not None
        play_s = self.policy.pilot.play_time_s
        self.operator.stream = Streamer(self.policy.manifest.robot, self.settings.clip, play_s, self.now_ns)
        self.at(STREAM_S, lambda trial: trial.operator.engage(Source.STREAM))

    def play(self, until_s: float) -> bool:
        """From the gantry to this time within the motion; False when a flag with a reaction came first."""
        while self.policy.pilot.phase < Phase.PLAY or self.policy.pilot.play_time_s < until_s:
            self.operate()
            self.tick()
            if self.gate.machine.mode > Mode.TRACK:
                return False
        return True

    def at(self, delay_s: float, what: Callable[[Trial], None]) -> None:
        """Let something happen before the tick that is this far away."""
        self._later.append((self.now_ns + round(delay_s * 1e9), what))

    def arm_again(self) -> None:
        """What an impatient operator does: asks for everything that goes up."""
        self.request = Request.TRACK if self.ticks % 2 else Request.ARM

    @property
    def commanded_q(self) -> F32:
        """(motors,) position targets of the last command, rad; where the robot stands before the first."""
        return self.gate.state.q if self.command is None else self.command.block[:, Q]

    @property
    def has_fallen(self) -> bool:
        """Tilted by more than 60 deg, or too low."""
        _, x, y, _ = self.robot.base_orientation.tolist()
        return 1 - 2 * (x * x + y * y) < TILTED or float(self.robot.base_position[2]) < self._fall_height_m
