"""Simulated robots driven by a student while its teacher says what it would have done: DAgger's gathering.

Each robot runs the runtime's own `Controller` twice, once as teacher and once as student, so that what the student
learns from is exactly what it will see on the robot. Only the networks are batched over the robots.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.script import Repertoire, Script
from firmware_bridge.motor_bus import KD, KP, MotorCommand
from firmware_bridge.simulated_robot import SimulatedRobot
from runtime.controller import Controller, input_tables
from runtime.manifest import Manifest
from runtime.rotation import gravity_in_base
from runtime.state import Calibration, Intake, RobotState

F32 = npt.NDArray[np.float32]
TIMESTEP_S = 0.004
EPISODE_S = 20.0
OLDEST = 4
"""Commands kept, in control periods: bounds the latency."""
FALLEN_COS = math.cos(math.radians(60))
FALLEN_BELOW_REFERENCE_M = 0.35


@dataclass(frozen=True)
class Hardship:
    """What each simulated robot may be, drawn anew for every episode; zero everywhere is the plant as it is.

    Attributes:
        friction: sliding friction is multiplied by 1 +- this.
        mass: each body's mass and inertia by 1 +- this.
        gain: each drive's gains by 1 +- this.
        latency_s: commands late by up to this.
        noise_q_rad, noise_dq_rad_s, noise_gyro_rad_s: half-widths of the sensors' uniform noise.
        push_n_s: pushes of up to this impulse, 0.1 s long, in random horizontal directions.
        push_every_s: mean time between pushes.
        stale: chance of a tick on which the state of the tick before is seen again (up to 3 in a row).
    """

    friction: float = 0.4
    mass: float = 0.08
    gain: float = 0.08
    latency_s: float = 0.032
    noise_q_rad: float = 0.01
    noise_dq_rad_s: float = 0.3
    noise_gyro_rad_s: float = 0.15
    push_n_s: float = 25.0
    push_every_s: float = 4.0
    stale: float = 0.02


class Network:
    """Runs one controller's network for many robots.

    Args:
        onnx: the model's bytes.
    """

    def __init__(self, onnx: bytes) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        nodes = self._session.get_inputs()
        self._names = [node.name for node in nodes]
        self._outputs = [node.name for node in self._session.get_outputs()]
        self._batches = len(nodes) == 1 and not isinstance(nodes[0].shape[0], int)

    def buffers(self) -> Buffers:
        """A model of this network's shape whose `run` does nothing."""
        return Buffers(
            {node.name: _zeros(node) for node in self._session.get_inputs()},
            {node.name: _zeros(node) for node in self._session.get_outputs()},
        )

    def run(self, models: list[Buffers]) -> None:
        """Every model's outputs from its inputs."""
        if self._batches:
            name = self._names[0]
            results = self._session.run(None, {name: np.concatenate([model.inputs[name] for model in models])})
            for i, model in enumerate(models):
                for key, values in zip(self._outputs, results, strict=True):
                    model.outputs[key][...] = values[i : i + 1]
            return
        for model in models:
            for key, values in zip(self._outputs, self._session.run(None, model.inputs), strict=True):
                model.outputs[key][...] = values


def _zeros(node: Any) -> npt.NDArray[Any]:
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(double)": np.float64}
    return np.zeros([size if isinstance(size, int) and size > 0 else 1 for size in node.shape], kinds[node.type])


def input_size(manifest: Manifest) -> int:
    """Numbers the network of a controller reads in a tick."""
    return sum(observation.values.size for observation in input_tables(manifest).values())


class Buffers:
    """Stands where a `Model` stands: inputs and outputs, computed by somebody else."""

    def __init__(self, inputs: dict[str, npt.NDArray[Any]], outputs: dict[str, npt.NDArray[Any]]) -> None:
        self.inputs, self.outputs = inputs, outputs

    def run(self) -> None:
        """Nothing: `Network.run` has filled the outputs."""


class Pupil:
    """One simulated robot with its teacher and its student.

    Args:
        teacher, student: manifests; the same joints, rate and action mapping.
        teacher_model, student_model: buffers for their networks.
        plant: MJCF file.
        repertoire: what is asked of it.
        hardship: what happens to it.
    """

    def __init__(
        self, teacher: Manifest, student: Manifest, teacher_model: Buffers, student_model: Buffers, plant: Path,
        repertoire: Repertoire, hardship: Hardship,
    ) -> None:
        self.models = teacher_model, student_model
        self.teacher = Controller(teacher, teacher_model)  # type: ignore[arg-type]
        self.student = Controller(student, student_model)  # type: ignore[arg-type]
        self._teacher_out = teacher_model.outputs[teacher.action_output or next(iter(teacher_model.outputs))]
        self._student_out = student_model.outputs[student.action_output or next(iter(student_model.outputs))]
        self.robot = SimulatedRobot(plant, timestep_s=TIMESTEP_S, gantry=False)
        model = self.robot.model
        self._nominal = tuple(array.copy() for array in (
            model.geom_friction, model.pair_friction, model.body_mass, model.body_inertia))
        self._substeps = round(1 / student.rate_hz / TIMESTEP_S)
        self._repertoire, self._hardship = repertoire, hardship
        self._rng = np.random.default_rng()
        self.state = RobotState(student.robot.motors)
        self._intake = Intake(self.state, Calibration(student.robot.motors))
        self._command = MotorCommand(student.robot.motors)
        self.falls = 0

    def seed(self, *numbers: int) -> None:
        """Begin anew, everything random after it decided by these numbers."""
        self._rng = np.random.default_rng(numbers)
        self.falls = 0
        self.begin()

    def begin(self) -> None:
        """A new episode: another robot, standing, and another script."""
        rng, hard, model = self._rng, self._hardship, self.robot.model
        friction, pairs, mass, inertia = self._nominal
        grip = rng.uniform(1 - hard.friction, 1 + hard.friction)
        model.geom_friction[:], model.pair_friction[:] = friction, pairs
        model.geom_friction[:, 0] *= grip
        model.pair_friction[:, :2] *= grip
        scale = rng.uniform(1 - hard.mass, 1 + hard.mass, len(mass))
        model.body_mass[:], model.body_inertia[:] = mass * scale, inertia * scale[:, None]
        self._gain = rng.uniform(1 - hard.gain, 1 + hard.gain, (2, len(self._command.block))).astype(np.float32)
        self._late = int(rng.integers(0, round(hard.latency_s / TIMESTEP_S) + 1))  # in physics steps
        self._noisy = bool(rng.random() < 0.5)
        self._staleness = hard.stale if rng.random() < 0.5 else 0.0
        self._stale = 0
        self.robot.place(self._start())
        self.script = Script(self._repertoire, rng, EPISODE_S)
        self.teacher.reset()
        self.student.reset()
        self._sent = deque([self.student.target.copy()] * OLDEST, OLDEST)
        self._push_at, self._push_end = self._next_push(0), -1
        self.robot.push(np.zeros(3))

    def _start(self) -> npt.NDArray[np.float64]:
        self.student.reset()
        return self.student.target[:, 0].astype(np.float64) + self._rng.uniform(-0.03, 0.03, len(self.student.target))

    def _next_push(self, tick: int) -> int:
        return tick + int(self._rng.exponential(self._hardship.push_every_s) * self.student.manifest.rate_hz) + 25

    def observe(self) -> None:
        """Both controllers' inputs for this tick."""
        rng, hard = self._rng, self._hardship
        if self._stale == 0 and rng.random() < self._staleness:
            self._stale = int(rng.integers(1, 4))
        if self._stale > 0 and self.script.tick > 0:
            self._stale -= 1
        else:
            sample = self.robot.sample
            if self._noisy:
                for values, width in ((sample.q, hard.noise_q_rad), (sample.dq, hard.noise_dq_rad_s),
                                      (sample.gyro, hard.noise_gyro_rad_s)):
                    values += rng.uniform(-width, width, values.shape)
            self.robot.sense_accelerometer()
            self._intake.read(sample)
            self._intake.take(sample, 1)
        for controller in (self.teacher, self.student):
            self.script.fill(controller)
            controller.observe(self.state)

    def act(self, *, teacher_drives: bool, noise: float) -> F32:
        """Let one of the two drive for a control period; returns the teacher's raw action."""
        wanted = self._teacher_out.reshape(-1).copy()
        executed = wanted if teacher_drives else self._student_out.reshape(-1)
        executed = executed + self._rng.normal(0, noise, executed.shape).astype(np.float32) if noise else executed
        for controller, out in ((self.teacher, self._teacher_out), (self.student, self._student_out)):
            out[...] = executed.reshape(out.shape)
            controller.act()
        self._shove()
        self._sent.appendleft(self.student.target.copy())
        periods, rest = divmod(self._late, self._substeps)
        if rest:
            self._send(self._sent[periods + 1])
            self.robot.step(rest)
        self._send(self._sent[periods])
        self.robot.step(self._substeps - rest)
        self.script.tick += 1
        if self.has_fallen():
            self.falls += 1
            self.begin()
        elif self.script.is_over:
            self.begin()
        return np.asarray(wanted)

    def _send(self, block: F32) -> None:
        self._command.block[:] = block
        self._command.block[:, KP] *= self._gain[0]
        self._command.block[:, KD] *= self._gain[1]
        self.robot.command(self._command)

    def _shove(self) -> None:
        tick = self.script.tick
        if tick == self._push_at:
            angle, impulse = self._rng.uniform(0, 2 * math.pi), self._rng.uniform(0, self._hardship.push_n_s)
            self.robot.push(np.array([math.cos(angle), math.sin(angle), 0]) * impulse / 0.1)
            self._push_end = tick + round(0.1 * self.student.manifest.rate_hz)
        elif tick == self._push_end:
            self.robot.push(np.zeros(3))
            self._push_at = self._next_push(tick)

    def has_fallen(self) -> bool:
        """Tilted beyond 60 degrees, or far lower than the reference."""
        wanted = self.student.window.now.root_pos[2] or self.student.manifest.idle_height_m
        height = self.robot.base_position[2]
        upright = -float(gravity_in_base(self.robot.sample.quat_wxyz)[2])
        return not (upright > FALLEN_COS and height > wanted - FALLEN_BELOW_REFERENCE_M)

    def joint_error(self) -> float:
        """Mean |q - reference|, rad."""
        return float(np.abs(self.student.inputs.q - self.student.window.now.joint_pos).mean())


@dataclass
class Harvest:
    """What a round of gathering brought: observations (N, inputs) float16, teacher's actions (N, n) float32."""

    observations: npt.NDArray[np.float16]
    actions: F32
    falls: int
    joint_error_rad: float


def gather(
    pupils: list[Pupil], teacher: Network, student: Network, ticks: int, *, teacher_share: float, noise: float,
    rng: np.random.Generator,
) -> Harvest:
    """`ticks` control periods of every pupil.

    Args:
        teacher_share: chance that the teacher drives a robot during half a second.
        noise: standard deviation added to the driving action.
    """
    size = sum(entry.values.size for entry, _, _ in pupils[0].student.observations)
    observations = np.empty((ticks, len(pupils), size), np.float16)
    actions = np.empty((ticks, len(pupils), len(pupils[0].student.action)), np.float32)
    errors, before = 0.0, sum(pupil.falls for pupil in pupils)
    drives = np.ones(len(pupils), bool)
    for tick in range(ticks):
        if tick % 25 == 0:
            drives = rng.random(len(pupils)) < teacher_share
        for pupil in pupils:
            pupil.observe()
        teacher.run([pupil.models[0] for pupil in pupils])
        student.run([pupil.models[1] for pupil in pupils])
        for i, pupil in enumerate(pupils):
            place = 0
            for entry, _, _ in pupil.student.observations:
                observations[tick, i, place : place + entry.values.size] = entry.values
                place += entry.values.size
            errors += pupil.joint_error()
            actions[tick, i] = pupil.act(teacher_drives=bool(drives[i]), noise=noise if i % 2 else 0.0)
    return Harvest(
        observations.reshape(-1, size), actions.reshape(ticks * len(pupils), -1),
        sum(pupil.falls for pupil in pupils) - before, errors / (ticks * len(pupils)),
    )
