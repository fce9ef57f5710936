"""A simulated humanoid: MuJoCo physics behind the drives' own position servo.

The drive law of a Unitree joint, tau = kp (q* - q) + kd (dq* - dq) + tau*, is put into MuJoCo as an affine actuator
(bias -kp q - kd dq), so that `implicitfast` integrates the damping implicitly. Explicit torque PD on the same plant
makes published policies fall at steps they were trained for.

Until it is commanded stiffly the robot hangs on a gantry, its pelvis held at standing height, as a real one does at
power-up. The gantry lets go by itself once the legs are stiff and their targets are at rest.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt

from firmware_bridge.errors import BridgeError
from firmware_bridge.fixture import Fixture
from firmware_bridge.gantry import Gantry
from firmware_bridge.hook import Hook
from firmware_bridge.imperfections import SUBSTEP_S, Imperfections
from firmware_bridge.motor_bus import DQ, KD, KP, TAU, MotorCommand, MotorSample, Q
from firmware_bridge.motor_table import PREFERRED_MODE, MotorTable
from firmware_bridge.plant import hanging_height, load_plant
from firmware_bridge.scene import PREFIX, Scene
from firmware_bridge.truth import Truth

PLANTS = Path(__file__).with_name("plants")
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
HEALTHY_C = 35
"""Temperature of a motor that nothing ails."""
HELD_N_M_S_RAD = 1e4
"""Damping of a joint that a hand holds."""
MOST_TAKEN = 0.9
"""Of a rotor, by even damping: the rest keeps the mass matrix positive where a step is long and damping hard."""
HANGING_M = 0.3
"""So much higher than it stands hangs a robot on a bench."""


@dataclass(frozen=True)
class Push:
    """A force on the torso: from `start_s` for `duration_s`, newtons in world axes."""

    start_s: float
    duration_s: float
    force_n: tuple[float, float, float]


@dataclass(frozen=True)
class Disturbance:
    """What the simulated world does to the runtime; the default does nothing.

    Noise is uniform, half-width given; latency delays commands; `loss` drops published states.
    """

    noise_q_rad: float = 0.0
    noise_dq_rad_s: float = 0.0
    noise_gyro_rad_s: float = 0.0
    latency_s: float = 0.0
    loss: float = 0.0
    pushes: tuple[Push, ...] = ()
    seed: int = 0


class SimulatedRobot:
    """Physics, drives, sensors and gantry, in the robot's MOTOR order.

    Args:
        plant: MJCF file (`plant.py` says what counts of it).
        table: the robot's motors; None takes the plant's actuators, in their order, as motors.
        timestep_s: control period; physics makes `table.substeps` steps in it.
        gantry: hold the base until the legs are stiff and at rest.
        mode_machine: the variant it says it is; None: the table's.
        scene: what stands around it; None: nothing.
        hangs: by its torso and for good, its feet off the floor, as on a test bench; `tilt` turns what it hangs on.
        truth: in what it differs from a perfect robot; None: in nothing.
        fixture: holds two of its limbs to each other; None: nothing.
        is_fine: with a truth, physics in steps of `SUBSTEP_S` even where that does not call for them.

    Attributes:
        gantry: what holds its base until the legs are stiff and at rest.
    """

    def __init__(
        self,
        plant: Path | str = PLANTS / "g1_29dof.xml",
        *,
        table: MotorTable | None = None,
        disturbance: Disturbance | None = None,
        timestep_s: float = 0.002,
        gantry: bool = True,
        mode_machine: int | None = None,
        scene: Scene | None = None,
        hangs: bool = False,
        truth: Truth | None = None,
        fixture: Fixture | None = None,
        is_fine: bool = False,
    ) -> None:
        loaded = load_plant(Path(plant), table, scene, hangs=hangs, fixture=fixture)
        self.scene = scene or Scene()
        self.model, self.joint_names = loaded.model, loaded.joints
        self._slot, self._actuator = loaded.slot, loaded.actuator
        self._qpos, self._dof, self._base = loaded.qpos, loaded.dof, loaded.base
        self.disturbance = disturbance or Disturbance()
        if mode_machine is None:
            mode_machine = PREFERRED_MODE if table is None else table.mode_machine
        self.mode_machine = mode_machine
        self._random = np.random.default_rng(self.disturbance.seed)
        self._period_s, self._substeps = timestep_s, 1 if table is None else table.substeps
        self._imperfections: Imperfections | None = None
        self._is_fine = False
        self._late_share: F64 = np.ones(len(self._dof))
        self._led: dict[int, float] = {}
        self._led_damping: dict[int, F64] = {}
        self._under_way: deque[tuple[float, F32, bool]] = deque()
        self._commanded_s = 0.0
        self._steps = 0
        if truth is not None:
            self._imperfections = Imperfections(truth, self.joint_names, self.model, self._slot, self._dof)
            self._is_fine = is_fine or truth.needs_fine_physics(timestep_s)
            if self._is_fine:
                self._substeps = max(self._substeps, round(timestep_s / SUBSTEP_S))
        self.model.opt.timestep = timestep_s / self._substeps
        self.model.opt.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        self._rotor = self.model.dof_armature[self._dof].copy()
        self._viscous = self.model.dof_damping[self._dof].copy()
        self._find_parts()
        self.data = mujoco.MjData(self.model)
        self.motors = len(self.joint_names)
        self.sample = MotorSample.zeros(self.motors)
        self.sample.mode_machine[0] = mode_machine
        self.sample.temperature_c[:] = HEALTHY_C
        self._latency = max(0, round(self.disturbance.latency_s / timestep_s))
        self._queue: deque[tuple[F32, bool]] = deque()
        given = None if table is None else table.stand_height_m
        height_m = hanging_height(self.model) if given is None else given
        self.gantry = Gantry(height_m, self._legs, is_on=gantry and not hangs)
        self.data.qpos[:7] = self.gantry.pose
        if hangs:
            self.data.qpos[2] += HANGING_M
        mujoco.mj_forward(self.model, self.data)
        self._hook = Hook(self.model, self.data, self._torso, self._base) if hangs else None
        self._sense()

    def tilt(self, turn_rad: F64) -> None:
        """Turn what a robot that hangs is held by: a rotation vector (3,) in world axes, rad, from upright."""
        if self._hook is not None:
            self._hook.turn(turn_rad)

    def lower(self, *, down: bool) -> bool:
        """A period of letting a robot that hangs down onto its feet, or of pulling it up; whether that is done."""
        return self._hook is None or self._hook.lower(self._period_s, down=down)

    def _find_parts(self) -> None:
        model = self.model
        torso = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, "torso_link")
        self._torso = torso if torso >= 0 else self._base
        imu = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, "imu_in_pelvis")
        self._imu_in_base = np.array(model.site_pos[imu]) if imu >= 0 else np.zeros(3)
        self._velocity_before, self._since_s = np.zeros(6), self._period_s
        legs = [i for i, name in enumerate(self.joint_names)
                if any(part in name.lower() for part in ("hip", "knee", "ankle"))]
        self._legs = np.array(legs or self._slot, np.intp)

    @property
    def time_s(self) -> float:
        """Simulated time."""
        return float(self.data.time)

    @property
    def base_position(self) -> F64:
        """(3,) pelvis in world, m."""
        return np.asarray(self.data.qpos[:3])

    @property
    def base_velocity(self) -> F64:
        """(3,) pelvis velocity in world, m/s."""
        return np.asarray(self.data.qvel[:3])

    @property
    def base_orientation(self) -> F64:
        """(4,) w, x, y, z, pelvis in world; what a perfect IMU would say."""
        return np.asarray(self.data.qpos[3:7])

    def body_places(self, bodies: Sequence[str]) -> F64:
        """(bodies, 3) in world, m, where the robot is now."""
        return np.array([self.data.body(name).xpos for name in bodies])

    def object_poses(self) -> dict[str, F64]:
        """Of each thing of the scene (7,): position in world, m, and orientation w, x, y, z."""
        bodies = {thing.name: self.data.body(PREFIX + thing.name) for thing in self.scene.things}
        return {name: np.concatenate([body.xpos, body.xquat]) for name, body in bodies.items()}

    def object_force(self, name: str) -> float:
        """N: how strongly the robot and a thing of the scene press on each other, along their contacts' normals."""
        model, data, wrench = self.model, self.data, np.zeros(6)
        thing, root, force = model.body(PREFIX + name).id, model.body_rootid[self._base], 0.0
        for i in range(data.ncon):
            bodies = model.geom_bodyid[data.contact[i].geom]
            if thing in bodies and root in model.body_rootid[bodies]:
                mujoco.mj_contactForce(model, data, i, wrench)
                force += float(wrench[0])
        return force

    def place(self, q: F64) -> None:
        """Set the joints (motors,) rad at rest, the pelvis at gantry height."""
        self.data.qpos[:7] = self.gantry.pose
        self.data.qpos[self._qpos] = np.asarray(q)[self._slot]
        self.data.qvel[:] = 0
        mujoco.mj_forward(self.model, self.data)
        self._sense()

    def body_positions(self, bodies: Sequence[str], q: F64) -> F64:
        """(bodies, 3) in world, m, with the joints at q (motors,) rad and the pelvis level at gantry height."""
        self.place(q)
        return np.array([self.data.body(name).xpos for name in bodies])

    def joint_positions(self) -> F64:
        """(motors,) where the joints truly are, rad, whatever slots their motors hang on; 0 in unused slots."""
        q = np.zeros(self.motors)
        q[self._slot] = self.data.qpos[self._qpos]
        return q

    def lead(self, places: dict[int, float], *, is_firm: bool = False) -> None:
        """A hand that leads joints, by their place in `joint_names`, to where it wants them, rad, until the next.

        Args:
            is_firm: it bears what their motors give; else they must be limp, lest they push the limb before.
        """
        damping = self.model.dof_damping
        for motor in {*self._led, *places}:
            dof = self._dof[self._slot == motor]
            own = self._led_damping.pop(motor) if motor in self._led_damping else damping[dof].copy()
            damping[dof] = own
            if is_firm and motor in places:
                self._led_damping[motor], damping[dof] = own, HELD_N_M_S_RAD
        self._led = places

    def command(self, command: MotorCommand) -> None:
        """The drives' new order, after the configured latency; it holds until the next, for ever."""
        self._commanded_s = self.time_s
        if self._imperfections is not None:
            due_s = self.time_s + self._imperfections.truth.delay.command_s
            self._under_way.append((due_s, command.block.copy(), command.enabled))
            return
        if not self._latency:
            self._apply(command.block, command.enabled)
            return
        self._queue.append((command.block.copy(), command.enabled))

    def _apply(self, block: F32, enabled: bool) -> None:
        if self._imperfections is not None:
            block = self._imperfections.to_plant(block)
        if not enabled:
            self.data.ctrl[:] = 0
            self.model.actuator_biasprm[:] = 0
        else:
            self._drive(block)
        if self._is_fine:
            self._damp_evenly()

    def _drive(self, block: F32) -> None:
        model, actuator = self.model, self._actuator
        used = block[self._slot]
        kp, kd = used[:, KP], used[:, KD]
        self.data.ctrl[actuator] = kp * used[:, Q] + kd * used[:, DQ] + used[:, TAU]
        model.actuator_biasprm[actuator, 1] = -kp
        model.actuator_biasprm[actuator, 2] = -kd
        self.gantry.watch(block, self.time_s)

    def _damp_evenly(self) -> None:
        """Let damping act on a step's mean speed (the trapezoidal rule), where the integrator takes the one after it.

        That one brakes as rotors do which are larger by half a step of damping: a third, of an arm's at 2 ms.
        """
        h = self.model.opt.timestep
        damping = self._viscous - self.model.actuator_biasprm[self._actuator, 2]
        taken = np.minimum(0.5 * h * damping, MOST_TAKEN * self._rotor)
        self.model.dof_armature[self._dof] = self._rotor - taken
        self._late_share = 1 - np.divide(taken, h * damping, out=np.full(len(taken), 0.5), where=damping > 0)

    def step(self, periods: int = 1) -> MotorSample:
        """Advance by periods under one command; returns `sample`, refreshed. Latency and pushes count calls."""
        if self._latency and len(self._queue) > self._latency:
            self._apply(*self._queue.popleft())
        if self.disturbance.pushes:
            self._push()
        self._velocity_before[:] = self.data.qvel[:6]
        self._since_s = periods * self._period_s
        if self._hook is not None:
            self._hook.steady()
        if self._imperfections is not None:
            self._step_imperfectly(self._imperfections, periods * self._substeps)
            return self.sample
        if self.gantry.is_on:
            for _ in range(periods * self._substeps):
                mujoco.mj_step(self.model, self.data)
                self.gantry.hold(self.data)
        else:
            mujoco.mj_step(self.model, self.data, periods * self._substeps)
        self._sense()
        return self.sample

    def _step_imperfectly(self, imperfections: Imperfections, substeps: int) -> None:
        """The sample is taken once a period, as long before its end as states are late."""
        model, data, dof = self.model, self.data, self._dof
        late = math.ceil(imperfections.truth.delay.state_s / model.opt.timestep - 1e-6)
        let_go_s = imperfections.truth.delay.let_go_s
        if let_go_s and self.time_s - self._commanded_s > let_go_s:
            self._apply(np.zeros((self.motors, 5), np.float32), False)
        for _ in range(substeps):
            while self._under_way and self._under_way[0][0] <= self.time_s + 1e-9:
                self._apply(*self._under_way.popleft()[1:])
            before = data.qvel[dof]
            imperfections.rub(before)
            mujoco.mj_step(model, data)
            for motor, place in self._led.items():
                at = int(np.flatnonzero(self._slot == motor)[0])
                self.data.qpos[self._qpos[at]], self.data.qvel[self._dof[at]] = place, 0
            if self.gantry.is_on:
                self.gantry.hold(data)
            self._steps += 1
            if (self._steps + late) % self._substeps == 0:
                self._sense()
                # `qfrc_actuator` is from before the step: the drives' damping acted on a later speed.
                self.sample.tau[self._slot] += (
                    model.actuator_biasprm[self._actuator, 2] * self._late_share * (data.qvel[dof] - before))
                imperfections.sense(self.sample, self.time_s, self._period_s)
        imperfections.show(self.sample, self.time_s)

    def _push(self) -> None:
        force = np.zeros(3)
        for push in self.disturbance.pushes:
            if push.start_s <= self.time_s < push.start_s + push.duration_s:
                force += push.force_n
        self.push(force)

    def _sense(self) -> None:
        data, sample = self.data, self.sample
        sample.q[self._slot] = data.qpos[self._qpos]
        sample.dq[self._slot] = data.qvel[self._dof]
        sample.tau[self._slot] = data.qfrc_actuator[self._dof]
        sample.quat_wxyz[:] = data.qpos[3:7]
        sample.gyro[:] = data.qvel[3:6]
        sample.tick[0] = round(data.time * 1000)
        noise = self.disturbance
        if noise.noise_q_rad or noise.noise_dq_rad_s or noise.noise_gyro_rad_s:
            for values, width in (
                (sample.q, noise.noise_q_rad),
                (sample.dq, noise.noise_dq_rad_s),
                (sample.gyro, noise.noise_gyro_rad_s),
            ):
                values[:] = values + self._random.uniform(-width, width, values.shape)

    def sense_accelerometer(self) -> None:
        """Fill the sample's accelerometer (specific force at the pelvis IMU, base axes); not needed every step.

        From the velocities before and after the step: MuJoCo's own `qacc` is from before the drives' implicit damping.
        """
        data, r = self.data, self._imu_in_base
        change = np.zeros(6) if self.gantry.is_on else (data.qvel[:6] - self._velocity_before) / self._since_s
        rotation = np.zeros(9)
        mujoco.mju_quat2Mat(rotation, data.qpos[3:7])
        omega = data.qvel[3:6]
        turning = _cross(change[3:], r) + _cross(omega, _cross(omega, r))
        self.sample.accel[:] = rotation.reshape(3, 3).T @ (change[:3] - self.model.opt.gravity) + turning
        if self._imperfections is not None:
            self._imperfections.accelerate(self.sample.accel)

    def ground_forces(self, joints: Sequence[str]) -> F64:
        """(len(joints),) N: the vertical force of the ground on the body that each named joint moves."""
        model, data = self.model, self.data
        bodies = [int(model.joint(name).bodyid[0]) for name in joints]
        forces, wrench = np.zeros(len(bodies)), np.zeros(6)
        for i in range(data.ncon):
            contact = data.contact[i]
            touching = [int(model.geom_bodyid[geom]) for geom in contact.geom]
            mujoco.mj_contactForce(model, data, i, wrench)
            vertical = abs(float(contact.frame.reshape(3, 3)[:, 2] @ wrench[:3]))
            for place, body in enumerate(bodies):
                if body in touching:
                    forces[place] += vertical
        return forces

    def push(self, force_n: F64) -> None:
        """A force (3,) on the torso, newtons in world axes, until the next call."""
        self.data.xfrc_applied[self._torso, :3] = force_n

    def torso_imu(self) -> tuple[F64, F64, F64]:
        """Orientation (w, x, y, z) in world, rates (rad/s) and specific force (m/s^2) of the torso, in its own axes."""
        body, data = self._torso, self.data
        rotation = data.xmat[body].reshape(3, 3)
        velocity = np.zeros(6)
        mujoco.mj_objectVelocity(self.model, data, mujoco.mjtObj.mjOBJ_XBODY, body, velocity, 1)
        return np.asarray(data.xquat[body]), velocity[:3], rotation.T @ -np.asarray(self.model.opt.gravity)

    def pose(self) -> F64:
        """A copy of all generalised positions, for pictures."""
        return np.array(self.data.qpos)

    def open_viewer(self) -> Any:
        """MuJoCo's passive viewer window; BridgeError without a display."""
        if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
            raise BridgeError("viewer", expected="a display", found="none",
                              what_to_do="leave --view out; --picture FILE.png works without one")
        import mujoco.viewer

        return mujoco.viewer.launch_passive(self.model, self.data)

    def lose_frame(self) -> bool:
        """Whether the next state is lost on the way."""
        return self.disturbance.loss > 0 and self._random.random() < self.disturbance.loss


def _cross(a: F64, b: F64) -> F64:
    """The product of two vectors (3,): `np.cross` costs ten times as much as its arithmetic."""
    ax, ay, az = a.tolist()
    bx, by, bz = b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
