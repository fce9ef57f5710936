"""SONIC's inputs once more, straight from the formulas and slowly: plain numbers, loops, matrices, no product code.

Formulas, offsets and index tables: NVlabs/GR00T-WholeBodyControl @ 1983e88, `g1_deploy_onnx_ref.cpp`,
`policy_parameters.hpp`, `state_logger.cpp` and the `observation_config.yaml` files. Rotations go by 3x3 matrices here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

ISAACLAB_TO_MUJOCO = [0, 3, 6, 9, 13, 17, 1, 4, 7, 10, 14, 18, 2, 5, 8, 11, 15, 19, 21, 23, 25, 27, 12, 16, 20, 22, 24,
                      26, 28]
MUJOCO_TO_ISAACLAB = [0, 6, 12, 1, 7, 13, 2, 8, 14, 3, 9, 15, 22, 4, 10, 16, 23, 5, 11, 17, 24, 18, 25, 19, 26, 20, 27,
                      21, 28]
DEFAULT_MOTOR = [-0.312, 0, 0, 0.669, -0.363, 0, -0.312, 0, 0, 0.669, -0.363, 0, 0, 0, 0, 0.2, 0.2, 0, 0.6, 0, 0, 0,
                 0.2, -0.2, 0, 0.6, 0, 0, 0]
LOWER = [0, 3, 6, 9, 13, 17, 1, 4, 7, 10, 14, 18]
WRISTS = [23, 24, 25, 26, 27, 28]
UPPER = [2, 5, 8, 11, 12, 15, 16, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28]

# Layout -> block -> (offset, length); then frames and step of each window.
LAYOUTS: dict[str, dict[str, tuple[int, int]]] = {
    "sonic/default": {
        "mode": (0, 4), "positions": (4, 290), "velocities": (294, 290), "z": (584, 11), "anchor": (595, 6),
        "anchors": (601, 60), "lower positions": (661, 120), "lower velocities": (781, 120), "vr position": (901, 9),
        "vr orientation": (910, 12), "smpl joints": (922, 720), "smpl anchors": (1642, 60), "wrists": (1702, 60),
    },
    "sonic/v1_1": {
        "mode": (0, 4), "positions": (4, 290), "velocities": (294, 290), "anchors": (584, 60), "anchor": (644, 6),
        "lower positions": (650, 120), "lower velocities": (770, 120), "vr position": (890, 9),
        "vr orientation": (899, 12), "smpl joints": (911, 720), "smpl anchors": (1631, 60), "wrists": (1691, 60),
    },
    "sonic/low_latency": {
        "mode": (0, 4), "positions": (4, 290), "velocities": (294, 290), "anchors": (584, 60), "anchor": (644, 6),
        "lower positions": (650, 120), "lower velocities": (770, 120), "vr position": (890, 9),
        "vr orientation": (899, 12), "smpl joints": (911, 288), "smpl anchors": (1199, 24), "wrists": (1223, 24),
    },
    "sonic/release_python_names": {
        "mode": (0, 4), "positions": (4, 290), "velocities": (294, 290), "anchors": (584, 60),
        "lower positions": (644, 120), "lower velocities": (764, 120), "vr position": (884, 9),
        "vr orientation": (893, 12), "anchor": (905, 6), "smpl joints": (911, 720), "smpl anchors": (1631, 60),
        "wrists": (1691, 60),
    },
}
SIZES = {"sonic/default": 1762, "sonic/v1_1": 1751, "sonic/low_latency": 1247, "sonic/release_python_names": 1751}
MODES = {"g1": 0, "teleop": 1, "smpl": 2}
COUNTS = {
    "g1": ["mode", "positions", "velocities", "anchors"],
    "teleop": ["mode", "lower positions", "lower velocities", "vr position", "vr orientation", "anchor"],
    "smpl": ["mode", "smpl joints", "smpl anchors", "wrists"],
}

Vector = list[float]
Matrix = list[list[float]]


def matrix(q: Vector) -> Matrix:
    n = math.sqrt(sum(part * part for part in q))
    w, x, y, z = (part / n for part in q)
    return [
        [w * w + x * x - y * y - z * z, 2 * x * y - 2 * w * z, 2 * x * z + 2 * w * y],
        [2 * x * y + 2 * w * z, w * w - x * x + y * y - z * z, 2 * y * z - 2 * w * x],
        [2 * x * z - 2 * w * y, 2 * y * z + 2 * w * x, w * w - x * x - y * y + z * z],
    ]


def times(a: Matrix, b: Matrix) -> Matrix:
    return [[sum(a[i][k] * b[k][j] for k in range(3)) for j in range(3)] for i in range(3)]


def transposed(a: Matrix) -> Matrix:
    return [[a[j][i] for j in range(3)] for i in range(3)]


def about_z(angle: float) -> Matrix:
    return [[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0], [0.0, 0.0, 1.0]]


def heading(rotation: Matrix) -> Matrix:
    """Rotation about z by the yaw of the rotated x axis."""
    return about_z(math.atan2(rotation[1][0], rotation[0][0]))


def six(rotation: Matrix) -> Vector:
    return [rotation[i][j] for i in range(3) for j in range(2)]


@dataclass
class Motion:
    """A motion at 50 Hz, joints in IsaacLab order, quaternions w first."""

    joint_pos: list[Vector]
    joint_vel: list[Vector]
    root_quat: list[Vector]
    root_z: Vector
    smpl_joints: list[Vector]
    smpl_quat: list[Vector]
    vr_position: list[Vector]
    vr_orientation: list[Vector]


@dataclass
class Input:
    """What the robot and its operator say at one tick; joints in motor order."""

    q: Vector
    dq: Vector
    quat: Vector
    gyro: Vector
    frame: int
    playing: bool
    mode: str
    reinit: bool = False
    delta_heading: float = 0.0
    upper_body: Vector | None = None
    upper_body_vel: Vector | None = None


@dataclass
class SonicReference:
    """The reference program's bookkeeping around the two networks."""

    motion: Motion
    layout: str
    history: list[dict[str, Vector]] = field(default_factory=list)
    last_action: Vector = field(default_factory=lambda: [0.0] * 29)
    init_base: Matrix = field(default_factory=lambda: matrix([1, 0, 0, 0]))
    init_root: Vector = field(default_factory=lambda: [1.0, 0, 0, 0])
    init_smpl: Vector = field(default_factory=lambda: [1.0, 0, 0, 0])
    delta_heading: float = 0.0

    def tick(self, now: Input) -> tuple[Vector, Vector]:
        """The encoder's input, and the decoder's without its token (930 numbers)."""
        base = matrix(now.quat)
        self.delta_heading = now.delta_heading
        if now.reinit:
            self.init_base, self.delta_heading = base, 0.0
            self.init_root, self.init_smpl = self.motion.root_quat[now.frame], self.motion.smpl_quat[now.frame]
        if now.frame == 0:
            self.init_root, self.init_smpl = self.motion.root_quat[0], self.motion.smpl_quat[0]
        self.history.append({
            "gyro": now.gyro,
            "q": [now.q[MUJOCO_TO_ISAACLAB[j]] - DEFAULT_MOTOR[MUJOCO_TO_ISAACLAB[j]] for j in range(29)],
            "dq": [now.dq[MUJOCO_TO_ISAACLAB[j]] for j in range(29)],
            "action": list(self.last_action),
            "gravity": [-base[2][j] for j in range(3)],
        })
        return self.encoder(now, base), self.decoder()

    def acted(self, action: Vector) -> Vector:
        """Takes the raw action; gives joint targets in motor order."""
        self.last_action = list(action)
        scales = [scale(i) for i in range(29)]
        return [DEFAULT_MOTOR[i] + action[ISAACLAB_TO_MUJOCO[i]] * scales[i] for i in range(29)]

    def decoder(self) -> Vector:
        rows = self.history[-10:]
        out: Vector = []
        for name, size in (("gyro", 3), ("q", 29), ("dq", 29), ("action", 29), ("gravity", 3)):
            for _ in range(10 - len(rows)):
                out += [0.0] * size
            for row in rows:
                out += row[name]
        return out

    def ahead(self, now: Input, frames: int, step: int) -> list[int]:
        last = len(self.motion.joint_pos) - 1
        return [min(now.frame + i * step, last) if now.playing else now.frame for i in range(frames)]

    def anchors(self, base: Matrix, quats: list[Vector], init: Vector, indices: list[int]) -> Vector:
        delta = times(heading(self.init_base), transposed(heading(matrix(init))))
        delta = times(about_z(self.delta_heading), delta)
        left = heading(base) if self.layout == "sonic/v1_1" else base
        out: Vector = []
        for index in indices:
            out += six(times(transposed(left), times(delta, matrix(quats[index]))))
        return out

    def blocks(self, now: Input, base: Matrix) -> dict[str, Vector]:
        motion = self.motion
        step = 1 if self.layout == "sonic/low_latency" else 5
        window = self.ahead(now, 10, step)
        near = self.ahead(now, 4 if self.layout == "sonic/low_latency" else 10, 1)
        positions, velocities = [], []
        for index in window:
            row, speed = list(motion.joint_pos[index]), list(motion.joint_vel[index])
            if now.upper_body is not None and now.upper_body_vel is not None:
                for place, joint in enumerate(UPPER):
                    row[joint], speed[joint] = now.upper_body[place], now.upper_body_vel[place]
            positions += row
            velocities += speed if now.playing else [0.0] * 29
        lower_velocities = [motion.joint_vel[i][j] if now.playing else 0.0 for i in window for j in LOWER]
        return {
            "mode": [float(MODES[now.mode]), 0.0, 0.0, 0.0],
            "positions": positions,
            "velocities": velocities,
            "anchor": self.anchors(base, motion.root_quat, self.init_root, [now.frame]),
            "anchors": self.anchors(base, motion.root_quat, self.init_root, window),
            "lower positions": [motion.joint_pos[i][j] for i in window for j in LOWER],
            "lower velocities": lower_velocities,
            "vr position": motion.vr_position[now.frame],
            "vr orientation": motion.vr_orientation[now.frame],
            "smpl joints": [x for i in near for x in motion.smpl_joints[i]],
            "smpl anchors": self.anchors(base, motion.smpl_quat, self.init_smpl, near),
            "wrists": [motion.joint_pos[i][j] for i in near for j in WRISTS],
        }

    def encoder(self, now: Input, base: Matrix) -> Vector:
        out = [0.0] * SIZES[self.layout]
        blocks = self.blocks(now, base)
        for name in COUNTS[now.mode]:
            offset, length = LAYOUTS[self.layout][name]
            assert len(blocks[name]) == length
            out[offset : offset + length] = blocks[name]
        return out


def motor_type(i: int) -> str:
    if i in (0, 1, 3, 6, 7, 9):
        return "7520_22"
    if i in (2, 8, 12):
        return "7520_14"
    return "4010" if i in (20, 21, 27, 28) else "5020"


ARMATURE = {"7520_22": 0.025101925, "7520_14": 0.010177520, "5020": 0.003609725, "4010": 0.00425}
EFFORT = {"7520_22": 139.0, "7520_14": 88.0, "5020": 25.0, "4010": 5.0}


def scale(i: int) -> float:
    kind = motor_type(i)
    return 0.25 * EFFORT[kind] / (ARMATURE[kind] * (20 * 3.1415926535) ** 2)


def gains(i: int) -> tuple[float, float]:
    kind, omega = motor_type(i), 20 * 3.1415926535
    times_two = 2 if i in (4, 5, 10, 11, 13, 14) else 1
    return ARMATURE[kind] * omega**2 * times_two, 4 * ARMATURE[kind] * omega * times_two
