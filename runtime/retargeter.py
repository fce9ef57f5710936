"""A human's joints to a robot's, frame by frame: the same for a stream and, with passes after it, for a whole clip."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.channels import HUGE
from runtime.errors import Refused
from runtime.gauss_newton import GaussNewton
from runtime.human_motion import Skeleton
from runtime.reference import ReferenceFrame
from runtime.retarget_table import RetargetTable
from runtime.retarget_targets import Targets
from runtime.robot import JointOrder, Robot

if TYPE_CHECKING:
    from firmware_bridge.kinematics import Kinematics

F64 = npt.NDArray[np.float64]
ROOT_Q = 7
WORST_FIRST_M = 0.15
"""Mean distance of the points of a first frame: good ones are within 0.05, a T-pose read sideways is at 0.3."""

FIRST_FRAMES = 75
"""For which a motion stands still before it begins: five times the table's time of shifting at 50 Hz."""


def kinematics_of(table: RetargetTable) -> Kinematics:
    """The kinematics of a table's plant, one point a row.

    Raises:
        BridgeError: no such plant, or bodies it does not have.
    """
    from firmware_bridge.kinematics import Kinematics, plant_path

    return Kinematics(plant_path(table.plant, table.beside), table.points)


class Retargeter:
    """The causal retargeter of one robot for one human.

    Args:
        table: of the robot.
        robot: whose ranges count.
        kinematics: of the table's plant, with its rows as points.
        skeleton: the human's bones.
        fps: frames a second.
        order: of the joints of what `step` fills; None: the robot's.
        lock_feet: hold the feet that stand.

    Attributes:
        plant_index: (n,) where the joints of `order` stand in the plant's.
        held: frames that were not finite, for which the last one stayed.

    Raises:
        Refused: the plant's joints are not the robot's; bones of no human.
    """

    def __init__(self, table: RetargetTable, robot: Robot, kinematics: Kinematics, skeleton: Skeleton, fps: float,
                 order: JointOrder | None = None, *, lock_feet: bool = True) -> None:
        if set(kinematics.joints) != set(robot.order.names):
            odd = sorted(set(kinematics.joints) ^ set(robot.order.names))
            raise Refused(f"plant {table.plant}", expected=f"the joints of {robot.name}",
                          found=f"others: {', '.join(odd)}",
                          what_to_do="name the plant of this robot in the retarget table")
        self.order = order or robot.order
        self.plant_index = JointOrder(kinematics.joints).index_of(self.order)
        rows = [robot.joints[i] for i in robot.order.index_of(JointOrder(kinematics.joints))]
        margin = table.solving.margin_rad
        lower = np.maximum([row.lower_rad for row in rows], kinematics.lower) + margin
        upper = np.minimum([row.upper_rad for row in rows], kinematics.upper) - margin
        weights = np.array([[row.position_weight, row.rotation_weight] for row in table.rows], np.float64)
        self.targets = Targets(table, skeleton, 1 / fps, lock_feet=lock_feet)
        self.solver = GaussNewton(kinematics, weights[:, 0], weights[:, 1], lower, upper, 1 / fps, table.solving)
        self.fps, self.held = fps, 0
        self._has_begun = False

    @property
    def q(self) -> F64:
        """(7 + n,) the last solution, in the plant's order."""
        return self.solver.q

    def begin(self, positions: F64, rotations_wxyz: F64, ground_m: float | None = None) -> float:
        """Solves the first frame with many damped iterations; returns the mean distance of the points, m.

        Args:
            positions: (24, 3) joints in world, m. rotations_wxyz: (24, 4) out of the rest axes.
            ground_m: height of the foot joints while the feet stand; None: that of the lower one now.

        Raises:
            Refused: numbers that are not finite, or a frame that cannot be met.
        """
        if not _is_sound(positions, rotations_wxyz):
            raise Refused("first frame", expected="finite joints", found="others", what_to_do="cut the motion's begin")
        targets, solver = self.targets, self.solver
        targets.reset()
        feet = positions[targets.foot_joints, 2]
        targets.set_ground(ground_m if ground_m is not None else float(feet.min()) if len(feet) else 0.0)
        targets.aim(positions, rotations_wxyz)
        q = np.zeros_like(solver.q)
        q[:3], q[3:7] = targets.positions[0], targets.quats_wxyz[0]
        solver.start(q)
        solver.solve_first(targets.positions, targets.quats_wxyz)
        self._stand(positions, rotations_wxyz)
        error = self.position_errors().mean()
        if not error <= WORST_FIRST_M:
            raise Refused("first frame", expected=f"points within {WORST_FIRST_M} m of their targets on average",
                          found=f"{error:.2f} m", what_to_do="cut the motion's begin, or check its axes and rest pose")
        self._has_begun = True
        return float(error)

    def _stand(self, positions: F64, rotations_wxyz: F64) -> None:
        """Settles feet and balance of the first frame, as if the human had stood like this for a while."""
        targets, solver = self.targets, self.solver
        for _ in range(FIRST_FRAMES):
            targets.aim(positions, rotations_wxyz)
            solver.solve(targets.positions, targets.quats_wxyz)
            targets.settle(solver.kinematics.centre_of_mass(solver.q))
        solver.start(solver.q)

    def step(self, positions: F64, rotations_wxyz: F64, out: ReferenceFrame | None = None) -> bool:
        """The next frame, into `out`; False where it is not finite: the robot then stays as it was, at rest.

        Args:
            positions: (24, 3) joints in world, m. rotations_wxyz: (24, 4) out of the rest axes.

        Raises:
            Refused: the first frame, as `begin`.
        """
        if not self._has_begun:
            self.begin(positions, rotations_wxyz)
            sound = True
        else:
            sound = _is_sound(positions, rotations_wxyz)
            if sound:
                self.targets.aim(positions, rotations_wxyz)
                self.solver.solve(self.targets.positions, self.targets.quats_wxyz)
                self.targets.settle(self.solver.kinematics.centre_of_mass(self.solver.q))
            else:
                self.held += 1
                self.solver.start(self.solver.q)
        if out is not None:
            self.fill(out)
        return sound

    def fill(self, out: ReferenceFrame) -> None:
        """The last solution as a reference frame, joints in `order`."""
        q, change = self.solver.q, self.solver.change
        out.joint_pos[:] = q[ROOT_Q:][self.plant_index]
        out.joint_vel[:] = change[ROOT_Q - 1:][self.plant_index] * self.fps
        out.root_pos[:] = q[:3]
        out.root_quat_wxyz[:] = q[3:7]
        out.root_rpy[:] = rotation.roll_pitch_yaw(q[3:7])
        out.root_lin_vel[:] = rotation.rotate_inverse(q[3:7], change[:3] * self.fps)
        out.root_ang_vel[:] = change[3:6] * self.fps

    def position_errors(self) -> F64:
        """(k,) m, distance of each row's point from its target; of rows whose position counts for nothing, zero."""
        self.solver.kinematics.place(self.solver.q)
        distance = np.linalg.norm(self.solver.kinematics.positions - self.targets.positions, axis=1)
        return np.asarray(np.where(self.solver.position_weights > 0, distance, 0.0))


def _is_sound(positions: F64, rotations_wxyz: F64) -> bool:
    """Whether every number is finite and of a size that means something."""
    return bool(np.abs(positions).max() < HUGE and np.abs(rotations_wxyz).max() < HUGE)
