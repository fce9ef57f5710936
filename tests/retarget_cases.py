"""What tests of retargeting share: the G1's table and kinematics, a retargeter, a random state, a human standing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from runtime import rotation
from runtime.human_motion import HUMAN_JOINTS, PLAIN, HumanMotion, Skeleton, make_human_motion
from runtime.retarget_bench import FPS
from runtime.retarget_table import load_retarget_table
from runtime.retargeter import Retargeter, kinematics_of
from runtime.robot import load_robot

TABLE = load_retarget_table("g1_29dof")
ROBOT = load_robot("g1_29dof")
KINEMATICS = kinematics_of(TABLE)
FEET = [HUMAN_JOINTS.index("left_foot"), HUMAN_JOINTS.index("right_foot")]
F64 = Any


def make_retargeter(skeleton: Skeleton = PLAIN, *, lock_feet: bool = True) -> Retargeter:
    return Retargeter(TABLE, ROBOT, KINEMATICS, skeleton, FPS, lock_feet=lock_feet)


def a_state(seed: int) -> F64:
    random = np.random.default_rng(seed)
    q = np.zeros(7 + len(KINEMATICS.joints))
    q[:3] = random.normal(size=3)
    q[3:7] = rotation.quat_from_vector_many(random.normal(size=3))
    q[7:] = random.uniform(KINEMATICS.lower, KINEMATICS.upper)
    return q


def standing(frames: int = 100) -> HumanMotion:
    upright = np.tile(np.array([1.0, 0, 0, 0]), (frames, len(HUMAN_JOINTS), 1))
    upright[:, 0] = rotation.quat_from_rpy(math.pi / 2, 0.0, math.pi / 2)
    pelvis = np.tile([0.0, 0.0, 0.96], (frames, 1))
    return make_human_motion("standing", FPS, upright, pelvis)
