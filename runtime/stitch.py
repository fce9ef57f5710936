"""Two clips one after the other, as if they had been one: aligned, cut where they are alike, and blended by inertia.

The second clip is turned about the vertical and moved on the floor so that its pelvis goes on where the first one's
is; height, roll and pitch stay its own. The cut lies where pose and velocity differ least among frames with the same
feet on the floor. From there on the second clip plays, and what it differs by at that moment, position and velocity,
decays to nothing along a quintic: no channel jumps, and the first clip need not go on to be faded out (inertialisation,
after theorangeduck.com/page/dead-blending and Bollo 2018).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from runtime import hand_track, rotation
from runtime.channels import CHANNELS
from runtime.clip import RANGE_TOLERANCE_RAD, Clip, make_clip
from runtime.errors import Refused
from runtime.foot_contacts import contacts
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


def stitch(first: Clip, second: Clip, robot: Robot, blend_s: float | None = None) -> tuple[Clip, Seam]:
    """Both clips at 50 Hz, and where they meet.

    Args:
        blend_s: None: the shortest of `BLEND_S` that keeps to the robot's limits.

    Raises:
        Refused: other joints or channels; no blend keeps to the limits.
    """
    before = first.name.rpartition(", ")[2]
    what = f"seam of {before} and {second.name}"
    first, second = _with_steps(first, second), _with_steps(second, first)
    if set(first.channels) != set(second.channels) or first.joints != second.joints:
        raise Refused(what, expected=f"the same channels ({', '.join(sorted(first.channels)) or 'none'})",
                      found=", ".join(sorted(second.channels)) or "none", what_to_do="convert both the same way")
    for clip in (first, second):
        frames = int(clip.duration_s * RATE_HZ + 1e-6) + 1
        if frames < LEAST_FRAMES:
            raise Refused(what, expected=f"at least {LEAST_FRAMES} frames at {RATE_HZ:g} Hz of each",
                          found=f"{frames} of {clip.name.rpartition(', ')[2]}", what_to_do="take a longer part")
    second = reordered(at_rate(second, RATE_HZ), first.order)
    first = at_rate(first, RATE_HZ)
    at, begin, alike = _cut(first, second, robot)
    second = _aligned(_from(second, begin), first.root_pos[at], first.root_quat_wxyz[at])
    worst = ""
    for length_s in BLEND_S if blend_s is None else (blend_s,):
        joined = _joined(first, second, at, length_s)
        worst = _beyond(joined, robot, at, (first, second))
        if not worst:
            left = ((len(first.joint_pos) - 1 - at) / RATE_HZ, begin / RATE_HZ)
            whole_s = min(length_s, (len(second.joint_pos) - 1) / RATE_HZ)
            return joined, Seam(before, second.name, at / RATE_HZ, left, whole_s, alike)
    raise Refused(what, expected="a blend within the robot's ranges and speeds", found=worst,
                  what_to_do="end the first clip nearer to where the second begins, or put one between them")


def at_rate(clip: Clip, rate_hz: float) -> Clip:
    """The clip at another rate: rotations on the sphere, all else in line."""
    if clip.fps == rate_hz:
        return clip
    last = len(clip.joint_pos) - 1
    place = np.minimum(np.arange(int(last / clip.fps * rate_hz + 1e-6) + 1) * (clip.fps / rate_hz), last)
    near = np.round(place)
    place = np.where(np.abs(place - near) < 1e-9 * (last + 1), near, place)  # what is on a frame steps there
    low = np.minimum(place.astype(np.int64), last)
    high, s = np.minimum(low + 1, last), place - low

    def line(values: F64) -> F64:
        return np.asarray(values[low] + s[:, None] * (values[high] - values[low]))

    channels = {}
    for name, values in clip.channels.items():
        if CHANNELS[name].stepped:
            channels[name] = values[low]
        elif CHANNELS[name].rotations:
            quats = rotation.continuous_many(values.reshape(len(values), -1, 4))
            mixed = quats[low] + s[:, None, None] * (quats[high] - quats[low])
            channels[name] = (mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)).reshape(len(s), -1)
        else:
            channels[name] = line(values)
    return make_clip(clip.name, rate_hz, clip.order, line(clip.joint_pos), line(clip.root_pos),
                     rotation.slerp_many(clip.root_quat_wxyz[low], clip.root_quat_wxyz[high], s), channels,
                     joints=clip.joints)


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


def _with_steps(clip: Clip, other: Clip) -> Clip:
    """The clip with the stepped channels of another too, idle where it has none of them; states stand until the next.

    So a state is not lost with the frames that a cut leaves out.
    """
    names = [name for name, channel in CHANNELS.items() if channel.stepped and
             (name in clip.channels or name in other.channels)]
    if not names:
        return clip
    idle = {name: np.tile(CHANNELS[name].idle_values(), (len(clip.joint_pos), 1)) for name in names}
    channels = {**idle, **clip.channels}
    if hand_track.CHANNEL in channels:
        channels[hand_track.CHANNEL] = hand_track.filled(channels[hand_track.CHANNEL])
    return replace(clip, channels=channels)


def _from(clip: Clip, start: int) -> Clip:
    return part(clip, start, None)


def _cut(first: Clip, second: Clip, robot: Robot) -> tuple[int, int, bool]:
    """The frame of the first clip and of the second that become one, and whether the same feet stand in both."""
    window = round(WINDOW_S * RATE_HZ)
    a = np.arange(max(len(first.joint_pos) - window, len(first.joint_pos) // 2), len(first.joint_pos))
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


def _joined(first: Clip, second: Clip, at: int, blend_s: float) -> Clip:
    """The first clip up to a frame, the second from there on, with the difference decaying within it."""
    length = min(round(blend_s * RATE_HZ) + 1, len(second.joint_pos))
    place, speed = decay(length, 1 / RATE_HZ)

    def decayed(a: F64, b: F64) -> F64:
        before = (a[at] - a[at - 1]) * RATE_HZ if at else np.zeros_like(a[0])
        after = (b[1] - b[0]) * RATE_HZ
        out = b.copy()
        out[:length] += place[:, None] * (a[at] - b[0]) + speed[:, None] * (before - after)
        return np.concatenate([a[:at], out])

    channels = {}
    for name, values in first.channels.items():
        if CHANNELS[name].stepped:
            other = second.channels[name]
            channels[name] = (hand_track.joined(values, at, other) if name == hand_track.CHANNEL
                              else np.concatenate([values[:at], other]))
        elif CHANNELS[name].rotations:
            quats = [one.reshape(len(one), -1, 4) for one in (values, second.channels[name])]
            parts = [_decayed_turn(quats[0][:, k], quats[1][:, k], at, place, speed) for k in range(quats[0].shape[1])]
            channels[name] = np.concatenate(parts, axis=1)
        else:
            channels[name] = decayed(values, second.channels[name])
    return make_clip(
        f"{first.name}, {second.name}", RATE_HZ, first.order, decayed(first.joint_pos, second.joint_pos),
        decayed(first.root_pos, second.root_pos),
        _decayed_turn(first.root_quat_wxyz, second.root_quat_wxyz, at, place, speed), channels, joints=first.joints)


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
