"""A human's motion as SONIC's smpl mode reads it, and the six wrist joints that go with it.

NVlabs/GR00T-WholeBodyControl @ 1983e88, `pico_manager_thread_server.py` and `torch_transform.py`, read and not run
against its weights: the root's rotation without SMPL's base rotation b, q' = q conj(b), is the human's heading frame (x
forward, z up), and the 24 joints are seen from it. Its own converters do not agree on two things. Whether the pelvis is
taken off: here it is, for then the joints depend on the pose alone, and left in they would turn with the heading. And
what the two joints beyond the wrists are: here the skeleton's (`body_models.HAND_OF`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.clip import WRISTS, Clip, make_clip
from runtime.errors import Refused
from runtime.human_motion import HumanMotion, pose_in_world
from runtime.resample import human_at
from runtime.robot import Robot
from runtime.smpl_wrists import wrists

F64 = npt.NDArray[np.float64]
BASE = np.array([0.5, 0.5, 0.5, 0.5])
WRIST_JOINTS = tuple(f"{side}_wrist_{axis}_joint" for axis in ("roll", "pitch", "yaw") for side in ("left", "right"))
"""In the order of `wrists`: SONIC's last six joints."""


def smpl_channels(motion: HumanMotion) -> dict[str, F64]:
    """`smpl_joints` (T, 72), `smpl_quat_wxyz` (T, 4), `smpl_pose` (T, 63) of a motion at its own rate."""
    root = rotation.multiply_many(motion.local_wxyz[:, 0], np.broadcast_to(rotation.conjugate_many(BASE),
                                                                           (motion.frames, 4)))
    joints, _ = pose_in_world(motion.local_wxyz, np.zeros((motion.frames, 3)), motion.skeleton.offsets_m)
    seen = rotation.rotate_many(rotation.conjugate_many(root)[:, None], joints)
    vectors = rotation.rotation_vector_many(motion.local_wxyz[:, 1:22])
    return {
        "smpl_joints": seen.reshape(motion.frames, -1), "smpl_quat_wxyz": rotation.continuous_many(root),
        "smpl_pose": vectors.reshape(motion.frames, -1),
    }


def hand_channel(motion: HumanMotion) -> dict[str, F64]:
    """`hand_states` (T, 2) of a motion that has any."""
    return {} if motion.hand_states is None else {"hand_states": motion.hand_states.astype(np.float64)}


def human_clip(motion: HumanMotion, robot: Robot, fps: float, standing: dict[str, float] | None = None) -> Clip:
    """A clip that carries a human: channels and wrists; the robot's other joints stand, its root goes with the human.

    Args:
        standing: joint -> rad where it is not zero.

    Raises:
        Refused: a robot without the six wrist joints.
    """
    if not set(WRIST_JOINTS) <= set(robot.order.names):
        raise Refused(f"human motion {motion.name}", expected=f"a robot with {', '.join(WRIST_JOINTS)}",
                      found=robot.name, what_to_do="convert with --retarget")
    motion = human_at(motion, fps)
    channels = smpl_channels(motion) | hand_channel(motion)
    q = np.array([(standing or {}).get(name, 0.0) for name in robot.order.names])
    joint_pos = np.tile(q, (motion.frames, 1))
    columns = [robot.order.names.index(name) for name in WRIST_JOINTS]
    rows = [robot.joints[column] for column in columns]
    bent = np.array([wrists(pose) for pose in channels["smpl_pose"]])
    joint_pos[:, columns] = np.clip(bent, [row.lower_rad for row in rows], [row.upper_rad for row in rows])
    return make_clip(motion.name, fps, robot.order, joint_pos, motion.pelvis_m, channels["smpl_quat_wxyz"], channels,
                     joints=WRISTS)
