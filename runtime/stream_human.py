"""A streamed human (SMPL) as a robot's joints and root, for controllers that follow joints: frame after frame, causal.

The protocol brings the pelvis's rotation without SMPL's base rotation, the 21 rotations of the body and the 24 joints
seen from the pelvis, but no place. The bones come from the first frame: what lies between a joint and its parent, in
the parent's axes. The place comes from the feet, as for a robot (`stream_root.py`): the lower one stands on the ground.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.errors import Refused
from runtime.human_motion import HUMAN_JOINTS, HUMAN_PARENTS, PLAIN, Skeleton
from runtime.legs import matrix_from_quat
from runtime.reference import ReferenceFrame
from runtime.retarget_table import RetargetTable, load_retarget_table
from runtime.retargeter import Retargeter, kinematics_of
from runtime.robot import Robot

F64 = npt.NDArray[np.float64]
RATE_HZ = 50.0
BASE = (0.5, 0.5, 0.5, 0.5)
"""SMPL's base rotation (w, x, y, z): from its rest axes (x left, y up) to x forward, z up."""
FEET = (HUMAN_JOINTS.index("left_foot"), HUMAN_JOINTS.index("right_foot"))
BODY = 22
"""Joints whose rotations are sent; the hands beyond them are other joints at every sender."""
OTHER_FOOT_M = 0.005
FOLLOW, MOST_M_S2 = 0.4, 10.0
"""How the pelvis's velocity follows that of the standing foot: by so much of the difference a frame, and no faster.
Feet of motion capture slide: over fourteen mocap clips its error falls from 0.14 to 0.12 m/s (rms, over 0.1 s), and on
a walk that turns it changes by 2.5 m/s^2 instead of 9.4; the human's own does by 2.5."""
SHORTEST, LONGEST = 0.5, 2.0
"""Arms and legs of a human, in those of a plain adult; `MOST_TURN_RAD` is how far they may point elsewhere at rest."""
MOST_TURN_RAD = 0.8
RETRY_NS = 1_000_000_000
"""A first frame that cannot be met takes a tenth of a second to find out."""
KEPT = 4096
_LIMBS = [HUMAN_JOINTS.index(f"{side}_{end}") for side in ("left", "right")
          for end in ("knee", "ankle", "elbow", "wrist")]


class StreamHuman:
    """One human on its way to one robot.

    Args:
        robot: with a retarget table.

    Raises:
        Refused: no table for it; mujoco cannot be imported.

    Attributes:
        frame: the newest, joints in the order of the robot's table.
        refusal: why the newest frame could not be read, "" when it could.
    """

    def __init__(self, robot: Robot, table: RetargetTable | None = None) -> None:
        self._robot, self._table = robot, table or load_retarget_table(robot.name)
        try:
            self._kinematics = kinematics_of(self._table)
        except ImportError as error:
            raise Refused("SMPL frames for a controller of joints", expected="mujoco", found=f"{error}",
                          what_to_do="pip install 'exoactor[sim]', or send joints (version 1)") from error
        self._retargeter: Retargeter | None = None
        self.frame = ReferenceFrame(len(robot.joints))
        self.refusal = ""
        self._place, self._turns = np.zeros(3), np.zeros((len(HUMAN_JOINTS), 4))
        self._before: F64 | None = None
        self._step = np.zeros(2)
        self._foot, self._retry_ns = 0, 0
        self._took_ns = np.zeros(KEPT, np.int64)
        self._frames = 0

    def advance(self, joints: F64, pose: F64, quat_wxyz: Any, steps: int = 1) -> bool:
        """The next frame into `frame`; false where it cannot be read, and then `refusal` says why.

        Args:
            joints: (72,) m, seen from the pelvis. pose: (63,) rad. quat_wxyz: of the pelvis, unit, base removed.
            steps: how many frames it is since the last one.
        """
        began_ns = time.perf_counter_ns()
        positions = joints.reshape(-1, 3) @ matrix_from_quat(quat_wxyz).T
        self._turn(pose, quat_wxyz)
        if self._retargeter is None and not self._begin(positions, began_ns):
            return False
        assert self._retargeter is not None
        self._stand(positions, max(steps, 1))
        if not self._retargeter.step(positions + self._place, self._turns, self.frame):
            self.refusal = "not finite"
            return False
        for velocity in (self.frame.joint_vel, self.frame.root_lin_vel, self.frame.root_ang_vel):
            velocity /= max(steps, 1)
        self._took_ns[self._frames % KEPT] = time.perf_counter_ns() - began_ns
        self._frames += 1
        self.refusal = ""
        return True

    def forget(self) -> None:
        """What comes next does not go on from what came last."""
        self._before = None
        self._step[:] = 0

    def took_us(self) -> tuple[float, float]:
        """(p50, p99) of the last frames, us; zeros before the first."""
        took = self._took_ns[: min(self._frames, KEPT)]
        p50, p99 = np.percentile(took, [50, 99]) * 1e-3 if len(took) else (0.0, 0.0)
        return float(p50), float(p99)

    def _turn(self, pose: F64, quat_wxyz: Any) -> None:
        """Every joint's rotation out of the rest axes; few numbers, so that plain ones are quicker than arrays."""
        turns = [rotation.multiply(quat_wxyz, BASE)]
        local = rotation.quat_from_vector_many(pose.reshape(-1, 3)).tolist()
        for parent, own in zip(HUMAN_PARENTS[1:BODY], local, strict=True):
            turns.append(rotation.multiply(turns[parent], own))
        turns += [turns[parent] for parent in HUMAN_PARENTS[BODY:]]
        self._turns[:] = turns

    def _begin(self, positions: F64, now_ns: int) -> bool:
        """Bones and first frame; both may be refused, and are then tried again a second later.

        Args:
            positions: (24, 3) m, from the pelvis, in the world's axes.
        """
        if now_ns < self._retry_ns:
            return False
        self._retry_ns = now_ns + RETRY_NS
        offsets = PLAIN.offsets_m.copy()
        for joint in range(1, BODY):
            parent = HUMAN_PARENTS[joint]
            offsets[joint] = rotation.rotate_inverse(self._turns[parent], positions[joint] - positions[parent])
        wrong = odd_bones(offsets)
        if wrong:
            self.refusal = f"smpl_joints and smpl_pose do not fit each other at {', '.join(wrong)}"
            return False
        skeleton = Skeleton(offsets, "the stream's first frame")
        retargeter = Retargeter(self._table, self._robot, self._kinematics, skeleton, RATE_HZ)
        ground = np.array([0.0, 0.0, positions[list(FEET), 2].min()])
        try:
            retargeter.begin(positions - ground, self._turns, 0.0)
        except Refused as error:
            self.refusal = f"{error.what}: {error.found}"
            return False
        self._retargeter = retargeter
        return True

    def _stand(self, positions: F64, steps: int) -> None:
        """Moves the pelvis so that the lower foot is on the ground, and where it was as far as `FOLLOW` lets it."""
        feet = positions[list(FEET)]
        lowest = int(feet[:, 2].argmin())
        if feet[self._foot, 2] > feet[lowest, 2] + OTHER_FOOT_M:
            self._foot = lowest
        if self._before is not None:
            change = FOLLOW * ((self._before - feet)[self._foot, :2] / steps - self._step)
            most = MOST_M_S2 / RATE_HZ**2
            self._step += change * min(1.0, most / max(math.hypot(*change), 1e-12))
            self._place[:2] += self._step * steps
        self._place[2] = -feet[lowest, 2]
        self._before = feet


def odd_bones(offsets: F64) -> list[str]:
    """Names of the long bones that are no human's at rest: (24, 3) m in SMPL's rest axes."""
    bones, plain = offsets[_LIMBS], PLAIN.offsets_m[_LIMBS]
    lengths, usual = np.linalg.norm(bones, axis=1), np.linalg.norm(plain, axis=1)
    ratios = lengths / usual
    cosines = (bones * plain).sum(axis=1) / np.maximum(lengths * usual, 1e-9)
    is_odd = (ratios < SHORTEST) | (ratios > LONGEST) | (cosines < math.cos(MOST_TURN_RAD))
    return [HUMAN_JOINTS[joint] for joint, odd in zip(_LIMBS, is_odd, strict=True) if odd]
