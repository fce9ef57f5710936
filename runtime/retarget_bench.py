"""The retargeter beside a solver of GMR's method, on the same kinematics and targets, in turns, in one process.

GMR solves every frame by itself: two stages of inverse kinematics (mink's frame tasks, daqp, joint limits), the second
with all weights, each repeated while the error falls. Ours takes the same targets and the same ranges of the joints;
scaling the targets is in neither. It is measured as clips are made, with the passes over the whole motion in its time,
and once more as a stream, frame by frame.
Method, weights and constants: YanjieZe/GMR @ 4f9e8b7 `motion_retarget.py`.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime import rotation
from runtime.errors import Refused
from runtime.gauss_newton import GaussNewton
from runtime.human_motion import HUMAN_JOINTS, HumanMotion, load_human_motion, make_human_motion
from runtime.resample import human_at
from runtime.retarget_quality import frame_costs, jerk_rms, skate_mm_s, stance
from runtime.retarget_table import RetargetTable, load_retarget_table
from runtime.retargeter import Retargeter, kinematics_of
from runtime.robot import load_robot
from runtime.smoothing import Smoother

F64 = npt.NDArray[np.float64]
FPS = 50.0
SECONDS = 8.0
TURNS = 6
DAMPING, LM_DAMPING = 0.5, 1.0
LEAST_GAIN, MOST_REPEATS = 1e-3, 10
FIRST_STAGE_ROTATION = 10.0


def walk_and_reach(seconds: float = SECONDS) -> HumanMotion:
    """A human of our own making who walks on, swings the arms, then bends and reaches: smooth, with feet that lift."""
    t = np.arange(round(seconds * FPS)) / FPS
    vectors = np.zeros((len(t), len(HUMAN_JOINTS), 3))
    place = {name: i for i, name in enumerate(HUMAN_JOINTS)}
    phase = 2 * np.pi * 0.8 * t
    walking = 0.5 - 0.5 * np.tanh(3 * (t - 0.6 * seconds))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        swing = walking * np.sin(phase + (0 if sign > 0 else np.pi))
        lift = walking * np.clip(np.cos(phase + (0 if sign > 0 else np.pi)), 0, None)
        vectors[:, place[f"{side}_hip"], 0] = -0.35 * swing - 0.25 * lift
        vectors[:, place[f"{side}_knee"], 0] = 0.15 + 0.7 * lift
        vectors[:, place[f"{side}_shoulder"], 2] = -sign * 1.2
        vectors[:, place[f"{side}_shoulder"], 1] = sign * 0.4 * swing - sign * (1 - walking) * 0.9
        vectors[:, place[f"{side}_elbow"], 1] = -sign * (0.3 + 0.2 * walking)
    for name in ("spine1", "spine2", "spine3"):
        vectors[:, place[name], 0] = 0.12 * (1 - walking)
    local = rotation.quat_from_vector_many(vectors)
    upright = np.array(rotation.quat_from_rpy(np.pi / 2, 0.0, np.pi / 2))
    local[:, 0] = rotation.multiply_many(np.broadcast_to(upright, (len(t), 4)), local[:, 0])
    pelvis = np.zeros((len(t), 3))
    pelvis[:, 0] = np.cumsum(0.8 * walking) / FPS
    motion = make_human_motion("walk and reach", FPS, local, pelvis)
    feet = motion.in_world()[0][:, [place["left_foot"], place["right_foot"]]]
    lowest = feet[:, :, 2].min(axis=1)
    standing = feet[:, :, 2].argmin(axis=1)
    slip = np.diff(feet[:, :, :2], axis=0)[np.arange(len(t) - 1), standing[1:]]
    pelvis[1:, :2] -= np.cumsum(slip, axis=0)
    pelvis[:, 2] = 0.03 - lowest
    return make_human_motion("walk and reach", FPS, local, pelvis)


def targets_of(table: RetargetTable, motion: HumanMotion, retargeter: Retargeter) -> tuple[F64, F64, F64, F64]:
    """Positions (T, k, 3), rotations (T, k, 4) of the table's targets, the states (T, 7 + n) of a whole pass, and
    which feet stand (T, feet)."""
    joints, turns = motion.in_world()
    frames, k = motion.frames, len(table.rows)
    positions, quats, qs = np.empty((frames, k, 3)), np.empty((frames, k, 4)), np.empty((frames, len(retargeter.q)))
    stands = np.zeros((frames, len(table.feet)))
    retargeter.begin(joints[0], turns[0])
    for t in range(frames):
        retargeter.step(joints[t], turns[t])
        positions[t], quats[t], qs[t] = retargeter.targets.positions, retargeter.targets.quats_wxyz, retargeter.q
        stands[t] = retargeter.targets.feet_stand
    return positions, quats, qs, stands


class TwoStage:
    """GMR's method on our kinematics.

    Raises:
        Refused: mink or daqp is not installed.
    """

    def __init__(self, table: RetargetTable, model: Any, first: F64) -> None:
        try:
            mink = importlib.import_module("mink")
            importlib.import_module("daqp")
        except ImportError as error:
            raise Refused("bench retarget", expected="mink and daqp, for the method it compares with",
                          found=f"cannot import: {error}", what_to_do="pip install 'exoactor[bench]'") from error
        self._mink = mink
        self._at = mink.Configuration(model, q=first)
        self._limits = [mink.ConfigurationLimit(model)]
        self._step_s = float(model.opt.timestep)
        points = [self._frame(model, i, row.body, row.point_m) for i, row in enumerate(table.rows)]
        stages: tuple[list[Any], list[Any]] = ([], [])
        for (name, kind), row in zip(points, table.rows, strict=True):
            whole = row.position_weight >= 100
            for tasks, at, turn in ((stages[0], row.position_weight if whole else 0.0, FIRST_STAGE_ROTATION),
                                    (stages[1], row.position_weight, row.rotation_weight)):
                tasks.append(mink.FrameTask(frame_name=name, frame_type=kind, position_cost=at, orientation_cost=turn,
                                            lm_damping=LM_DAMPING))
        self._stages = stages

    @staticmethod
    def _frame(model: Any, row: int, body: str, point: tuple[float, float, float]) -> tuple[str, str]:
        return (f"row {row}", "site") if any(point) else (body, "body")

    def start(self, q: F64) -> None:
        """Stand at a motion's first frame, not where the last turn ended: arms may come another way from there."""
        self._at.update(q)

    def solve(self, positions: F64, quats_wxyz: F64) -> F64:
        """The state for one frame's targets."""
        mink = self._mink
        for tasks in self._stages:
            for task, position, quat in zip(tasks, positions, quats_wxyz, strict=True):
                task.set_target(mink.SE3.from_rotation_and_translation(mink.SO3(quat), position))
        for tasks in self._stages:
            before = self._advance(tasks)
            for _ in range(MOST_REPEATS):
                now = self._advance(tasks)
                if before - now <= LEAST_GAIN:
                    break
                before = now
        return np.array(self._at.q)

    def _advance(self, tasks: list[Any]) -> float:
        velocity = self._mink.solve_ik(self._at, tasks, self._step_s, "daqp", damping=DAMPING, limits=self._limits)
        self._at.integrate_inplace(velocity, self._step_s)
        return float(np.linalg.norm(np.concatenate([task.compute_error(self._at) for task in tasks])))


def measure_retarget(motion_file: Path | None = None) -> dict[str, Any]:
    """Frames a second, and what comes out of them: ours over GMR's method, on the same targets.

    Raises:
        Refused: mink or daqp is missing; a motion that is none.
    """
    motion = walk_and_reach() if motion_file is None else human_at(load_human_motion(motion_file), FPS)
    table, robot = load_retarget_table("g1_29dof"), load_robot("g1_29dof")
    kinematics = kinematics_of(table)
    retargeter = Retargeter(table, robot, kinematics, motion.skeleton, motion.fps)
    positions, quats, begun, held = targets_of(table, motion, retargeter)
    model = kinematics.model_with_points([f"row {i}" for i in range(len(table.rows))])
    model.jnt_range[1:] = np.stack(retargeter.solver.limits, axis=1)
    base, ours = TwoStage(table, model, begun[0]), Ours(table, retargeter.solver, begun[0], (positions, quats), held)
    streamed, theirs, smoothed = np.empty_like(begun), np.empty_like(begun), begun
    spent: dict[str, list[float]] = {"ours": [], "stream": [], "theirs": []}
    for _ in range(TURNS):
        base.start(begun[0])
        spent["theirs"].append(_turn(lambda t: base.solve(positions[t], quats[t]), theirs))
        spent["stream"].append(ours.stream(streamed))
        seconds, smoothed = ours.clip()
        spent["ours"].append(seconds)
    feet = motion.in_world()[0][:, retargeter.targets.foot_joints]
    stands = stance(feet, motion.fps)

    def figures(qs: F64) -> dict[str, float]:
        points = kinematics.place_all(qs)
        return {"cost": float(frame_costs(table, points, (positions, quats))[1:].mean()),
                "jerk": jerk_rms(qs[1:], motion.fps),
                "skate": skate_mm_s(points[0][:, list(table.feet)], stands, motion.fps)}

    clip, stream, two_stage = figures(smoothed), figures(streamed), figures(theirs)
    stream_us, wall_us = _stream(table, robot, kinematics, motion)
    low, high = retargeter.solver.limits
    seconds, stream_s, base_s = (float(np.median(spent[who])) for who in ("ours", "stream", "theirs"))
    return {
        "retarget_ratio": base_s / seconds, "retarget_fps": motion.frames / seconds,
        "retarget_base_fps": motion.frames / base_s,
        **{f"{key}_ratio": value / max(two_stage[key], 1e-9) for key, value in clip.items()},
        "stream_ratio": base_s / stream_s,
        **{f"stream_{key}_ratio": value / max(two_stage[key], 1e-9) for key, value in stream.items()},
        "cost": clip["cost"], "jerk_rad_s3": clip["jerk"], "skate_mm_s": clip["skate"],
        "base_cost": two_stage["cost"], "base_jerk_rad_s3": two_stage["jerk"], "base_skate_mm_s": two_stage["skate"],
        "p99_ms": float(np.percentile(stream_us, 99)) / 1e3, "p99_wall_ms": float(np.percentile(wall_us, 99)) / 1e3,
        "retarget_frame_us": float(np.median(stream_us)),
        "limit_hits": sum(int(((qs[:, 7:] < low) | (qs[:, 7:] > high)).sum()) for qs in (smoothed, streamed)),
        "motion": motion.name, "frames": motion.frames,
    }


class Ours:
    """Our solver on given targets, as a stream and as a clip."""

    def __init__(self, table: RetargetTable, solver: GaussNewton, first: F64, targets: Sequence[F64],
                 stands: F64) -> None:
        self._targets, self._stands, self._first, self._feet = targets, stands, first, table.feet
        self._solver = solver

    def stream(self, out: F64) -> float:
        """Seconds of processor for all frames, one after the other."""
        solver, (positions, quats) = self._solver, self._targets
        solver.start(self._first)

        def solve(t: int) -> F64:
            solver.solve(positions[t], quats[t])
            return solver.q

        return _turn(solve, out)

    def clip(self) -> tuple[float, F64]:
        """Seconds of processor for the motion as a whole, and its states."""
        solver, (positions, quats) = self._solver, self._targets
        start = time.process_time()
        solver.start(self._first)
        smoother = Smoother(solver, self._feet)
        for position, quat, stands in zip(positions, quats, self._stands, strict=True):
            solver.solve(position, quat)
            smoother.add(position, quat, stands)
        out = smoother.finish()
        return time.process_time() - start, out


def _turn(solve: Any, out: F64) -> float:
    """Seconds of processor for all frames."""
    start = time.process_time()
    for t in range(len(out)):
        out[t] = solve(t)
    return time.process_time() - start


def _stream(table: RetargetTable, robot: Any, kinematics: Any, motion: HumanMotion) -> tuple[F64, F64]:
    """Microseconds of each frame of a stream, scaling and feet included: of the processor, and on the clock.

    The clock counts what other programs of a busy machine took meanwhile.
    """
    retargeter = Retargeter(table, robot, kinematics, motion.skeleton, motion.fps)
    joints, turns = motion.in_world()
    retargeter.begin(joints[0], turns[0])
    spent, wall = np.empty(motion.frames), np.empty(motion.frames)
    for t in range(motion.frames):
        start, clock = time.process_time_ns(), time.perf_counter_ns()
        retargeter.step(joints[t], turns[t])
        spent[t], wall[t] = (time.process_time_ns() - start) / 1e3, (time.perf_counter_ns() - clock) / 1e3
    return spent, wall
