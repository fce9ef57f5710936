"""A streamed reference as a source of frames: played a fixed time behind its sender, anchored where it was engaged.

The jitter buffer is as deep as the longest gap that is bridged, 100 ms: when the frames it holds have run out, the
stream counts as late. Look-ahead frames lie within it and are real; beyond the newest frame the reference rests. For a
controller that looks further ahead it is deeper by as much.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.channels import CHANNELS, HAND_JOINTS, ChannelTable
from runtime.faults import BIT
from runtime.limits import Limits
from runtime.motor_checks import carrying_motors
from runtime.pilot import RESUME_S, min_jerk
from runtime.reference import ReferenceFrame
from runtime.robot import JointOrder, Robot
from runtime.state import RobotState
from runtime.stream_buffer import FADE_NS, FRAMES, StreamBuffer

F64 = npt.NDArray[np.float64]
DEPTH_NS, MARGIN_NS = 100_000_000, 80_000_000
"""The least depth, and how much of it lies beyond the furthest look-ahead."""
SLEW = 0.01
"""How much faster or slower than time itself the stream is played while the clocks' difference is followed."""
HEADED = ("smpl_quat_wxyz",)
"""Channels that are a rotation in the world: they are anchored with the root, each from its own heading."""
AROUND_NS = 40_000_000
"""How far the root's velocity looks to either side: with a look-ahead of one period still within the buffer's depth."""
ENGAGE_FRAMES = 5
ENGAGE_RAD, ENGAGE_ARM_RAD, ENGAGE_M = 0.8, 1.2, 0.2
"""Nobody engages with a first frame further from the robot's joints, tilt or reference height. Arms carry nothing and
may be further: of fourteen mocap clips each comes within 1.16 rad in its first two seconds (eleven within 0.8)."""
BLEND_RAD_S = 1.6
"""Mean speed of the furthest joint while it is blended over to: a peak of 3 rad/s, the fastest that the ramp to the
start pose may be."""


class StreamReference:
    """Frames of a stream, in a controller's order.

    Args:
        channels: what the controller reads besides joints and root.
        ahead_s: how far it looks ahead.

    Attributes:
        buffer: where frames come in.
        is_engaged: it is being followed, or was until the gate fell back to HOLD.
        is_healthy: it can be followed; as of the last `look`. is_late: no frame for longer than the limit.
        depth_ns: how long after its fastest arrival a frame is played.
        added_s: the same as it is, while the clocks' difference is followed.
        age_s: of the newest frame.
        blend_s: how long to blend over to it, as of the last time it was engaged.
    """

    def __init__(
        self, robot: Robot, order: JointOrder, limits: Limits, channels: ChannelTable | None = None,
        ahead_s: float = 0.0,
    ) -> None:
        self.buffer = StreamBuffer(robot, order, limits, channels)
        self.depth_ns = max(DEPTH_NS, round(ahead_s * 1e9) + MARGIN_NS)
        table = channels or ChannelTable()
        self._turning = {name: slice(self.buffer.extra.start + table.places[name].start,
                                     self.buffer.extra.start + table.places[name].stop)
                         for name in HEADED if name in table.places}
        self._turns = dict.fromkeys(self._turning, (1.0, 0.0, 0.0, 0.0))
        self._places = {name: slice(self.buffer.extra.start + place.start, self.buffer.extra.start + place.stop)
                        for name, place in table.places.items()}
        self.is_late, self.added_s, self.age_s = False, math.nan, math.nan
        self._limits, self._names = limits, order.names
        self._motors = robot.motor_index(order)
        self._hold_ns = round(limits.reference_hold_s * 1e9)
        self._stand_ns = round(limits.reference_stand_s * 1e9)
        self._row, self._from, self._to = (np.zeros_like(self.buffer.jump_from) for _ in range(3))
        self._no_hands: F64 = np.zeros((2, CHANNELS[HAND_JOINTS].width // 2))
        self._anchor_from, self._anchor_to = np.zeros(2), np.zeros(2)
        self._turn_rad, self._turn = 0.0, (1.0, 0.0, 0.0, 0.0)
        self._offset_ns = self._looked_ns = self._refused = 0
        self.is_healthy, self.blend_s = False, RESUME_S
        self._most_away = np.where(carrying_motors(robot)[self._motors], ENGAGE_RAD, ENGAGE_ARM_RAD)

    @property
    def is_engaged(self) -> bool:
        """Whether it is followed."""
        return self.buffer.is_followed

    def take(self, data: bytes) -> None:
        """One record of the stream's ring."""
        self.buffer.take(data)

    def look(self, now_ns: int) -> int:
        """Moves on to `now_ns`; flags of the fault table, none while nobody follows."""
        buffer, limits = self.buffer, self._limits
        self._follow_clock(now_ns)
        age_ns = now_ns - buffer.newest_ns
        self.is_late, self.age_s = age_ns > self._hold_ns, age_ns * 1e-9
        self.added_s = (now_ns - buffer.offset_ns - buffer.played_ns) * 1e-9
        is_bad = buffer.bad >= limits.bad_references
        is_limited = buffer.limited_ratio(now_ns) > limits.reference_limited_ratio
        has_jumped, self._refused = buffer.refused > self._refused, buffer.refused
        self.is_healthy = (
            buffer.count >= ENGAGE_FRAMES and not self.is_late and self._is_filled()
            and not (is_bad or is_limited or buffer.has_other_form)
        )
        if not buffer.is_followed:
            return 0
        raised = {
            "REFERENCE_LATE": self.is_late, "REFERENCE_LOST": age_ns > self._stand_ns,
            "REFERENCE_JUMP": has_jumped, "REFERENCE_NON_FINITE": is_bad, "REFERENCE_LIMITED": is_limited,
            "STREAM_VERSION": buffer.has_other_form,
        }
        return sum(BIT[flag] for flag, is_raised in raised.items() if is_raised)

    def _is_filled(self) -> bool:
        """Whether what is played lies within what came, for a buffer deeper than the least."""
        buffer = self.buffer
        return self.depth_ns == DEPTH_NS or buffer.played_ns >= int(buffer.times_ns[FRAMES - buffer.count])

    def _follow_clock(self, now_ns: int) -> None:
        buffer = self.buffer
        error_ns = buffer.offset_ns - self._offset_ns
        most_ns = round((now_ns - self._looked_ns) * SLEW)
        self._offset_ns += min(max(error_ns, -most_ns), most_ns) if buffer.is_followed else error_ns
        self._looked_ns = now_ns
        played_ns = now_ns - self._offset_ns - self.depth_ns
        buffer.played_ns = max(buffer.played_ns, played_ns) if buffer.is_followed else played_ns

    def engage(self, state: RobotState, commanded: ReferenceFrame, now_ns: int) -> str:
        """Follow from now on, anchored at what is commanded: the refusal in words, "" when it goes.

        Args:
            state: of the robot; the first frame must not be far from it.
            commanded: the last commanded reference: heading and place go on from it.
        """
        self.look(now_ns)
        if not self.is_healthy:
            return "no healthy stream of reference frames"
        buffer, n = self.buffer, len(self._names)
        buffer.row_at(buffer.played_ns, self._row)
        row, quat = self._row, self._row[buffer.quat]
        away = np.abs(row[:n] - state.q[self._motors])
        worst = int((away / self._most_away).argmax())
        most_rad = float(self._most_away[worst])
        if away[worst] > most_rad:
            return f"{self._names[worst]} of the stream is {away[worst]:.2f} rad from the robot's (most {most_rad})"
        up = sum(a * b for a, b in zip(rotation.gravity_in_base(quat), rotation.gravity_in_base(state.quat_wxyz),
                                       strict=True))
        tilt = math.acos(min(max(up, -1.0), 1.0))
        if tilt > ENGAGE_RAD:
            return f"the stream's root leans {tilt:.2f} rad from the robot's (most {ENGAGE_RAD})"
        height_m = abs(float(row[2 * n + 2]) - float(commanded.root_pos[2]))
        if height_m > ENGAGE_M:
            return f"the stream's root is {height_m:.2f} m from the commanded height (most {ENGAGE_M})"
        self._anchor_from[:], self._anchor_to[:] = row[2 * n : 2 * n + 2], commanded.root_pos[:2]
        self._turn_rad = float(commanded.root_rpy[2]) - rotation.roll_pitch_yaw(quat)[2]
        self._turn = rotation.quat_about_z(self._turn_rad)
        for name, place in self._turning.items():
            turn_rad = rotation.heading_rad(commanded.channels[name]) - rotation.heading_rad(row[place])
            self._turns[name] = rotation.quat_about_z(turn_rad)
        buffer.is_followed = True
        self.blend_s = max(RESUME_S, float(away.max()) / BLEND_RAD_S)
        return ""

    def disengage(self) -> None:
        """Nobody follows any more."""
        self.buffer.is_followed = False

    def sample(self, time_s: float, out: ReferenceFrame) -> None:
        """The reference `time_s` seconds from now (negative: before) into `out`; channels it lacks stay."""
        buffer, row, n = self.buffer, self._row, len(self._names)
        sent_ns = buffer.played_ns + round(time_s * 1e9)
        buffer.row_at(sent_ns, row)
        is_over = sent_ns > int(buffer.times_ns[-1])
        lin_vel, ang_vel = self._root_velocity(sent_ns)
        s = min_jerk((sent_ns - buffer.jump_ns) / FADE_NS) if sent_ns >= buffer.jump_ns else 1.0
        if s < 1:
            buffer.mix(buffer.jump_from, row, s, row)
        out.joint_pos[:], out.joint_vel[:] = row[:n], row[n : 2 * n]
        place, turn = row[2 * n : 2 * n + 3] - (*self._anchor_from, 0.0), self._turn_rad
        cos, sin = math.cos(turn), math.sin(turn)
        out.root_pos[0] = self._anchor_to[0] + cos * place[0] - sin * place[1]
        out.root_pos[1] = self._anchor_to[1] + sin * place[0] + cos * place[1]
        out.root_pos[2] = place[2]
        out.root_quat_wxyz[:] = rotation.multiply(self._turn, row[buffer.quat])
        out.root_rpy[:] = rotation.roll_pitch_yaw(out.root_quat_wxyz)
        out.root_lin_vel[:], out.root_ang_vel[:] = s * lin_vel, s * ang_vel
        for name, where in self._places.items():
            if name != HAND_JOINTS:
                out.channels[name][:] = row[where]
        for name, turn_wxyz in self._turns.items():
            out.channels[name][:] = rotation.multiply(turn_wxyz, out.channels[name])
        if is_over:
            out.stop()

    def hands(self) -> F64:
        """(2, 8) of this instant: 1 where a hand is given, then its joints, rad; left first, zeros where none is."""
        if HAND_JOINTS not in self._places:
            return self._no_hands
        self.buffer.row_at(self.buffer.played_ns, self._row)
        return self._row[self._places[HAND_JOINTS]].reshape(2, -1)

    def _root_velocity(self, sent_ns: int) -> tuple[F64, F64]:
        """In the root's own axes, m/s and rad/s: what it moves by in the 80 ms around a time, less at the newest frame.

        From one frame to the next the place jerks whenever another foot carries (`stream_root.py`).
        """
        buffer, n = self.buffer, len(self._names)
        first_ns, last_ns = int(buffer.times_ns[FRAMES - buffer.count]), int(buffer.times_ns[-1])
        from_ns, to_ns = max(sent_ns - AROUND_NS, first_ns), min(sent_ns + AROUND_NS, last_ns)
        if from_ns < buffer.jump_ns <= to_ns:  # nothing lies between the two sides of a jump
            from_ns, to_ns = (buffer.jump_ns, to_ns) if sent_ns >= buffer.jump_ns else (from_ns, buffer.jump_ns - 1)
        span_s = (to_ns - from_ns) * 1e-9
        if span_s <= 0:
            return np.zeros(3), np.zeros(3)
        a, b = self._from, self._to
        buffer.row_at(from_ns, a)
        buffer.row_at(to_ns, b)
        moved = (b[2 * n : 2 * n + 3] - a[2 * n : 2 * n + 3]) / span_s
        turned = np.array(rotation.multiply(rotation.conjugate(a[buffer.quat]), b[buffer.quat]))
        turned = turned if turned[0] >= 0 else -turned
        return np.array(rotation.rotate_inverse(self._row[buffer.quat], moved)), 2 * turned[1:] / span_s
