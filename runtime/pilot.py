"""From arming to the last damped breath: which reference or command the controller sees at each tick.

The gate says how far the robot may go (`Mode`), the pilot what to do there:

    READY   ramp to the start pose, hold it stiffly (on a real robot: lower it to the floor now)
    TRACK   settle -> blend in -> play -> blend out -> settle -> finished
    HOLD    reference frozen, after a second as STAND
    STAND   blend to standing from the last commanded reference, settle, finished

With an operator the end of HOLD and STAND is standing, for as long as nobody says anything else: the helm (`helm.py`)
then tells the pilot to resume its motion, to follow another source, or to stand aside while another controller drives.

A motion inside the network has no blend: SETTLE holds its first row, and after it (or in HOLD and STAND) the row come
to is held, unless its manifest wants it to stand.

A controller that has not been tracking is not woken by HOLD or STAND: the pose of that moment is kept for a second,
then the run is finished.
"""

from __future__ import annotations

import math
import sys
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from firmware_bridge.motor_bus import KD, KP, Q
from runtime.controller import Controller, idle_frame
from runtime.embedded import Embedded
from runtime.faults import Mode
from runtime.reference import ReferenceFrame, ReferenceSource
from runtime.root_feedback import RootFeedback
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
    RESUME = 8
    ASIDE = 9
    FINISHED = 10


READY_S = 0.4
"""How long a simulated robot holds the start pose before it tracks: the gantry lets go meanwhile."""
SETTLE_S = 1.0
BLEND_IN_S = 0.5
BLEND_OUT_S = 1.0
RESUME_S = 0.5
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
        has_operator: whether somebody is there to say how it goes on after HOLD and STAND.
        waits: the motion is streamed: it stands until a live source is followed, and after that until `play_s` since it
            began to track are over.
        feedback: adds to the reference's velocities what keeps the robot at its place; None: nothing.

    Attributes:
        phase: what it is doing.
        play_time_s: time within the motion while it plays, else the time it would start or has stopped at.
        target: (motors, 5) float32 block to send: the ramp's while READY, then what `tick` or the helm puts there.
        was_helped: somebody engaged in this run, so that its motion's end is not its own.
        steered: (3,) float32, the command while ASIDE.
        command: (3,) float32, the run's own, for a velocity controller.
    """

    def __init__(
        self,
        controller: Controller,
        source: ReferenceSource | None,
        play_s: float,
        command: tuple[float, float, float] = (0.0, 0.0, 0.0),
        *,
        has_operator: bool = False,
        waits: bool = False,
        feedback: RootFeedback | None = None,
    ) -> None:
        manifest = controller.manifest
        self._feedback = feedback
        self._controller, self._source = controller, source
        self._period_s = 1 / manifest.rate_hz
        self._play_ticks = max(1, round(play_s * manifest.rate_hz)) if play_s < math.inf else sys.maxsize
        self._waits, self._tracked = waits, 0
        self.command: F32 = np.array(command, np.float32)
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
        self._resume_ticks = round(RESUME_S / self._period_s)
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
        self._has_operator, self.was_helped, self._ends = has_operator or waits, waits, not waits
        self._live: ReferenceSource | None = None
        self._played = 0
        self._blend_from = controller.window.new_frame()
        self._last_command, self.steered = np.zeros(3, np.float32), np.zeros(3, np.float32)

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
        if self.plan(mode, state):
            self._controller.tick(state)
            self.target[:] = self._controller.target
        return self.target

    def plan(self, mode: Mode, state: RobotState) -> bool:
        """One control period without the controller: true when it is to run on the window and command filled here."""
        if mode is not self._mode:
            self._enter(mode, state)
        if mode is Mode.DISARMED or mode >= Mode.DAMP:
            self.phase = Phase.WAIT if mode is Mode.DISARMED else Phase.FINISHED
            self.target[:, Q] = state.q
            return False
        if mode is Mode.READY or self._never_tracked:
            self._ramp() if mode is Mode.READY else self._keep()
            return False
        self._advance()
        self._tick += 1
        self._feed_back(state)
        return True

    def _feed_back(self, state: RobotState) -> None:
        """The velocities of a motion that plays, by how far the robot is from it; a motion that begins, begins here."""
        if self._feedback is None:
            return
        if self.phase not in (Phase.PLAY, Phase.RESUME):
            self._feedback.reset()
            return
        window = self._controller.window
        self._feedback.apply(window.now, window.frames, state.quat_wxyz.tolist())

    @property
    def has_tracked(self) -> bool:
        """Whether the robot has been tracking in this run."""
        return not self._never_tracked

    @property
    def has_motion_left(self) -> bool:
        """Whether there is anything to resume, or, of a streamed motion, time."""
        return (self._tracked if self._waits else self._played_ticks()) < self._play_ticks

    def resume(self) -> None:
        """The run's own motion, on from where it stopped; what was commanded last blends over while it plays."""
        if self.phase is Phase.PLAY and self._live is None:
            return
        self._note_played()
        self._go_on(None)

    def follow(self, live: ReferenceSource, blend_s: float = RESUME_S) -> None:
        """A source of frames as they come in, sampled at seconds from now; blended over likewise, in so long."""
        self._note_played()
        self._go_on(live)
        self._resume_ticks = max(1, round(blend_s / self._period_s))

    def stand_aside(self) -> None:
        """Another controller drives, or an operator steers this one: stand, re-anchored to the robot at every tick."""
        if self.phase is Phase.ASIDE:
            return
        self._note_played()
        self._take_leave()
        self._go(Phase.ASIDE)

    def leave(self, *, hold: bool) -> None:
        """To standing, from what is commanded now."""
        if self.phase not in (Phase.BLEND_OUT, Phase.SETTLE_OUT, Phase.ASIDE, Phase.FINISHED):
            self._leave_from_here(hold=hold)

    def _go_on(self, live: ReferenceSource | None) -> None:
        self._live = live
        self._resume_ticks = round(RESUME_S / self._period_s)
        self._controller.inputs.reinit[0] = 1
        if self.phase is Phase.ASIDE and self._controller.manifest.kind == "tracker":
            self._go(Phase.PLAY)  # it does not drive yet: nothing jumps, and its histories see the motion
            self._tick = self._played
            return
        self._blend_from.copy_from(self._controller.window.now)
        self._blend_from.stop()
        self._last_command[:] = self._controller.inputs.command
        self._go(Phase.RESUME)

    def _played_ticks(self) -> int:
        """How far the run's own motion has come."""
        if self._live is not None or self.phase not in (Phase.PLAY, Phase.RESUME):
            return self._played
        return self._tick if self.phase is Phase.PLAY else self._played + self._tick

    def _note_played(self) -> None:
        """Before the phase changes."""
        self._played = self._played_ticks()

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
                return
            self.leave(hold=mode is Mode.HOLD)
            self._ends = not self._has_operator or (self._waits and not self.has_motion_left)
            if mode is Mode.STAND and self.phase is Phase.BLEND_OUT:
                self._tick = max(self._tick, 0)

    def _go(self, phase: Phase) -> None:
        self.phase, self._tick = phase, 0

    def _ramp(self) -> None:
        s = min_jerk(self._tick / self._ramp_ticks)
        self.phase = Phase.RAMP if self._tick < self._ramp_ticks else Phase.READY
        self.target[:, Q] = (1 - s) * self._ramp_from + s * self._start_q
        self._tick += 1

    def _keep(self) -> None:
        self._tick += 1
        if self._tick > round(HOLD_S / self._period_s) and not self._has_operator:
            self.phase = Phase.FINISHED

    def _take_leave(self) -> None:
        self._last.copy_from(self._controller.window.now)
        self._last.stop()
        self._face(self._stand, self._last)
        if self._embedded is not None and self._embedded.after == "hold":
            self._stand.copy_from(self._last)
        self._controller.inputs.reinit[0] = 1

    def _leave_from_here(self, *, hold: bool) -> None:
        self._note_played()
        self._take_leave()
        self._ends = not (self._has_operator and self.was_helped) or (self._waits and not self.has_motion_left)
        self._last_command[:] = self._controller.inputs.command * (0.0 if hold else 1.0)
        self._go(Phase.BLEND_OUT)
        if hold:
            self._tick = -round(HOLD_S / self._period_s)

    def _advance(self) -> None:
        ticks, settle, blend_in = self._tick, self._settle_ticks, self._blend_in_ticks
        blend_out = round(BLEND_OUT_S / self._period_s)
        if self._waits:
            self._look_at_the_time()
            ticks = self._tick
        if self.phase is Phase.SETTLE and ticks >= settle and not self._waits:
            self._go(Phase.BLEND_IN if blend_in else Phase.PLAY)
        elif self.phase is Phase.BLEND_IN and ticks >= blend_in:
            self._go(Phase.PLAY)
        elif self.phase is Phase.RESUME and ticks >= self._resume_ticks:
            self._note_played()
            self._go(Phase.PLAY)
            self._tick = self._played
        elif self.phase is Phase.PLAY and self._live is None and ticks >= self._play_ticks:
            self._leave_from_here(hold=False)
        elif self.phase is Phase.BLEND_OUT and ticks >= blend_out:
            self._go(Phase.SETTLE_OUT)
        elif self.phase is Phase.SETTLE_OUT and self._ends and ticks >= round(SETTLE_S / self._period_s):
            self._go(Phase.FINISHED)
        self._fill(self._tick, blend_in, blend_out)

    def _look_at_the_time(self) -> None:
        """The run of a streamed motion ends after its time, whatever it does then."""
        self._tracked += 1
        if self._tracked < self._play_ticks or self._ends:
            return
        self._ends = True
        if self.phase is Phase.ASIDE or self.phase not in (Phase.BLEND_OUT, Phase.SETTLE_OUT):
            self._leave_from_here(hold=False)
            self._ends = True

    def _fill(self, tick: int, blend_in: int, blend_out: int) -> None:
        inputs, phase = self._controller.inputs, self.phase
        if phase in (Phase.PLAY, Phase.RESUME):
            self._play(tick)
            return
        if self._embedded is None or phase < Phase.PLAY:  # the network stays at the row it has come to
            inputs.step[0] = 0
        for frame in self._controller.window.frames:
            if phase is Phase.BLEND_IN:
                frame.blend(self._idle, self._first, tick / blend_in)
            elif phase is Phase.BLEND_OUT:
                frame.blend(self._last, self._stand, min_jerk(tick / blend_out))
            else:
                frame.copy_from(self._idle if phase is Phase.SETTLE else self._stand)
        if phase is Phase.BLEND_IN:
            inputs.command[:] = self.command * (tick / blend_in)
        elif phase is Phase.BLEND_OUT:
            inputs.command[:] = self._last_command * (1 - min_jerk(tick / blend_out))
        else:
            inputs.command[:] = self.steered if phase is Phase.ASIDE else 0
        if phase is Phase.ASIDE:
            inputs.reinit[0] = 1

    def _play(self, tick: int) -> None:
        """The motion's frames of this tick, or the live ones; in RESUME blended from what was commanded last."""
        window, inputs, s = self._controller.window, self._controller.inputs, 1.0
        if self.phase is Phase.RESUME:
            s = min_jerk(tick / self._resume_ticks)
            tick += self._played
        if self._live is None:
            self.play_time_s = tick * self._period_s
            inputs.step[0] = tick
        inputs.command[:] = self.command if s == 1 else (1 - s) * self._last_command + s * self.command
        source, now_s = (self._source, self.play_time_s) if self._live is None else (self._live, 0.0)
        if source is None:
            return
        for offset, frame in zip(window.offsets, window.frames, strict=True):
            source.sample(now_s + offset * self._period_s, frame)
            if s < 1:
                frame.blend(self._blend_from, frame, s)
