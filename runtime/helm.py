"""Who steers at each tick, and what that means for the controllers: gestures in, mux, hand-over, target out.

Rules of it:

- A fresh gesture engages the source that the operator's record names then; nothing else does, and whatever leads to
  HOLD or STAND takes every engagement back.
- Whoever takes over ends the engagement of what was steering: a clip is not resumed because an operator let go. It is
  by a gesture that names CLIP, or by a request to track without any gesture.
- Where nobody steers, whichever controller has the balance stands.
- A gesture that cannot be followed changes nothing and is said aloud (`notices`).
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.controller import Controller
from runtime.faults import Mode
from runtime.handover import Driver, Handover
from runtime.limits import Limits
from runtime.mux import TELEOP, Offer, Source, pick
from runtime.pilot import Phase, Pilot
from runtime.records import OPERATOR_DTYPE
from runtime.state import RobotState
from runtime.steering import Steering
from runtime.stream_reference import StreamReference

F32 = npt.NDArray[np.float32]
OPERATED = frozenset({*TELEOP, Source.STREAM})
"""The sources that steer only while the dead-man is held."""
ASKED_NS, NEVER_NS = 1_000_000_000, 1 << 62
"""How long a stream that was asked for may take to be healthy; the one that a run starts with, for ever."""
NEAR_NS = 10_000_000_000
"""How long that one may then take to come near the robot: who walks is near it once a stride."""
GESTURE_NS = 500_000_000
"""How long a gesture may wait for the gate to track: the supervisor relays it within some milliseconds."""


class Helm:
    """The policy's side of an operator.

    Args:
        pilot: of the run's own controller.
        controller: the run's own.
        limits: of the robot.
        steered: the velocity controller that operators steer; the same as `controller` where that one takes commands,
            None where there is none.
        stream: the streamed reference, for trackers of a run with an operator or with a streamed motion.
        is_streamed: the stream is the run's own motion: whatever asks for that asks for the stream, for which nobody
            has to hold a dead-man.

    Attributes:
        operator: (1,) `OPERATOR_DTYPE`, the newest record; kept up to date by the caller.
        source: what steers.
        flags: of the fault table, as of the last tick.
        notices: what an operator should hear, oldest first; emptied by the caller.
    """

    def __init__(
        self, pilot: Pilot, controller: Controller, limits: Limits, *, steered: Controller | None = None,
        stream: StreamReference | None = None, is_streamed: bool = False,
    ) -> None:
        self._pilot, self._controller, self._steered, self._stream = pilot, controller, steered, stream
        self._late_ns = round(limits.operator_hold_s * 1e9)
        self._handover = Handover(controller, steered) if steered is not None and steered is not controller else None
        self._steering: Steering | None = None
        if steered is not None:
            self._steering = Steering(steered.manifest.command_ranges or (), 1 / steered.manifest.rate_hz)
        self.operator = np.zeros(1, OPERATOR_DTYPE)
        self._asked: F32 = self.operator["command"][0]
        self.source, self.flags = Source.NONE, 0
        self.notices: deque[str] = deque(maxlen=16)
        self._is_streamed = is_streamed
        self._operated = OPERATED - {Source.STREAM} if is_streamed else OPERATED
        self._wanted_until_ns, self._has_wanted, self._is_near_awaited = 0, False, False
        self._engaged: set[Source] = set()
        self._engages = -1
        self._gesture: tuple[int, Source] | None = None
        self._mode = Mode.DISARMED

    @property
    def share(self) -> float:
        """Of the steered controller in what is sent."""
        return self._handover.share if self._handover is not None else 0.0

    @property
    def command(self) -> F32:
        """(3,) the velocity command of this tick."""
        if self._handover is not None and self._steering is not None and self._handover.goal is Driver.STEERED:
            return self._steering.command
        return self._controller.inputs.command

    def tick(self, mode: Mode, state: RobotState, now_ns: int) -> F32:
        """One control period: the (motors, 5) block to hand to the gate."""
        pilot = self._pilot
        if mode is Mode.TRACK and not pilot.has_tracked and self._handover is not None:
            self._handover.reset()
        self._hear(mode, state, now_ns)
        self.flags = self._stream.look(now_ns) if self._stream is not None else 0
        source = pick(self._offers(mode, now_ns)) if mode >= Mode.TRACK else Source.NONE
        if source is not self.source:
            self._change(source, mode)
        self._steer()
        if not pilot.plan(mode, state):
            return pilot.target
        if self._handover is None:
            self._controller.tick(state)
            pilot.target[:] = self._controller.target
        else:
            pilot.target[:] = self._handover.tick(state)
            if self._handover.driver is Driver.STEERED and self._handover.goal is Driver.STEERED:
                pilot.stand_aside()
        return pilot.target

    def _hear(self, mode: Mode, state: RobotState, now_ns: int) -> None:
        """Gestures and the gate's mode into who is engaged."""
        record = self.operator
        engages = int(record["engages"][0])
        if 0 <= self._engages < engages:
            self._gesture = now_ns, Source(min(int(record["source"][0]), Source.ESTOP))
        self._engages = engages
        if self._gesture is not None and now_ns - self._gesture[0] > GESTURE_NS:
            self._gesture = None
        before, self._mode = self._mode, mode
        is_held = bool(record["held"][0])
        if self._stream is not None and self._lets_go_of_stream(is_held, mode):
            self._stream.disengage()  # in HOLD its silence still counts: it may become the reason to stand
        if not is_held:
            self._engaged -= self._operated
        if mode is not Mode.TRACK:
            self._engaged.clear()
            self._wanted_until_ns = 0
            return
        if self._wanted_until_ns:
            self._engage_when_healthy(state, now_ns)
        if before is not Mode.TRACK and (self._gesture is None or not self._pilot.has_tracked):
            self._engage(Source.CLIP, state, now_ns)
        if self._gesture is not None:
            self._engage(self._gesture[1], state, now_ns)
            self._gesture = None

    def _lets_go_of_stream(self, is_held: bool, mode: Mode) -> bool:
        assert self._stream is not None
        if not self._is_streamed:
            return not is_held or mode > Mode.HOLD
        is_over = self._pilot.has_tracked and not self._pilot.has_motion_left
        return is_over or mode > Mode.HOLD or (mode is Mode.HOLD and not self._stream.is_late)

    def _engage_when_healthy(self, state: RobotState, now_ns: int) -> None:
        """The run's own stream was asked for: once it is healthy and near it is followed; after a while, refused."""
        assert self._stream is not None
        is_over = now_ns > self._wanted_until_ns
        if not (self._stream.is_healthy or is_over):
            return
        refusal = self._stream.engage(state, self._controller.window.now, now_ns)
        if not self._pilot.has_motion_left:
            self._stream.disengage()
            refusal, is_over = "the run's time is over", True
        if refusal and not is_over:
            self._await_nearness(refusal, now_ns)
            return
        self._wanted_until_ns = 0
        if refusal:
            self.notices.append(f"the stream is not followed: {refusal}; it has to be asked for again")
        else:
            self._engaged -= OPERATED
            self._engaged.add(Source.STREAM)

    def _await_nearness(self, refusal: str, now_ns: int) -> None:
        """A stream that is healthy and too far: for how long it goes on being wanted, said once."""
        if self._is_near_awaited:
            return
        self._is_near_awaited = True
        self._wanted_until_ns = min(self._wanted_until_ns, now_ns + NEAR_NS)
        seconds = (self._wanted_until_ns - now_ns) * 1e-9
        self.notices.append(f"the stream is not followed yet: {refusal}; waiting {seconds:.0f} s for it to come near")

    def _want_stream(self, now_ns: int) -> None:
        """At the start of the run for as long as it takes, later for a second."""
        self._wanted_until_ns = now_ns + ASKED_NS if self._has_wanted else NEVER_NS
        self._has_wanted, self._is_near_awaited = True, False

    def _engage(self, source: Source, state: RobotState, now_ns: int) -> None:
        """What a gesture asks for, if it can be had."""
        if source is Source.NONE:  # a run that only has emergency stops: a gesture lets it go on
            source = Source.CLIP
        if self._is_streamed and source is Source.CLIP:
            self._want_stream(now_ns)
            return
        if source in OPERATED and not self.operator["held"][0]:
            refusal = "the dead-man is released"
        elif source in TELEOP:
            refusal = "" if self._steered is not None else "this run has no velocity controller"
        elif source is Source.STREAM:
            refusal = "this controller follows no stream" if not self._is_streamed else "hand back to the run's own"
            if self._stream is not None and not self._is_streamed:
                refusal = self._stream.engage(state, self._controller.window.now, now_ns)
        elif source is Source.CLIP:
            refusal = "" if self._pilot.has_motion_left else "the motion is over"
        else:
            refusal = "nothing that can steer"
        if refusal:
            self.notices.append(f"not engaged by {source.name.lower()}: {refusal}")
        else:
            self._engaged -= OPERATED
            self._engaged.add(source)

    def _offers(self, mode: Mode, now_ns: int) -> list[Offer]:
        record, engaged = self.operator, self._engaged
        is_linked = now_ns - int(record["heard_ns"][0]) <= self._late_ns
        is_ready = is_linked and (self._handover is None or self._handover.is_ready)
        return [
            Offer(Source.ESTOP, mode >= Mode.DAMP),
            *(Offer(source, source in engaged, is_ready) for source in TELEOP),
            Offer(Source.STREAM, Source.STREAM in engaged and self._stream is not None and self._stream.is_engaged,
                  self._stream is not None and self._stream.is_healthy),
            Offer(Source.CLIP, Source.CLIP in engaged),
        ]

    def _change(self, source: Source, mode: Mode) -> None:
        """Another source steers from this tick on."""
        self.source = source
        pilot, handover = self._pilot, self._handover
        if source in TELEOP or source is Source.STREAM:
            self._engaged &= {source}
            pilot.was_helped = True
        if (source in TELEOP or source is Source.CLIP) and self._stream is not None:
            self._wanted_until_ns = 0
            self._stream.disengage()
        if source in TELEOP:
            if handover is None:
                self._steering_from(self._controller.inputs.command)
                pilot.stand_aside()
            elif handover.goal is not Driver.STEERED:
                self._steering_from(np.zeros(3, np.float32))
                handover.go(Driver.STEERED)
        elif source is Source.STREAM and self._stream is not None:
            pilot.follow(self._stream, self._stream.blend_s)
            self._give_to_tracker()
        elif source is Source.CLIP and pilot.has_tracked:
            pilot.resume()
            self._give_to_tracker()
        elif source is Source.STAND and mode >= Mode.TRACK:
            if handover is not None and handover.driver is not handover.goal:
                handover.go(Driver.STEERED)  # half-way, the one that takes commands is the better one to stop with
            elif pilot.phase is not Phase.ASIDE and mode is Mode.TRACK:
                pilot.leave(hold=True)

    def _give_to_tracker(self) -> None:
        if self._handover is not None:
            self._handover.go(Driver.TRACKER)

    def _steering_from(self, command: Any) -> None:
        if self._steering is not None:
            self._steering.command[:] = command

    def _steer(self) -> None:
        """The ramped command to whoever is steered."""
        steering = self._steering
        if steering is None:
            return
        command = steering.tick(self._asked if self.source in TELEOP else None)
        if self._handover is None:
            self._pilot.steered[:] = command
        elif self._steered is not None:
            self._steered.inputs.command[:] = command
