"""A human's motion as the G1's reference, by the causal retargeter: what a live stream would give the controller."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime.clip import Clip, make_clip
from runtime.human_motion import PLAIN, HumanMotion
from runtime.reference import ReferenceFrame
from runtime.retarget_table import load_retarget_table
from runtime.retargeter import Retargeter, kinematics_of
from runtime.robot import load_robot

ROBOT = "g1_29dof"


def reference_of() -> tuple[Callable[[HumanMotion], Clip], float]:
    """What makes clips of motions, and the robot's lengths over those of the plain human."""
    robot, table = load_robot(ROBOT), load_retarget_table(ROBOT)

    def clip_of(motion: HumanMotion) -> Clip:
        retargeter = Retargeter(table, robot, kinematics_of(table), motion.skeleton, motion.fps)
        frame, rows = ReferenceFrame(len(robot.joints)), []
        for positions, turns in zip(*motion.in_world(), strict=True):
            retargeter.step(positions, turns, frame)
            rows.append(np.concatenate([frame.root_pos, frame.root_quat_wxyz, frame.joint_pos]))
        track = np.array(rows)
        return make_clip(motion.name, motion.fps, robot.order, track[:, 7:], track[:, :3], track[:, 3:7])

    return clip_of, next(scale for scale in table.scales.values() if scale.name == "leg").of(PLAIN)
