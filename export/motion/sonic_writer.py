"""A clip as SONIC's reference folder: 50 Hz, Isaac Lab's order, bodies by the robot's kinematics, header rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.motion.formats.sonic_folder import FPS, INFO, METADATA
from export.motion.resample import robot_at
from export.motion.robot_motion import of_clip
from export.motion.tree_order import tree_order
from firmware_bridge.kinematics import Kinematics, plant_path
from runtime import rotation
from runtime.clip import Clip
from runtime.robot import JointOrder, Robot

F64 = npt.NDArray[np.float64]
BODIES = (
    "pelvis", "left_hip_roll_link", "left_knee_link", "left_ankle_roll_link", "right_hip_roll_link", "right_knee_link",
    "right_ankle_roll_link", "torso_link", "left_shoulder_roll_link", "left_elbow_link", "left_wrist_yaw_link",
    "right_shoulder_roll_link", "right_elbow_link", "right_wrist_yaw_link",
)
"""The fourteen that the published folders have, the root first; `metadata.txt` gives their places among all bodies."""
ENCODER_MODES = {"all": 0, "wrists": 2}


def write_sonic_folder(folder: Path, clip: Clip, robot: Robot) -> None:
    """Write the folder's files; it must exist."""
    order = tree_order(robot)
    motion = robot_at(of_clip(clip), FPS)
    clip = motion.to_clip()
    columns = clip.order.index_of(order.joints)
    places, turns = body_poses(clip, robot, [name for name in BODIES if name in order.bodies])
    names = [name for name in BODIES if name in order.bodies]
    _write(folder / "joint_pos.csv", order.joints.names, clip.joint_pos[:, columns])
    _write(folder / "joint_vel.csv", order.joints.names, clip.joint_vel[:, columns])
    for file, values, parts in (
        ("body_pos.csv", places, "xyz"), ("body_quat.csv", turns, "wxyz"),
        ("body_lin_vel.csv", np.gradient(places, 1 / FPS, axis=0), "xyz"), ("body_ang_vel.csv", _spin(turns), "xyz"),
    ):
        header = [f"{name}_{part}" for name in names for part in parts]
        _write(folder / file, header, values.reshape(len(values), -1))
    for channel, file in (("smpl_joints", "smpl_joint.csv"), ("smpl_pose", "smpl_pose.csv"),
                          ("smpl_quat_wxyz", "smpl_quat.csv")):
        if channel in clip.channels:
            values = clip.channels[channel]
            _write(folder / file, [f"{channel}_{column}" for column in range(values.shape[1])], values)
    indexes = " ".join(str(order.bodies.index(name)) for name in names)
    (folder / METADATA).write_text(
        f"Body part indexes:\n[{indexes}]\n\nTotal timesteps: {len(clip.joint_pos)}\n", "utf-8")
    (folder / INFO).write_text(
        f"name: {clip.name}\nfps: {FPS:g}\nrobot: {robot.name}\njoints: {clip.joints}\n"
        f"encoder_mode: {ENCODER_MODES[clip.joints]}\n", "utf-8")


def body_poses(clip: Clip, robot: Robot, bodies: list[str]) -> tuple[F64, F64]:
    """Where bodies are, (T, B, 3) m and (T, B, 4), by the plant that ships for the robot."""
    kinematics = Kinematics(plant_path(robot.name), [(name, (0.0, 0.0, 0.0)) for name in bodies])
    columns = clip.order.index_of(JointOrder(kinematics.joints))
    places, turns = np.empty((len(clip.joint_pos), len(bodies), 3)), np.empty((len(clip.joint_pos), len(bodies), 4))
    for frame, q in enumerate(np.hstack([clip.root_pos, clip.root_quat_wxyz, clip.joint_pos[:, columns]])):
        kinematics.place(q)
        places[frame], turns[frame] = kinematics.positions, kinematics.quats_wxyz
    return places, rotation.continuous_many(turns)


def _spin(turns: F64) -> F64:
    """(T, B, 3) rad/s in world, of (T, B, 4) at the folder's rate."""
    out = np.empty((*turns.shape[:-1], 3))
    for frame in range(len(turns)):
        a, b = max(frame - 1, 0), min(frame + 1, len(turns) - 1)
        step = rotation.multiply_many(turns[b], rotation.conjugate_many(turns[a]))
        out[frame] = rotation.rotation_vector_many(step) * (FPS / (b - a))
    return out


def _write(path: Path, header: list[str] | tuple[str, ...], values: F64) -> None:
    np.savetxt(path, values, fmt="%.9g", delimiter=",", header=",".join(header), comments="")
