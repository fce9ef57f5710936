"""Trackers with a motion inside, written with the tensors and metadata of their exporters and weights of our own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests import tiny_onnx
from tests.tiny_onnx import FLOAT, INT64, node

BODIES = ("pelvis", "left_knee_link", "torso_link", "right_knee_link")
"""Names of a tracked body list, the anchor not in its first place."""


@dataclass(frozen=True)
class Motion:
    """Rows as a network holds them, joints in policy order, quaternions w, x, y, z."""

    joint_pos: np.ndarray
    joint_vel: np.ndarray
    body_pos: np.ndarray
    body_quat: np.ndarray


def make_motion(rows: int, joints: int, *, start_yaw: float = 0.7, still: int = 0) -> Motion:
    """A smooth motion of small angles that begins with some heading; its last `still` + 1 rows are the same."""
    t = np.minimum(np.arange(rows), rows - 1 - still)[:, None]
    joint_pos = 0.2 * np.sin(0.05 * t + np.arange(joints)) - 0.2 * np.sin(np.arange(joints))
    joint_vel = 0.5 * np.cos(0.05 * t + np.arange(joints))
    body_pos = np.stack([np.stack([0.01 * t[:, 0], 0 * t[:, 0], 0.5 + 0.1 * k + 0.001 * t[:, 0]], axis=1)
                         for k in range(len(BODIES))], axis=1)
    quat = np.empty((rows, len(BODIES), 4))
    for k in range(len(BODIES)):
        half = 0.5 * (start_yaw + 0.01 * t[:, 0] + 0.3 * k)
        tilt = 0.05 * np.sin(0.1 * t[:, 0] + k)
        yaw = np.stack([np.cos(half), 0 * half, 0 * half, np.sin(half)], axis=1)
        roll = np.stack([np.cos(tilt), np.sin(tilt), 0 * tilt, 0 * tilt], axis=1)
        quat[:, k] = multiply(yaw, roll)
    as_float = [np.asarray(a, np.float32) for a in (joint_pos, joint_vel, body_pos, quat)]
    return Motion(*as_float)


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton product of rows of quaternions."""
    (aw, ax, ay, az), (bw, bx, by, bz) = a.T, b.T
    return np.stack([aw * bw - ax * bx - ay * by - az * bz, aw * bx + ax * bw + ay * bz - az * by,
                     aw * by - ax * bz + ay * bw + az * bx, aw * bz + ax * by - ay * bx + az * bw], axis=1)


def _network(path: Path, size: int, joints: int, tables: dict[str, np.ndarray], metadata: dict[str, str], *,
             clamped: bool, leaks: bool, weight: float) -> Path:
    """obs [1, size] -> actions by one matrix; time_step [1, 1] -> a row of each table."""
    rows = len(next(iter(tables.values())))
    generator = np.random.default_rng(7)
    constants = {"w": weight * generator.normal(size=(size, joints)), "zero": np.array(0.0),
                 "last": np.array(rows - 1.0)}
    nodes = [node("MatMul", ["obs", "w"], ["actions"])]
    step = "time_step"
    if clamped:
        nodes.append(node("Clip", [step, "zero", "last"], ["clamped"]))
        step = "clamped"
    nodes.append(node("Cast", [step], ["row_2d"], to=INT64))
    constants["flat"] = np.array([1])
    nodes.append(node("Reshape", ["row_2d", "flat"], ["row"]))
    outputs = [("actions", FLOAT, (1, joints))]
    for name, table in tables.items():
        constants[f"{name}_table"] = table
        nodes.append(node("Gather", [f"{name}_table", "row"], [f"{name}_row" if leaks else name]))
        if leaks:
            constants.setdefault("none", np.array([1e-3]))
            nodes.append(node("ReduceSum", ["obs"], [f"{name}_sum"], keepdims=0))
            nodes.append(node("Add", [f"{name}_row", f"{name}_sum"], [name]))
        outputs.append((name, FLOAT, (1, *table.shape[1:])))
    inputs = [("obs", FLOAT, (1, size)), ("time_step", FLOAT, (1, 1))]
    return tiny_onnx.write(path, nodes, inputs, outputs, constants, metadata)


def holosoma_tracker(path: Path, motion: Motion, names: list[str], *, anchor: int = 2, clamped: bool = True,
                     leaks: bool = False, weight: float = 0.01, kp: float = 40.0) -> Path:
    """amazon-far/holosoma: 5n + 9 observations; ref_pos_xyz and ref_quat_xyzw of the anchor; JSON metadata."""
    n = len(names)
    tables = {"joint_pos": motion.joint_pos, "joint_vel": motion.joint_vel, "ref_pos_xyz": motion.body_pos[:, anchor],
              "ref_quat_xyzw": motion.body_quat[:, anchor][:, [1, 2, 3, 0]]}
    metadata = {"dof_names": json.dumps(names), "kp": json.dumps([kp] * n), "kd": json.dumps([1.5] * n),
                "command_ranges": "{}", "robot_urdf": "<robot/>"}
    return _network(path, 5 * n + 9, n, tables, metadata, clamped=clamped, leaks=leaks, weight=weight)


def beyond_mimic(path: Path, motion: Motion, names: list[str], pose: np.ndarray, *, weight: float = 0.01,
                 kp: float = 40.0, kd: float = 1.5, anchor: str = "torso_link", bodies: tuple[str, ...] = BODIES,
                 size: int | None = None,
                 observations: str = "command,motion_anchor_ori_b,base_ang_vel,joint_pos,joint_vel,actions") -> Path:
    """HybridRobotics/whole_body_tracking without state estimation: 5n + 9; bodies' poses; comma-separated metadata."""
    n = len(names)
    tables = {"joint_pos": motion.joint_pos, "joint_vel": motion.joint_vel, "body_pos_w": motion.body_pos,
              "body_quat_w": motion.body_quat, "body_lin_vel_w": 0 * motion.body_pos,
              "body_ang_vel_w": 0 * motion.body_pos}

    def text(values: object) -> str:
        return ",".join(f"{value:.3f}" for value in np.broadcast_to(np.asarray(values, float), (n,)))

    metadata = {
        "run_path": "someone/project/abc", "joint_names": ",".join(names), "joint_stiffness": text(kp),
        "joint_damping": text(kd), "default_joint_pos": text(pose), "command_names": "motion",
        "observation_names": observations, "action_scale": text(0.4), "anchor_body_name": anchor,
        "body_names": ",".join(bodies),
    }
    return _network(path, size or 5 * n + 9, n, tables, metadata, clamped=True, leaks=False, weight=weight)
