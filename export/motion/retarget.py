"""A human's motion to a robot's clip: the runtime's causal retargeter over all frames, then passes over the whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export.motion.smpl_channels import hand_channel
from runtime.clip import Clip, make_clip
from runtime.errors import Refused
from runtime.human_motion import HumanMotion
from runtime.resample import human_at
from runtime.retarget_quality import fastest_rad_s, frame_costs, jerk_rms, skate_mm_s, stance
from runtime.retarget_table import RetargetTable, load_retarget_table
from runtime.retargeter import Retargeter, kinematics_of
from runtime.robot import Robot
from runtime.smoothing import Smoother

F64 = npt.NDArray[np.float64]
GROUND_PERCENTILE = 5.0
"""Of the lower foot's height over the motion: single frames below are noise, and steps lie above."""
MOST_FOOT_TILT_RAD = 0.7
LEAST_STANDING_FRAMES = 5


@dataclass(frozen=True)
class RetargetReport:
    """What came of it.

    Attributes:
        costs: (T,) of each frame; see `frame_costs`.
        first_error_m: mean distance of the first frame's points.
        position_errors_m: body -> mean distance of its point from the target, where its position counts.
        skate_mm_s: of the robot's feet while the human's stand. human_skate_mm_s: of the human's own, scaled.
        jerk_rad_s3: root mean square. fastest_rad_s: largest joint speed.
        limit_hits: joint positions outside of the robot's ranges: none, or something is wrong.
        ground_m: height of the human's foot joints that became the ground.
        foot_tilts_rad: (feet, 2) roll and pitch taken from the feet, which the source's rest pose had not flat.
    """

    costs: F64
    first_error_m: float
    position_errors_m: dict[str, float]
    skate_mm_s: float
    human_skate_mm_s: float
    jerk_rad_s3: float
    fastest_rad_s: float
    limit_hits: int
    ground_m: float
    foot_tilts_rad: F64

    @property
    def cost(self) -> float:
        """Mean cost a frame."""
        return float(self.costs.mean())


def retarget(
    motion: HumanMotion, robot: Robot, *, fps: float = 50.0, smooth: bool = True, table: RetargetTable | None = None,
    ground: str = "constant",
) -> tuple[Clip, RetargetReport]:
    """The motion as the robot's clip.

    Args:
        fps: of the clip.
        smooth: the motion as a whole, behind the causal solver.
        table: None: the one shipped for the robot.
        ground: "constant": one height is taken off; "trend": a line in time, for estimates that sink or rise.

    Raises:
        Refused: no table for the robot, a motion without a place in the world, a first frame that cannot be met.
    """
    if not motion.has_place:
        raise Refused(f"human motion {motion.name}", expected="a place in the world", found="the camera's axes only",
                      what_to_do="give the camera's motion, or an estimate in world axes")
    table = table or load_retarget_table(robot.name)
    motion = human_at(motion, fps)
    joints, turns = motion.in_world()
    retargeter = Retargeter(table, robot, kinematics_of(table), motion.skeleton, fps)
    feet = joints[:, retargeter.targets.foot_joints]
    joints, level = levelled(joints, feet, ground)
    tilts = standing_tilts(retargeter, joints, turns)
    retargeter.targets.level_feet(tilts)
    first_error = retargeter.begin(joints[0], turns[0], 0.0)
    qs = np.empty((motion.frames, len(retargeter.q)))
    positions, quats = np.empty((motion.frames, len(table.rows), 3)), np.empty((motion.frames, len(table.rows), 4))
    smoother = Smoother(retargeter.solver, table.feet) if smooth else None
    for t in range(motion.frames):
        retargeter.step(joints[t], turns[t])
        qs[t], positions[t], quats[t] = retargeter.q, retargeter.targets.positions, retargeter.targets.quats_wxyz
        if smoother is not None:
            smoother.add(positions[t], quats[t], retargeter.targets.feet_stand)
    if smoother is not None:
        qs = smoother.finish()
    lower, upper = retargeter.solver.limits
    channels = hand_channel(motion)
    joint_pos = qs[:, 7:][:, retargeter.plant_index]
    clip = make_clip(motion.name, fps, robot.order, joint_pos, qs[:, :3], qs[:, 3:7], channels)
    points = retargeter.solver.kinematics.place_all(qs)
    distance = np.linalg.norm(points[0] - positions, axis=2).mean(axis=0)
    stands = stance(joints[:, retargeter.targets.foot_joints], fps)
    scale = table.rows[table.feet[0]].scale if table.feet else None
    ratio = table.scales[scale].of(motion.skeleton) if scale else 1.0
    return clip, RetargetReport(
        costs=frame_costs(table, points, (positions, quats)), first_error_m=first_error,
        position_errors_m={row.body: float(distance[i]) for i, row in enumerate(table.rows) if row.position_weight},
        skate_mm_s=skate_mm_s(points[0][:, list(table.feet)], stands, fps),
        human_skate_mm_s=ratio * skate_mm_s(feet, stands, fps), jerk_rad_s3=jerk_rms(qs, fps),
        fastest_rad_s=fastest_rad_s(qs, fps), limit_hits=int(((qs[:, 7:] < lower) | (qs[:, 7:] > upper)).sum()),
        ground_m=level, foot_tilts_rad=tilts,
    )


def levelled(joints: F64, feet: F64, ground: str) -> tuple[F64, float]:
    """Joints with the ground at height zero, and what was taken off on average: never each frame's lowest foot."""
    lowest = feet[:, :, 2].min(axis=1)
    level = float(np.percentile(lowest, GROUND_PERCENTILE))
    if ground == "constant":
        off = np.full(len(joints), level)
    elif ground == "trend":
        off = _trend(lowest)
    else:
        raise Refused("ground", expected="constant or trend", found=ground, what_to_do="choose one of the two")
    out = joints.copy()
    out[:, :, 2] -= off[:, None]
    return out, float(off.mean())


def _trend(lowest: F64) -> F64:
    """(T,) the line that lies below nearly all of the lower foot's heights: least squares on what is low, repeated."""
    t = np.arange(len(lowest), dtype=np.float64)
    low = np.ones(len(lowest), np.bool_)
    for _ in range(8):
        line = np.polyval(np.polyfit(t[low], lowest[low], 1), t)
        above = lowest - line
        low = above <= max(float(np.median(above[low])), 1e-9)
        if low.sum() < LEAST_STANDING_FRAMES:
            break
    return np.asarray(line + np.percentile(lowest - line, GROUND_PERCENTILE))


def standing_tilts(retargeter: Retargeter, joints: F64, turns: F64) -> F64:
    """(feet, 2) median roll and pitch, rad, of the feet while they stand: of a rest pose whose feet are not flat."""
    targets, feet = retargeter.targets, retargeter.targets.table.feet
    seen: list[list[tuple[float, float]]] = [[] for _ in feet]
    targets.reset()
    for position, turn in zip(joints, turns, strict=True):
        targets.aim(position, turn)
        for i, roll, pitch in targets.standing_tilts():
            seen[i].append((roll, pitch))
    targets.reset()
    found = [np.median(tilts, axis=0) if len(tilts) >= LEAST_STANDING_FRAMES else np.zeros(2) for tilts in seen]
    return np.array(found).reshape(len(feet), 2).clip(-MOST_FOOT_TILT_RAD, MOST_FOOT_TILT_RAD)
