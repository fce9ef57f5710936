"""From arming to the last damped breath: which reference or command the controller sees at each tick.

The gate says how far the robot may go (`Mode`), the pilot what to do there:

    READY   ramp to the start pose, hold it stiffly (on a real robot: lower it to the floor now)
    TRACK   settle -> blend in -> play -> blend out -> settle -> finished
    HOLD    reference frozen, after a second as STAND
    STAND   blend to standing from the last commanded reference, settle, finished

A motion inside the network has no blend: SETTLE holds its first row, and after it (or in HOLD and STAND) the row come
to is held, unless its manifest wants it to stand.

A controller that has not been tracking is not woken by HOLD or STAND: the pose of that moment is kept for a second,
then the run is finished.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from firmware_bridge.motor_bus import KD, KP, Q
from runtime.controller import Controller, idle_frame
from runtime.embedded import Embedded
from runtime.faults import Mode
from runtime.reference import ReferenceFrame, ReferenceSource
from runtime.state import RobotState

F32 = npt.NDArray[np.float32]


class Phase(IntEnum):
    """What the pilot is doing."""

    WAIT = 0
    RAMP = 1
    READY = 2
    SETTLE = 3
    BLEND_IN = 4
    PLAY = 5
    BLEND_OUT = 6
    SETTLE_OUT = 7
    FINISHED = 8


READY_S = 0.4
"""How long a simulated robot holds the start pose before it tracks: the gantry lets go meanwhile."""
SETTLE_S = 1.0
BLEND_IN_S = 0.5
BLEND_OUT_S = 1.0
HOLD_S = 1.0
RAMP_MIN_S = 1.5
RAMP_RATE_RAD_S = 1.0
"""Mean joint speed of the ramp to the start pose; the min-jerk peak is 1.875 times this."""


def min_jerk(s: float) -> float:
    """0 to 1 with zero velocity and acceleration at both ends (Flash and Hogan 1985)."""
    s = min(max(s, 0.0), 1.0)
    return s * s * s * (10 - 15 * s + 6 * s * s)


class Pilot:
    """Schedules one run of one controller.

    Args:
        controller: whose window and command it fills.
        source: the motion, or None for a velocity command.
        play_s: how long to play.
        command: (vx, vy, yaw rate) for a velocity controller.

    Attributes:
        phase: what it is doing.
        play_time_s: time within the motion while it plays, else the time it would start or has stopped at.
        target: (motors, 5) float32 block to send: the ramp's while READY, then the controller's.
    """

    def __init__(
        self,
        controller: Controller,
        source: ReferenceSource | None,
        play_s: float,
        command: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> None:
        manifest = controller.manifest
        self._controller, self._source = controller, source
        self._period_s = 1 / manifest.rate_hz
        self._play_ticks = max(1, round(play_s * manifest.rate_hz))
        self._command = np.array(command, np.float32)
        self._idle = idle_frame(manifest)
        self._first, self._last = controller.window.new_frame(), controller.window.new_frame()
        if source is not None:
            source.sample(0.0, self._first)
        else:
            self._first.copy_from(self._idle)
        self._stand = idle_frame(manifest)
        self._own_channels = set(manifest.idle_channels)
        self._face(self._idle, self._first)
        self._start_q = controller.target[:, Q].copy()
        self._settle_ticks = round(SETTLE_S / self._period_s)
        self._blend_in_ticks = round(BLEND_IN_S / self._period_s)
        self._embedded = manifest.embedded
        if self._embedded is not None:
            self._stand_as_the_motion_begins(self._embedded)
        self._ramp_from = np.zeros_like(self._start_q)
        self.target: F32 = controller.target.copy()
        self.phase = Phase.WAIT
        self.play_time_s = 0.0
        self._tick = 0
        self._ramp_ticks = 1
        self._mode = Mode.DISARMED
        self._never_tracked = True

    def _stand_as_the_motion_begins(self, embedded: Embedded) -> None:
        """A motion inside a network is waited for in its first row, as its deployments do."""
        self._idle.copy_from(self._first)
        self._settle_ticks, self._blend_in_ticks = round(embedded.settle_s / self._period_s), 0
        if embedded.start == "reference":
            self._start_q[self._controller.manifest.motor_index] = self._first.joint_pos

    def _face(self, idle: ReferenceFrame, like: ReferenceFrame) -> None:
        """Let a standing frame stand where another one is, facing the same way, with its channels."""
        for name, values in idle.channels.items():
            if name not in self._own_channels:
                values[:] = like.channels[name]
        idle.root_pos[:2] = like.root_pos[:2]
        idle.root_rpy[2] = like.root_rpy[2]
        idle.blend(idle, idle, 0.0)

    def tick(self, mode: Mode, state: RobotState) -> F32:
        """One control period: returns the target block to hand to the gate."""
        if mode is not self._mode:
            self._enter(mode, state)
        if mode is Mode.DISARMED or mode >= Mode.DAMP:
            self.phase = Phase.WAIT if mode is Mode.DISARMED else Phase.FINISHED
            self.target[:, Q] = state.q
            return self.target
        if mode is Mode.READY:
            return self._ramp()
        if self._never_tracked:
            return self._keep()
        self._advance()
        self._controller.tick(state)
        self.target[:] = self._controller.target
        self._tick += 1
        return self.target

    def _enter(self, mode: Mode, state: RobotState) -> None:
        before, self._mode = self._mode, mode
        if mode is Mode.READY:
            self._ramp_from[:] = state.q
            far = float(np.abs(self._start_q - state.q).max())
            self._ramp_ticks = max(round(RAMP_MIN_S / self._period_s), round(far / RAMP_RATE_RAD_S / self._period_s))
            self._tick = 0
            self.target[:, [KP, KD]] = self._controller.target[:, [KP, KD]]
        elif mode is Mode.TRACK and self._never_tracked:
            self._never_tracked = False
            self._controller.reset()
            self._go(Phase.SETTLE)
        elif mode in (Mode.HOLD, Mode.STAND):
            if self._never_tracked:
                self._tick = 0 if before < Mode.HOLD else self._tick
            elif self.phase < Phase.BLEND_OUT:
                self._leave_from_here(hold=mode is Mode.HOLD)

    def _go(self, phase: Phase) -> None:
        self.phase, self._tick = phase, 0

    def _ramp(self) -> F32:
        s = min_jerk(self._tick / self._ramp_ticks)
        self.phase = Phase.RAMP if self._tick < self._ramp_ticks else Phase.READY
        self.target[:, Q] = (1 - s) * self._ramp_from + s * self._start_q
        self._tick += 1
        return self.target

    def _keep(self) -> F32:
        self._tick += 1
        if self._tick > round(HOLD_S / self._period_s):
            self.phase = Phase.FINISHED
        return self.target

    def _leave_from_here(self, *, hold: bool) -> None:
        self._last.copy_from(self._controller.window.now)
        self._last.stop()
        self._face(self._stand, self._last)
        if self._embedded is not None and self._embedded.after == "hold":
            self._stand.copy_from(self._last)
        self._controller.inputs.reinit[0] = 1
        self._last_command = self._controller.inputs.command * (0.0 if hold else 1.0)
        self._go(Phase.BLEND_OUT)
        if hold:
            self._tick = -round(HOLD_S / self._period_s)

    def _advance(self) -> None:
        ticks, settle, blend_in = self._tick, self._settle_ticks, self._blend_in_ticks
        blend_out = round(BLEND_OUT_S / self._period_s)
        if self.phase is Phase.SETTLE and ticks >= settle:
            self._go(Phase.BLEND_IN if blend_in else Phase.PLAY)
        elif self.phase is Phase.BLEND_IN and ticks >= blend_in:
            self._go(Phase.PLAY)
        elif self.phase is Phase.PLAY and ticks >= self._play_ticks:
            self._leave_from_here(hold=False)
        elif self.phase is Phase.BLEND_OUT and ticks >= blend_out:
            self._go(Phase.SETTLE_OUT)
        elif self.phase is Phase.SETTLE_OUT and ticks >= round(SETTLE_S / self._period_s):
            self._go(Phase.FINISHED)
        self._fill(self._tick, blend_in, blend_out)

    def _fill(self, tick: int, blend_in: int, blend_out: int) -> None:
        window, inputs = self._controller.window, self._controller.inputs
        phase = self.phase
        if phase is Phase.PLAY:
            inputs.step[0] = tick
        elif self._embedded is None or phase < Phase.PLAY:  # the network stays at the row it has come to
            inputs.step[0] = 0
        if phase is Phase.PLAY:
            self.play_time_s = tick * self._period_s
            inputs.command[:] = self._command
            if self._source is None:
                return
            for offset, frame in zip(window.offsets, window.frames, strict=True):
                self._source.sample(self.play_time_s + offset * self._period_s, frame)
            return
        for frame in window.frames:
            if phase is Phase.BLEND_IN:
                frame.blend(self._idle, self._first, tick / blend_in)
            elif phase is Phase.BLEND_OUT:
                frame.blend(self._last, self._stand, min_jerk(tick / blend_out))
            else:
                frame.copy_from(self._idle if phase is Phase.SETTLE else self._stand)
        if phase is Phase.BLEND_IN:
            inputs.command[:] = self._command * (tick / blend_in)
        elif phase is Phase.BLEND_OUT:
            inputs.command[:] = self._last_command * (1 - min_jerk(tick / blend_out))
        else:
            inputs.command[:] = 0
