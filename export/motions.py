"""Motions made here: recorded walks, keyframed gestures, and what can be made of any clip (mirrored, warped, overlaid).

Everything is a `Clip` in the robot's table order. They are references to train and to demonstrate with, not mocap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from firmware_bridge.simulated_robot import SimulatedRobot
from runtime import hand_track, rotation
from runtime.clip import Clip, make_clip
from runtime.pilot import min_jerk
from runtime.robot import JointOrder, Robot

F64 = npt.NDArray[np.float64]
FPS = 50.0
LEG = ("hip", "knee", "ankle")


def mirrored(clip: Clip) -> Clip:
    """Left and right exchanged: the reflection at the plane through x and z.

    A joint's twin is its name with the other side; roll and yaw joints change sign (their axes lie in or along the
    plane of reflection), pitch joints, knees and elbows do not.
    """
    names = clip.order.names
    twins = [_other_side(name) for name in names]
    twins = [twin if twin in names else name for twin, name in zip(twins, names, strict=True)]
    sign = np.array([-1.0 if ("roll" in name or "yaw" in name) else 1.0 for name in names])
    joint_pos = clip.joint_pos[:, clip.order.index_of(JointOrder(tuple(twins)))] * sign
    return make_clip(
        f"{clip.name} mirrored", clip.fps, clip.order, joint_pos, clip.root_pos * [1, -1, 1],
        clip.root_quat_wxyz * [1, -1, 1, -1], {name: rows[:, ::-1] for name, rows in clip.channels.items()
                                               if name == hand_track.CHANNEL},
    )


def _other_side(name: str) -> str:
    for side, other in (("left", "right"), ("right", "left")):
        if name.startswith(side):
            return other + name[len(side):]
    return name


def warped(clip: Clip, factor: float) -> Clip:
    """The same motion `factor` times as fast."""
    return make_clip(f"{clip.name} x{factor:.2f}", clip.fps * factor, clip.order, clip.joint_pos, clip.root_pos,
                     clip.root_quat_wxyz)


def overlaid(legs: Clip, arms: Clip, weight: float = 1.0) -> Clip:
    """Root, legs and waist of one clip, arms of another (blended in by `weight`), looped to its length."""
    upper = np.array([not any(part in name for part in (*LEG, "waist")) for name in legs.order.names])
    times = np.arange(len(legs.joint_pos)) * (arms.fps / legs.fps)
    last = len(arms.joint_pos) - 1
    place = last - np.abs(times % (2 * last) - last)  # to and fro: a loop without a jump
    low = place.astype(int)
    high, s = np.minimum(low + 1, last), (place - low)[:, None]
    index = arms.order.index_of(legs.order)
    other = ((1 - s) * arms.joint_pos[low] + s * arms.joint_pos[high])[:, index]
    joint_pos = legs.joint_pos.copy()
    joint_pos[:, upper] += weight * (other - joint_pos)[:, upper]
    return make_clip(f"{legs.name} with arms of {arms.name}", legs.fps, legs.order, joint_pos, legs.root_pos,
                     legs.root_quat_wxyz)


def cut(clip: Clip, start_s: float, end_s: float) -> Clip:
    """The part of a clip between two times."""
    first, last = round(start_s * clip.fps), round(end_s * clip.fps) + 1
    return make_clip(clip.name, clip.fps, clip.order, clip.joint_pos[first:last], clip.root_pos[first:last],
                     clip.root_quat_wxyz[first:last])


def smoothed(clip: Clip, width: int) -> Clip:
    """Every column averaged over `width` frames (binomially), ends kept."""
    kernel = np.ones(1)
    for _ in range(width - 1):
        kernel = np.convolve(kernel, [0.5, 0.5])
    pad = len(kernel) // 2

    def smooth(values: F64) -> F64:
        padded = np.pad(values, ((pad, len(kernel) - 1 - pad), (0, 0)), mode="edge")
        return np.stack([np.convolve(column, kernel, "valid") for column in padded.T], axis=1)

    quat = clip.root_quat_wxyz.copy()
    quat[1:] *= np.cumprod(np.sign(np.sum(quat[1:] * quat[:-1], axis=1)))[:, None]  # one sheet of the double cover
    return make_clip(clip.name, clip.fps, clip.order, smooth(clip.joint_pos), smooth(clip.root_pos), smooth(quat))


def renamed(clip: Clip, name: str) -> Clip:
    """The same under another name."""
    return replace(clip, name=name)


Pose = Mapping[str, float]
"""Joint names and how far (rad) they leave the standing pose. `*_x` means left_x and right_x, `root_pitch`,
`root_roll`, `root_yaw` lean the pelvis."""


class Animator:
    """Makes standing motions from keyframes: the feet stay where they are, the pelvis goes where the legs put it.

    Args:
        robot: whose joints.
        plant: for kinematics only; never stepped.
        standing: (n,) rad, table order, the pose every motion starts and ends in.
        feet: bodies of the plant that stand on the floor.
    """

    def __init__(
        self, robot: Robot, plant: SimulatedRobot, standing: F64,
        feet: Sequence[str] = ("left_ankle_roll_link", "right_ankle_roll_link"),
    ) -> None:
        self.robot, self._plant, self._standing, self._feet = robot, plant, standing, tuple(feet)
        names = [plant.joint_names.index(name) for name in robot.order.names]
        self._to_plant = np.argsort(np.array(names))
        self._home = self._feet_in_pelvis(standing)

    def _feet_in_pelvis(self, q: F64) -> F64:
        return self._plant.body_positions(self._feet, q[self._to_plant]) - self._plant.base_position

    def clip(self, name: str, keys: Sequence[tuple[float, Pose]], root_height_m: float, *, foot: int | None = None
             ) -> Clip:
        """A clip through keyframes.

        Args:
            name: of the clip.
            keys: (seconds since the key before, pose); each is reached at rest, by minimum jerk. The standing pose
                is the first, and the last after as long as the first key took.
            root_height_m: of the pelvis when standing.
            foot: which foot carries the robot, None for the mean of both.
        """
        order = self.robot.order.names
        poses = [self._full({}), *(self._full(pose) for _, pose in keys), self._full({})]
        times = [*(seconds for seconds, _ in keys), keys[0][0]]
        rows = [poses[0][None]]
        for before, after, seconds in zip(poses[:-1], poses[1:], times, strict=True):
            steps = max(2, round(seconds * FPS))
            s = np.array([min_jerk((k + 1) / steps) for k in range(steps)])[:, None]
            rows.append((1 - s) * before + s * after)
        track = np.concatenate(rows)
        rpy, joint_pos = track[:, :3], self._within(track[:, 3:])
        quat = np.stack([rotation.quat_from_rpy(*row) for row in rpy])
        feet = [0, 1] if foot is None else [foot]
        home = self._home[feet].mean(axis=0)
        root = np.empty((len(track), 3))
        for k, q in enumerate(joint_pos):
            now = self._feet_in_pelvis(q)[feet].mean(axis=0)
            root[k] = home - _rotate(quat[k], now)
        root[:, 2] += root_height_m
        return make_clip(name, FPS, JointOrder(order), joint_pos, root, quat)

    def _full(self, pose: Pose) -> F64:
        out = np.concatenate([np.zeros(3), self._standing])
        order = self.robot.order.names
        for name, value in pose.items():
            if name.startswith("root_"):
                out[("root_roll", "root_pitch", "root_yaw").index(name)] += value
                continue
            for full in ([f"left_{name[2:]}", f"right_{name[2:]}"] if name.startswith("*_") else [name]):
                flip = -1.0 if name.startswith("*_") and full.startswith("right") and (
                    "roll" in full or "yaw" in full) else 1.0
                out[3 + order.index(f"{full}_joint")] += flip * value
        return out

    def _within(self, joint_pos: F64) -> F64:
        lower = np.array([joint.lower_rad for joint in self.robot.joints]) + 0.01
        upper = np.array([joint.upper_rad for joint in self.robot.joints]) - 0.01
        return np.clip(joint_pos, lower, upper)


def _rotate(quat: F64, v: F64) -> F64:
    return np.asarray(rotation.rotate_inverse(quat * [1, -1, -1, -1], v))


def squat(depth: float, lean: float = 0.3) -> dict[str, float]:
    """Knees bent by `depth` rad, the trunk leaning forward by a part of it, feet flat."""
    lean *= depth
    return {"root_pitch": lean, "*_hip_pitch": -depth / 2 - lean, "*_knee": depth, "*_ankle_pitch": -depth / 2}


def sway(angle: float) -> dict[str, float]:
    """The pelvis to the left by leaning both legs, `angle` rad."""
    return {f"{side}_{joint}": sign * angle for side in ("left", "right")
            for joint, sign in (("hip_roll", -1.0), ("ankle_roll", 1.0))}


Maker = Callable[[np.random.Generator], Sequence[tuple[float, Pose]]]


def random_gesture(rng: np.random.Generator) -> list[tuple[float, Pose]]:
    """A few seconds of arms, waist, knees and sways, in random strength and tempo."""
    keys: list[tuple[float, Pose]] = []
    for _ in range(int(rng.integers(2, 6))):
        pose: dict[str, float] = {}
        if rng.random() < 0.7:
            for side, sign in (("left", 1.0), ("right", -1.0)):
                pose |= {
                    f"{side}_shoulder_pitch": rng.uniform(-1.8, 0.5),
                    f"{side}_shoulder_roll": sign * rng.uniform(-0.3, 0.8),
                    f"{side}_shoulder_yaw": rng.uniform(-0.6, 0.6),
                    f"{side}_elbow": rng.uniform(-0.9, 0.4),
                    f"{side}_wrist_roll": rng.uniform(-0.5, 0.5),
                }
        if rng.random() < 0.5:
            pose |= {"waist_yaw": rng.uniform(-0.7, 0.7)}
        if rng.random() < 0.4:
            pose |= squat(rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.5))
        elif rng.random() < 0.5:
            pose |= sway(rng.uniform(-0.12, 0.12))
        keys.append((rng.uniform(0.7, 2.0), pose))
    return keys
