"""From a human's joints to where a robot's points should be: scaled limb by limb, turned, standing feet held.

Targets are linear in the human's joints: x = B p + R o, with the scales of the human's own bones in B and each row's
offset o in its turned axes. Rows without an anchor are scaled about the ground, so that a foot that stands on it stands
still whatever the scale.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.balance import Balance
from runtime.foot_lock import FootLock
from runtime.human_motion import HUMAN_JOINTS, HUMAN_PARENTS, Skeleton
from runtime.retarget_table import RetargetTable, Row

F64 = npt.NDArray[np.float64]
FLOAT_M = 0.05
"""A standing foot lower than this above the ground stands on it; estimates and mocap float by 2 cm."""
FLAT_PITCH_RAD = 0.2
"""Of a standing foot; soles of motion capture pitch by up to 0.12 while they are flat."""
HEEL_PITCH_RAD = 0.6
"""From here on a pitched foot is a raised heel or toe, and stays as it is."""


class Targets:
    """The targets of one table for one human.

    Args:
        skeleton: whose proportions count.
        frame_s: between frames, for the feet's speed.
        lock_feet: hold the feet that stand.

    Attributes:
        positions: (k, 3) m in world.
        quats_wxyz: (k, 4).
        feet_stand: (feet,) whether each foot is in contact.

    Raises:
        Refused: bones of no human.
    """

    def __init__(self, table: RetargetTable, skeleton: Skeleton, frame_s: float, *, lock_feet: bool = True) -> None:
        self.table = table
        k, joints = len(table.rows), len(HUMAN_JOINTS)
        scales = {name: scale.of(skeleton) for name, scale in table.scales.items()}
        self._blend = np.zeros((k, joints))
        self._lift = np.zeros(k)
        for i, row in enumerate(table.rows):
            here = _mean_of(row.position_of)
            scale = scales[row.scale]
            if row.anchor is None:
                self._blend[i] = scale * here
            else:
                anchor = table.row_of(row.anchor)
                self._blend[i] = self._blend[anchor] + scale * (here - _mean_of(table.rows[anchor].position_of))
        self._ground_share = self._blend.sum(axis=1)
        feet = table.feet
        self._sole_m = float(np.mean([table.rows[i].sole_m or 0.0 for i in feet])) if feet else 0.0
        self._rotation_of = np.array([HUMAN_JOINTS.index(row.rotation_of) for row in table.rows], np.intp)
        self._turn = np.stack([_right_product(np.array(row.turn_wxyz)) for row in table.rows])
        self._offsets = np.array([_offset_of(row, scales, skeleton) for row in table.rows], np.float64)
        self._has_offset = np.flatnonzero(self._offsets.any(axis=1))
        self._some_offsets = self._offsets[self._has_offset]
        self.foot_joints = np.array([HUMAN_JOINTS.index(table.rows[i].position_of[0]) for i in feet], np.intp)
        self._feet, self._lock_feet, self._frame_s = feet, lock_feet, frame_s
        self.locks = tuple(FootLock(table.contact, frame_s) for _ in feet)
        self.balance = Balance(table.balancing, frame_s)
        self._body = np.array([i for i in range(k) if i not in feet], np.intp)
        self._above = np.array([i for i, row in enumerate(table.rows) if i == 0 or _is_above(row.rotation_of)], np.intp)
        self._moved = np.zeros(3)
        self.positions: F64 = np.zeros((k, 3))
        self.quats_wxyz: F64 = np.zeros((k, 4))
        self._turned = np.zeros((k, 4, 1))
        self._feet_before = np.zeros((len(feet), 3))
        self._tilts = np.zeros((len(feet), 4))
        self._is_first = True
        self.set_ground(0.0)

    @property
    def feet_stand(self) -> list[bool]:
        """Whether each foot is in contact."""
        return [lock.stands for lock in self.locks]

    def set_ground(self, height_m: float) -> None:
        """Height of the human's foot joints while the feet stand on the ground; it becomes the robot's."""
        self._lift = self._sole_m - self._ground_share * height_m

    def level_feet(self, tilts_rad: F64) -> None:
        """Takes a roll and a pitch (feet, 2) off the feet's rotations, for bones whose rest pose has them not flat."""
        for row, (roll, pitch) in zip(self._feet, tilts_rad, strict=True):
            back = rotation.conjugate(rotation.quat_from_rpy(float(roll), float(pitch), 0.0))
            self._turn[row] = _right_product(np.array(back)) @ self._turn[row]

    def standing_tilts(self) -> list[tuple[int, float, float]]:
        """Foot, roll and pitch, rad, of each foot that stands, before it was turned flat."""
        return [(i, *rotation.roll_pitch_yaw(self._tilts[i])[:2]) for i, lock in enumerate(self.locks) if lock.stands]

    def reset(self) -> None:
        """As before the first frame."""
        self._is_first = True
        self.balance.reset()
        for lock in self.locks:
            lock.reset()

    def aim(self, positions: F64, rotations_wxyz: F64) -> None:
        """Targets of a frame: joints in world (24, 3) m, (24, 4) out of the rest axes."""
        out = self.positions
        np.matmul(self._blend, positions, out=out)
        out[:, 2] += self._lift
        np.matmul(self._turn, rotations_wxyz[self._rotation_of][:, :, None], out=self._turned)
        self.quats_wxyz[:] = self._turned[:, :, 0]
        if self._lock_feet:
            self._feel_feet(positions)
        self._straighten()
        if len(self._has_offset):
            out[self._has_offset] += _rotate(self.quats_wxyz[self._has_offset], self._some_offsets)
        out[self._body] += self._shift()
        for row, lock in zip(self._feet, self.locks, strict=True):
            self._place_foot(out[row], lock)

    def _straighten(self) -> None:
        """Turns the body above the legs back about the hips where the root would lean too far."""
        balancing = self.table.balancing
        w, x, y, z = self.quats_wxyz[0].tolist()
        up_x, up_y = 2 * (x * z + w * y), 2 * (y * z - w * x)  # where the root's own z axis leads on the floor plan
        lean = math.atan2(math.hypot(up_x, up_y), 1 - 2 * (x * x + y * y))
        too_much = lean - compressed(lean, balancing.lean_rad, balancing.most_lean_rad)
        if too_much < 1e-9:
            return
        sine = math.sin(too_much / 2) / math.hypot(up_x, up_y)
        back = np.array([math.cos(too_much / 2), sine * up_y, -sine * up_x, 0.0])
        above, hips = self._above, self.positions[0].copy()
        turns = np.broadcast_to(back, (len(above), 4))
        self.quats_wxyz[above] = rotation.multiply_many(turns, self.quats_wxyz[above])
        self.positions[above] = hips + _rotate(turns, self.positions[above] - hips)

    def _shift(self) -> F64:
        """(3,) what the body, feet excepted, is moved by: over the feet, and up out of too deep a crouch."""
        shift, balancing = self._moved, self.table.balancing
        shift[:2] = self.balance.shift
        height = float(self.positions[0, 2])
        shift[2] = -compressed(-height, -balancing.crouch_m, -balancing.lowest_m) - height
        return shift

    def settle(self, centre_of_mass: F64, frame_s: float | None = None) -> None:
        """Shifts the body for the next frame by where the centre of mass has come to be in this one."""
        feet = self.positions[list(self._feet)]
        headings = [rotation.heading_rad(self.quats_wxyz[row]) for row in self._feet]
        self.balance.watch(centre_of_mass, feet, headings, [lock.share for lock in self.locks], frame_s)

    def _feel_feet(self, positions: F64) -> None:
        """Which feet stand; those turn flat."""
        feet = positions[self.foot_joints]
        if self._is_first:
            self._feet_before[:] = feet
            self._is_first = False
        moved = feet - self._feet_before
        self._feet_before[:] = feet
        lowest = float(feet[:, 2].min()) if len(feet) else 0.0
        for i, (row, lock) in enumerate(zip(self._feet, self.locks, strict=True)):
            speed = math.sqrt(float(moved[i] @ moved[i])) / self._frame_s
            lock.feel(speed, float(feet[i, 2]) - lowest)
            self._tilts[i] = self.quats_wxyz[row]
            if lock.share > 0:
                self.quats_wxyz[row] = flattened(self.quats_wxyz[row], lock.share)

    def _place_foot(self, target: F64, lock: FootLock) -> None:
        """A standing foot where it stood; one little above the ground on it, none below."""
        above = max(float(target[2]) - self._sole_m, 0.0)
        near = max(0.0, 1 - (above / FLOAT_M) ** 2)
        target[2] = self._sole_m + above * (1 - lock.share * near)
        if self._lock_feet:
            lock.hold(target)


def compressed(value: float, soft: float, hard: float) -> float:
    """The same up to `soft`; what goes beyond comes ever nearer to `hard`."""
    if value <= soft:
        return value
    room = hard - soft
    return soft + room * (1 - math.exp((soft - value) / room))


def flattened(quat_wxyz: F64, share: float) -> F64:
    """A foot turned towards lying flat, heading kept, unless its pitch is that of a raised heel."""
    w, x, y, z = quat_wxyz.tolist()
    heading = rotation.quat_about_z(2 * math.atan2(z, w))  # toes past the vertical point back
    w, x, y, _ = rotation.multiply(rotation.conjugate(heading), quat_wxyz)
    sine = math.hypot(x, y)
    ratio = 2 * math.atan2(sine, abs(w)) / sine if sine > 1e-9 else 2.0
    roll, pitch = math.copysign(ratio, w) * x, math.copysign(ratio, w) * y
    if abs(pitch) >= HEEL_PITCH_RAD:
        return quat_wxyz
    raised = min(max((abs(pitch) - FLAT_PITCH_RAD) / (HEEL_PITCH_RAD - FLAT_PITCH_RAD), 0.0), 1.0)
    flat = share * (1 - raised * raised * (3 - 2 * raised))
    roll, pitch = roll * (1 - flat), pitch * (1 - flat)
    angle = math.hypot(roll, pitch)
    scale = math.sin(angle / 2) / angle if angle > 1e-9 else 0.5
    return np.array(rotation.multiply(heading, (math.cos(angle / 2), scale * roll, scale * pitch, 0.0)))


def _mean_of(names: tuple[str, ...]) -> F64:
    row = np.zeros(len(HUMAN_JOINTS))
    for name in names:
        row[HUMAN_JOINTS.index(name)] += 1 / len(names)
    return row


def _is_above(joint: str) -> bool:
    """Whether a joint hangs on the spine."""
    at, spine = HUMAN_JOINTS.index(joint), HUMAN_JOINTS.index("spine1")
    while at > spine:
        at = HUMAN_PARENTS[at]
    return at == spine


def _offset_of(row: Row, scales: dict[str, float], skeleton: Skeleton) -> tuple[float, float, float]:
    """A row's offset; of a foot as far ahead as it takes to stand below the hips as the robot's does, at rest."""
    x, y, z = row.offset_m
    if row.rest_ahead_m is None:
        return x, y, z
    rest = skeleton.at_rest()
    hips = (rest[HUMAN_JOINTS.index("left_hip"), 2] + rest[HUMAN_JOINTS.index("right_hip"), 2]) / 2
    ahead = float(_mean_of(row.position_of) @ rest[:, 2] - hips)
    return x + row.rest_ahead_m - scales[row.scale] * ahead, y, z


def _right_product(b: F64) -> F64:
    """The matrix (4, 4) that takes a quaternion a to a b."""
    w, x, y, z = b
    return np.array([[w, -x, -y, -z], [x, w, z, -y], [y, -z, w, x], [z, y, -x, w]])


def _rotate(q: F64, v: F64) -> F64:
    """Vectors (n, 3) turned by unit quaternions (n, 4), with fewer calls than `rotation.rotate_many`."""
    w, x, y, z = q.T
    vx, vy, vz = v.T
    tx, ty, tz = 2 * (y * vz - z * vy), 2 * (z * vx - x * vz), 2 * (x * vy - y * vx)
    turned = (vx + w * tx + y * tz - z * ty, vy + w * ty + z * tx - x * tz, vz + w * tz + x * ty - y * tx)
    return np.stack(turned, axis=1)
