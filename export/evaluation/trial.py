"""One task once: the human's motion retargeted, tracked by a controller in lock-step, and everything seen of it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.recorder import settings_for
from firmware_bridge.scene import Scene
from firmware_bridge.sim_options import PLANT
from firmware_bridge.simulated_robot import Disturbance, SimulatedRobot
from runtime import tracking_metrics
from runtime.clip import Clip, save_clip
from runtime.errors import Refused
from runtime.fault_table import FLAGS, Mode
from runtime.lockstep import Lockstep
from runtime.pilot import Phase
from runtime.policy import Policy
from runtime.robot import Robot
from runtime.settings import GATE_HZ
from runtime.tracking_bodies import BODIES, bodies_at, body_errors, body_kinematics, headings, laid_on

F64 = npt.NDArray[np.float64]

FALL_UPRIGHT = 0.5
"""Cosine of the pelvis's lean from which the robot counts as fallen."""
FALL_HEIGHT_M = 0.3
NOISE_RAD = 0.002
"""Half-width of the encoders' noise in all but the first trial; rates and gyro as `exoactor sim --noise` has them."""


@dataclass(frozen=True)
class Tracker:
    """Who tracks.

    Attributes:
        controller: name, manifest or bundle. model: its model, where it brings none.
        keep_place: as `RunSettings.keep_place`.
    """

    controller: str
    model: str | None = None
    keep_place: bool | None = None


@dataclass(frozen=True)
class Seen:
    """What happened while the motion played, one row a control period.

    Attributes:
        fps: rows a second.
        bodies, wanted: (T, 14, 3) m, of the robot and of its reference, BODIES; both in the world.
        quat_wxyz, wanted_wxyz: (T, 4) of the pelvis.
        objects: name -> (T, 7) pose. forces: name -> (T,) N between it and the robot.
        fell: whether the robot went down. ended_by: flag of the fault that ended it, or None.
        has_finished: whether the motion played to its end.
        metrics: `tracking_metrics` of it.
    """

    fps: float
    bodies: F64
    wanted: F64
    quat_wxyz: F64
    wanted_wxyz: F64
    objects: dict[str, F64]
    forces: dict[str, F64]
    fell: bool
    ended_by: str | None
    has_finished: bool
    metrics: dict[str, Any]


def reference_bodies(clip: Clip) -> F64:
    """(T, 14, 3) where the reference has BODIES."""
    return bodies_at(body_kinematics(PLANT), clip.order, clip.joint_pos, clip.root_pos, clip.root_quat_wxyz)


def play(clip: Clip, scene: Scene, tracker: Tracker, seed: int = 0) -> Seen:
    """Tracks a clip in a scene, until the motion or the robot has ended.

    Args:
        seed: of the sensor noise; 0: none.

    Raises:
        Refused, BridgeError: a controller or clip that cannot be run.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.npz"
        save_clip(file, clip)
        settings = replace(settings_for(tracker.controller, model=tracker.model, clip=str(file)),
                           keep_place=tracker.keep_place)
        policy = Policy(settings)
    noise = Disturbance(NOISE_RAD, 50 * NOISE_RAD, 20 * NOISE_RAD, seed=seed) if seed else None
    robot = SimulatedRobot(PLANT, disturbance=noise, scene=scene)
    lockstep, wanted, rows = Lockstep(settings, policy, robot), reference_bodies(clip), _Rows(robot)
    every = GATE_HZ // round(clip.fps)
    index = policy.manifest.robot.motor_index(clip.order)
    with np.errstate(all="ignore"):
        while lockstep.gate.machine.mode < Mode.DAMP and policy.pilot.phase < Phase.BLEND_OUT:
            lockstep.operate()
            lockstep.tick()
            if policy.pilot.phase == Phase.PLAY and lockstep.ticks % every == 0:
                rows.add(policy.pilot.play_time_s, robot.sample.q[index], robot.sample.dq[index])
                if rows.has_fallen:
                    break
    machine = lockstep.gate.machine
    cause = FLAGS[machine.cause].flag if machine.mode >= Mode.DAMP and machine.cause >= 0 else None
    if not rows.times:
        raise Refused("evaluation", expected="a robot that gets as far as the motion",
                      found=f"{machine.mode.name}, {cause}", what_to_do="check the controller with exoactor run")
    return _seen(rows, clip, wanted, policy.manifest.robot, cause, policy.pilot.phase >= Phase.BLEND_OUT)


class _Rows:
    """What is written down of a run, row by row."""

    def __init__(self, robot: SimulatedRobot) -> None:
        self._robot = robot
        self.times: list[float] = []
        self.bodies: list[F64] = []
        self.quats: list[F64] = []
        self.q: list[F64] = []
        self.dq: list[F64] = []
        self.objects: list[dict[str, F64]] = []
        self.forces: list[dict[str, float]] = []

    def add(self, time_s: float, q: npt.NDArray[Any], dq: npt.NDArray[Any]) -> None:
        """One more, at a time of the motion."""
        robot = self._robot
        self.times.append(time_s)
        self.bodies.append(robot.body_places(BODIES))
        self.quats.append(robot.base_orientation.copy())
        self.q.append(q.astype(np.float64))
        self.dq.append(dq.astype(np.float64))
        self.objects.append(robot.object_poses())
        self.forces.append({thing.name: robot.object_force(thing.name) for thing in robot.scene.things})

    @property
    def has_fallen(self) -> bool:
        """Whether the last row is of a robot that is down."""
        _, x, y, _ = self.quats[-1]
        return bool(1 - 2 * (x * x + y * y) < FALL_UPRIGHT or self.bodies[-1][0, 2] < FALL_HEIGHT_M)


def _seen(rows: _Rows, clip: Clip, wanted: F64, robot: Robot, cause: str | None, has_finished: bool) -> Seen:
    frame = np.clip(np.round(np.array(rows.times) * clip.fps).astype(np.intp), 0, len(wanted) - 1)
    bodies, quats, q, dq = (np.array(values) for values in (rows.bodies, rows.quats, rows.q, rows.dq))
    goal, goal_quats = laid_on(wanted[frame], clip.root_quat_wxyz[frame], bodies[0, 0], quats[0])
    joints = [robot.joints[robot.order.names.index(name)] for name in clip.order.names]
    heading, goal_heading = headings(quats), headings(goal_quats)
    errors = body_errors(bodies, quats, goal, goal_quats, clip.fps)
    metrics = {
        **errors, "success": errors["success"] and has_finished and not rows.has_fallen,
        **tracking_metrics.joint_errors(q, clip.joint_pos[frame]),
        **tracking_metrics.root_drift(bodies[:, 0, :2], heading, goal[:, 0, :2], goal_heading),
        **tracking_metrics.joint_motion(q, dq, np.array([joint.lower_rad for joint in joints]),
                                        np.array([joint.upper_rad for joint in joints]), clip.fps),
        "reference_to_joints_s": tracking_metrics.latency_s(q, clip.joint_pos[frame], clip.fps),
    }
    return Seen(
        clip.fps, bodies, goal, quats, goal_quats,
        {name: np.array([row[name] for row in rows.objects]) for name in rows.objects[0]},
        {name: np.array([row[name] for row in rows.forces]) for name in rows.forces[0]},
        rows.has_fallen or cause is not None, cause, has_finished, metrics,
    )
