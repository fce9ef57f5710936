"""Two clips one after the other, as if they had been one: aligned, cut where they are alike, and blended by inertia.

The second clip is turned about the vertical and moved on the floor so that its pelvis goes on where the first one's
is; height, roll and pitch stay its own. The cut lies where pose and velocity differ least among frames with the same
feet on the floor. From there on the second clip plays, and what it differs by at that moment, position and velocity,
decays to nothing along a quintic: no channel jumps, and the first clip need not go on to be faded out (inertialisation,
after theorangeduck.com/page/dead-blending and Bollo 2018). On the floor only the velocity decays, and the second clip
lies where that leads: a walk that comes to stand does not go back to where it was cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime import hand_track, rotation
from runtime.channels import CHANNELS
from runtime.clip import RANGE_TOLERANCE_RAD, Clip, make_clip
from runtime.errors import Refused
from runtime.foot_contacts import contacts
from runtime.resample import STEPPED, at_rate
from runtime.robot import JointOrder, Robot

F64 = npt.NDArray[np.float64]
RATE_HZ = 50.0
LEAST_FRAMES = 3
TAIL_S = 4.0
"""Of a long first clip only so much is looked at for contacts and their ground."""
WINDOW_S = 0.6
"""How much of the first clip's end and the second's beginning may be cut away."""
BLEND_S = (0.3, 0.4, 0.5, 0.7, 1.0)
"""Tried in this order until joints stay within their ranges and speeds."""
VELOCITY_S, HEIGHT_PER_M, TILT = 0.15, 4.0, 2.0
"""What differences weigh beside a joint's radian: its velocity in rad/s, the pelvis's height in m, its tilt in rad."""
CONTACT_COST = 4.0
"""Another set of feet on the floor costs as much as 4 rad^2 of difference: such a cut is the last resort."""


@dataclass(frozen=True)
class Seam:
    """Where two clips meet.

    Attributes:
        first, second: names.
        time_s: of the joined clip.
        cut_s: how much of the first one's end, and of the second one's beginning, is left out.
        blend_s: how long the difference takes to decay.
        same_contacts: whether the same feet stand at the cut.
    """

    first: str
    second: str
    time_s: float
    cut_s: tuple[float, float]
    blend_s: float
    same_contacts: bool


def stitch(
    first: Clip, second: Clip, robot: Robot, blends_s: Sequence[float] = BLEND_S, earliest: int = 0
) -> tuple[Clip, Seam]:
    """Both clips at 50 Hz, named as the second, and where they meet.

    Args:
        blends_s: lengths of the blend; the first that keeps to the robot's limits is taken.
        earliest: frame of the first clip, at 50 Hz, before which nothing is cut.

    Raises:
        Refused: other joints or channels; no blend keeps to the limits.
    """
    what = f"seam of {first.name} and {second.name}"
    first, second = hand_track.beside(first, second), hand_track.beside(second, first)
    if set(first.channels) != set(second.channels) or first.joints != second.joints:
        raise Refused(what, expected=f"the same channels ({', '.join(sorted(first.channels)) or 'none'})",
                      found=", ".join(sorted(second.channels)) or "none", what_to_do="convert both the same way")
    for clip in (first, second):
        frames = int(clip.duration_s * RATE_HZ + 1e-6) + 1
        if frames < LEAST_FRAMES:
            raise Refused(what, expected=f"at least {LEAST_FRAMES} frames at {RATE_HZ:g} Hz of each",
                          found=f"{frames} of {clip.name}", what_to_do="take a longer part")
    second = reordered(at_rate(second, RATE_HZ), first.order)
    first = at_rate(first, RATE_HZ)
    at, begin, alike = _cut(first, second, robot, earliest)
    second = _aligned(part(second, begin, None), first.root_pos[at], first.root_quat_wxyz[at])
    worst = ""
    for length_s in blends_s:
        joined = _joined(first, second, at, length_s)
        worst = _beyond(joined, robot, at, (first, second))
        if not worst:
            left = ((len(first.joint_pos) - 1 - at) / RATE_HZ, begin / RATE_HZ)
            whole_s = min(length_s, (len(second.joint_pos) - 1) / RATE_HZ)
            return joined, Seam(first.name, second.name, at / RATE_HZ, left, whole_s, alike)
    raise Refused(what, expected="a blend within the robot's ranges and speeds", found=worst,
                  what_to_do="end the first clip nearer to where the second begins, or put one between them")


def reordered(clip: Clip, order: JointOrder) -> Clip:
    """The clip with its joints in another order."""
    return make_clip(clip.name, clip.fps, order, clip.joint_pos[:, clip.order.index_of(order)], clip.root_pos,
                     clip.root_quat_wxyz, clip.channels, joints=clip.joints)


def part(clip: Clip, start: int, stop: int | None) -> Clip:
    """Frames of a clip."""
    rows = slice(start, stop)
    return make_clip(clip.name, clip.fps, clip.order, clip.joint_pos[rows], clip.root_pos[rows],
                     clip.root_quat_wxyz[rows], {name: values[rows] for name, values in clip.channels.items()},
                     joints=clip.joints)


def _cut(first: Clip, second: Clip, robot: Robot, earliest: int) -> tuple[int, int, bool]:
    """The frame of the first clip and of the second that become one, and whether the same feet stand in both."""
    window, last = round(WINDOW_S * RATE_HZ), len(first.joint_pos) - 1
    a = np.arange(max(last + 1 - window, (last + 1) // 2, min(earliest, last)), last + 1)
    b = np.arange(min(window, len(second.joint_pos) // 2))
    cost = np.zeros((len(a), len(b)))
    for one, other, weight in (
        (first.joint_pos[a], second.joint_pos[b], 1.0),
        (first.joint_vel[a], second.joint_vel[b], VELOCITY_S**2),
        (first.root_pos[a, 2:], second.root_pos[b, 2:], HEIGHT_PER_M**2),
        (_gravity(first)[a], _gravity(second)[b], TILT**2),
    ):
        cost += weight * ((one[:, None] - other[None]) ** 2).sum(axis=-1)
    begin = min(max(0, len(first.joint_pos) - round(TAIL_S * RATE_HZ)), int(a[0]))
    stand_a = contacts(part(first, begin, None), robot)[a - begin]
    head = part(second, 0, max(round(TAIL_S * RATE_HZ), len(b) + 1))
    stand_b = contacts(head, robot)[b]
    differ = (stand_a[:, None] != stand_b[None]).any(axis=-1)
    row, column = np.unravel_index(int((cost + CONTACT_COST * differ).argmin()), cost.shape)
    return int(a[row]), int(b[column]), not bool(differ[row, column])


def _gravity(clip: Clip) -> F64:
    """(T, 3) down, seen from the root."""
    down = np.broadcast_to(np.array([0.0, 0.0, -1.0]), (len(clip.root_pos), 3))
    return rotation.rotate_many(rotation.conjugate_many(clip.root_quat_wxyz), down)


def _aligned(clip: Clip, place_m: F64, quat_wxyz: F64) -> Clip:
    """The clip turned about the vertical and moved on the floor to begin at a place and heading."""
    turn = rotation.heading_rad(quat_wxyz) - rotation.heading_rad(clip.root_quat_wxyz[0])
    about_z = np.array(rotation.quat_about_z(turn))
    frames = len(clip.root_pos)
    moved = rotation.rotate_many(np.broadcast_to(about_z, (frames, 4)), clip.root_pos - clip.root_pos[0])
    place = moved + np.array([place_m[0], place_m[1], clip.root_pos[0, 2]])
    return make_clip(
        clip.name, clip.fps, clip.order, clip.joint_pos, place,
        rotation.multiply_many(np.broadcast_to(about_z, (frames, 4)), clip.root_quat_wxyz), _turned(clip, about_z),
        joints=clip.joints)


def _turned(clip: Clip, about_z: F64) -> dict[str, F64]:
    """The channels, of which the human's root is the one in world axes."""
    channels = dict(clip.channels)
    if "smpl_quat_wxyz" in channels:
        quats = channels["smpl_quat_wxyz"]
        channels["smpl_quat_wxyz"] = rotation.multiply_many(np.broadcast_to(about_z, quats.shape), quats)
    return channels


def decay(length: int, period_s: float) -> tuple[F64, F64]:
    """What is left, at each of `length` steps, of a difference in position and of one in velocity (s).

    The quintics that begin with value 1 and slope 0, or value 0 and slope 1, without acceleration, and end at rest.
    """
    s = np.minimum(np.arange(length) / max(length - 1, 1), 1.0)
    whole_s = max(length - 1, 1) * period_s
    return 1 - s**3 * (10 - 15 * s + 6 * s**2), whole_s * (s - 6 * s**3 + 8 * s**4 - 3 * s**5)


def drift(frames: int, length: int, period_s: float) -> F64:
    """(frames,) how far a velocity of 1 leads that decays to nothing within `length` steps, s: half of its time."""
    s = np.minimum(np.arange(frames) / max(length - 1, 1), 1.0)
    return np.asarray(max(length - 1, 1) * period_s * (s - s**4 * (2.5 - 3 * s + s**2)))


def _joined(first: Clip, second: Clip, at: int, blend_s: float) -> Clip:
    """The first clip up to a frame, the second from there on, with the difference decaying within it."""
    length = min(round(blend_s * RATE_HZ) + 1, len(second.joint_pos))
    place, speed = decay(length, 1 / RATE_HZ)

    def decayed(a: F64, b: F64) -> F64:
        out = b.copy()
        out[:length] += place[:, None] * (a[at] - b[0]) + speed[:, None] * _velocity_step(a, b, at)
        return np.concatenate([a[:at], out])

    channels = {}
    for name, values in first.channels.items():
        after = second.channels[name]
        if name == hand_track.CHANNEL:
            channels[name] = hand_track.joined(values, at, after)
        elif name in STEPPED:
            half = length // 2
            channels[name] = np.concatenate([values[:at], np.repeat(values[at : at + 1], half, axis=0), after[half:]])
        elif CHANNELS[name].rotations:
            channels[name] = _decayed_turns(values.reshape(len(values), -1, 4), after.reshape(len(after), -1, 4), at,
                                            place, speed)
        elif CHANNELS[name].vectors:
            quats = [rotation.quat_from_vector_many(one.reshape(len(one), -1, 3)) for one in (values, after)]
            turned = _decayed_turns(quats[0], quats[1], at, place, speed).reshape(at + len(after), -1, 4)
            channels[name] = rotation.rotation_vector_many(turned).reshape(at + len(after), -1)
        else:
            channels[name] = decayed(values, after)
    root_pos = decayed(first.root_pos, second.root_pos)
    step = _velocity_step(first.root_pos, second.root_pos, at)[:2]
    root_pos[at:, :2] = second.root_pos[:, :2] + drift(len(second.root_pos), length, 1 / RATE_HZ)[:, None] * step
    return make_clip(
        second.name, RATE_HZ, first.order, decayed(first.joint_pos, second.joint_pos), root_pos,
        _decayed_turn(first.root_quat_wxyz, second.root_quat_wxyz, at, place, speed), channels, joints=first.joints)


def _velocity_step(a: F64, b: F64, at: int) -> F64:
    """How much slower the second is at its first frame than the first one at frame `at`."""
    before = (a[at] - a[at - 1]) * RATE_HZ if at else np.zeros_like(a[0])
    return np.asarray(before - (b[1] - b[0]) * RATE_HZ)


def _decayed_turns(a: F64, b: F64, at: int, place: F64, speed: F64) -> F64:
    """(T, n, 4) of both -> (at + T, 4n)."""
    return np.concatenate([_decayed_turn(a[:, k], b[:, k], at, place, speed) for k in range(a.shape[1])], axis=1)


def _decayed_turn(a: F64, b: F64, at: int, place: F64, speed: F64) -> F64:
    """As for positions, on the sphere: the difference is a rotation vector in world axes."""
    off = rotation.rotation_vector_many(rotation.multiply_many(a[at], rotation.conjugate_many(b[0])))
    before = rotation.rotation_vector_many(rotation.multiply_many(a[at], rotation.conjugate_many(a[max(at - 1, 0)])))
    after = rotation.rotation_vector_many(rotation.multiply_many(b[1], rotation.conjugate_many(b[0])))
    turn = rotation.quat_from_vector_many(
        place[:, None] * off + speed[:, None] * ((before - after) * RATE_HZ))
    out = b.copy()
    out[: len(place)] = rotation.multiply_many(turn, b[: len(place)])
    return rotation.continuous_many(np.concatenate([a[:at], out]))


def _beyond(clip: Clip, robot: Robot, at: int, sources: tuple[Clip, Clip]) -> str:
    """What leaves a joint's range or speed from the seam on; "" where nothing does, or no more than in its clips."""
    rows = [robot.joints[i] for i in robot.order.index_of(clip.order)]
    joint_pos = clip.joint_pos[max(at - 2, 0) : at + round(max(BLEND_S) * RATE_HZ) + 2]
    low = np.array([row.lower_rad for row in rows]) - RANGE_TOLERANCE_RAD
    high = np.array([row.upper_rad for row in rows]) + RANGE_TOLERANCE_RAD
    out = np.maximum(low - joint_pos, joint_pos - high).max(axis=0)
    if out.max() > 0:
        return f"{rows[int(out.argmax())].name} {out.max() + RANGE_TOLERANCE_RAD:.2f} rad beyond its range"
    limit = np.array([row.velocity_rad_s for row in rows]) / RATE_HZ
    own = np.maximum(*(np.abs(np.diff(source.joint_pos, axis=0)).max(axis=0) / limit for source in sources))
    speed = np.abs(np.diff(joint_pos, axis=0)).max(axis=0) / limit
    over = speed - np.maximum(own, 1)
    if over.max() > 0:
        worst = int(over.argmax())
        return f"{rows[worst].name} at {speed[worst]:.2f} of its speed limit"
    return ""
