"""Rollouts an estimator learns from and is judged by: what the sensors said, and what the simulator knew.

Each is one run of the runtime's own stages on simulated time, so that an estimator sees the very samples it will see on
a robot: through gate and state, at the policy's rate, with noise, latency, lost frames, pushes and a plant that is not
quite the one in the book.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from firmware_bridge.simulated_robot import Disturbance, Push, SimulatedRobot
from runtime import rotation
from runtime.clip import make_clip, save_clip
from runtime.errors import Refused
from runtime.faults import Mode
from runtime.legs import Legs
from runtime.lockstep import Lockstep
from runtime.manifest import Manifest
from runtime.manifest_reader import load_manifest
from runtime.policy import Policy
from runtime.robot import JointOrder, Robot
from runtime.settings import RunSettings

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

KINDS = ("walk", "turn", "squat", "push", "stand")
"""What a rollout shows; the first four are what estimators are judged by."""
SECONDS = 8.0
CONTACT_N = 10.0
"""A foot that the ground presses with more than this touches it."""
PUSH_N_S = 15.0
TRUTH = ("velocity_in_base", "height", "contact")


@dataclass(frozen=True)
class Source:
    """A controller that moves the robot: what `exoactor run` takes as --controller and --model, and clips for it."""

    controller: str
    model: str | None = None
    clips: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scenario:
    """One rollout, fixed by these values alone.

    Attributes:
        kind: of `KINDS`.
        clip: motion for a tracker; None lets it squat.
        seed: of everything that is drawn.
    """

    kind: str
    source: Source
    clip: str | None
    seed: int
    seconds: float = SECONDS


@dataclass(frozen=True)
class Rollout:
    """T ticks at the policy's rate, from the moment the robot stands free.

    Attributes:
        states: (T, 3 motors + 10) float32, `RobotState.floats`.
        velocity: (T, 3) float32, base in base, m/s.
        height: (T,) float32, base above the floor, m.
        contact: (T, feet) float32, 1 where a foot touches the floor.
    """

    kind: str
    robot: str
    rate_hz: float
    states: F32
    velocity: F32
    height: F32
    contact: F32

    def save(self, path: Path) -> None:
        """Write as an npz; a file that is there is whole."""
        partial = path.with_suffix(".partial.npz")
        np.savez_compressed(partial, kind=self.kind, robot=self.robot, rate_hz=self.rate_hz, states=self.states,
                            velocity=self.velocity, height=self.height, contact=self.contact)
        partial.replace(path)

    @staticmethod
    def load(path: Path) -> Rollout:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as data:
            return Rollout(str(data["kind"]), str(data["robot"]), float(data["rate_hz"]), data["states"],
                           data["velocity"], data["height"], data["contact"])


def plan(sources: Sequence[Source], count: int, seed: int, *, held_out: bool = False) -> list[Scenario]:
    """`count` scenarios in turn over what the sources can show. Held-out ones share no seed and, of four clips or more,
    no clip with the others.
    """
    menu = [entry for source in sources for entry in _menu(source, held_out=held_out)]
    kinds = sorted({kind for kind, _, _ in menu}, key=KINDS.index)
    base = zlib.crc32(f"{'held out' if held_out else 'training'} {seed}".encode())
    scenarios = []
    for i in range(count):
        kind = kinds[i % len(kinds)]
        choices = [entry for entry in menu if entry[0] == kind]
        _, source, clip = choices[(i // len(kinds)) % len(choices)]
        scenarios.append(Scenario(kind, source, clip, base + i))
    return scenarios


def _menu(source: Source, *, held_out: bool) -> Iterator[tuple[str, Source, str | None]]:
    if load_manifest(source.controller).kind == "velocity":
        for kind in ("walk", "turn", "push", "stand"):
            yield kind, source, None
        return
    yield "squat", source, None
    clips = sorted(source.clips)
    if len(clips) >= 4:
        clips = [clip for i, clip in enumerate(clips) if (i % 4 == 3) == held_out]
    for clip in clips:
        yield "walk", source, clip
        yield "push", source, clip


def play(scenario: Scenario, folder: Path) -> Rollout:
    """Run one scenario; `folder` takes the files it needs on the way."""
    rng = np.random.default_rng(scenario.seed)
    manifest = load_manifest(scenario.source.controller)
    settings = _settings(scenario, manifest, folder, rng)
    policy = Policy(settings)
    simulated = SimulatedRobot(disturbance=_disturbance(scenario, rng))
    vary_plant(simulated, rng)
    robot = policy.manifest.robot
    feet = [foot.joints[-1] for foot in robot.feet]
    if not feet:
        raise Refused(f"robot {robot.name}", expected="`feet` in its file (docs/estimator.md)", found="none",
                      what_to_do="describe the legs")
    recorder = _Recorder(settings, policy, simulated, feet)
    recorder.run()
    sensors = vary_sensors(np.array(recorder.states, np.float32), robot.motors, rng)
    return Rollout(scenario.kind, robot.name, manifest.rate_hz, sensors, np.array(recorder.velocity, np.float32),
                   np.array(recorder.height, np.float32), np.array(recorder.contact, np.float32))


class _Recorder(Lockstep):
    """A run that keeps what the policy saw and what was true at that moment, while the robot is on its own feet."""

    def __init__(self, settings: RunSettings, policy: Policy, simulated: SimulatedRobot, feet: list[str]) -> None:
        super().__init__(settings, policy, simulated)
        self._feet = feet
        self.states: list[F32] = []
        self.velocity: list[F64] = []
        self.height: list[float] = []
        self.contact: list[npt.NDArray[np.bool_]] = []

    def policy_tick(self) -> None:
        super().policy_tick()
        if not Mode.TRACK <= self.gate.machine.mode < Mode.DAMP:
            return
        simulated = self.robot
        self.states.append(self.gate.state.floats.copy())
        quat = simulated.base_orientation
        self.velocity.append(np.array(rotation.rotate_inverse(quat, simulated.base_velocity)))
        self.height.append(float(simulated.base_position[2]))
        self.contact.append(simulated.ground_forces(self._feet) > CONTACT_N)

    @property
    def is_over(self) -> bool:
        """As soon as it damps: what a falling robot does is nobody's to estimate."""
        return self.gate.machine.mode >= Mode.DAMP


def _settings(scenario: Scenario, manifest: Manifest, folder: Path, rng: np.random.Generator) -> RunSettings:
    clip = scenario.clip
    if manifest.kind == "tracker" and clip is None:
        clip = str(folder / f"knee-bends-{scenario.seed}.npz")
        write_squats(Path(clip), manifest, scenario.seconds, rng)
    return RunSettings(
        controller=scenario.source.controller, robot=manifest.robot_file, model=scenario.source.model, clip=clip,
        command=_command(scenario.kind, manifest, rng), duration_s=scenario.seconds, target="sim", domain=0,
        interface=None, peers=(), out=str(folder), rate_hz=manifest.rate_hz,
    )


def _command(kind: str, manifest: Manifest, rng: np.random.Generator) -> tuple[float, float, float]:
    if manifest.command_ranges is None or kind == "stand":
        return 0.0, 0.0, 0.0
    vx, vy, yaw = (float(rng.uniform(low, high)) for low, high in manifest.command_ranges)
    if kind == "walk":
        yaw *= 0.2
    elif kind == "turn":
        vx, vy = 0.5 * vx, 0.3 * vy
    else:
        vx, vy, yaw = 0.6 * vx, 0.6 * vy, 0.6 * yaw
    return vx, vy, yaw


def _disturbance(scenario: Scenario, rng: np.random.Generator) -> Disturbance:
    noise = float(rng.uniform(0, 0.005))
    pushes: tuple[Push, ...] = ()
    if scenario.kind in ("push", "stand"):
        pushes = tuple(_push(start, rng) for start in np.arange(5.0, 4.0 + scenario.seconds, 2.0))
    return Disturbance(
        noise_q_rad=noise, noise_dq_rad_s=50 * noise, noise_gyro_rad_s=20 * noise,
        latency_s=float(rng.choice([0.0, 0.0, 0.01, 0.02])), loss=float(rng.choice([0.0, 0.0, 0.02])), pushes=pushes,
        seed=scenario.seed,
    )


def _push(start_s: float, rng: np.random.Generator) -> Push:
    angle, impulse = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 1.0) * PUSH_N_S
    force = impulse / 0.1 * np.array([np.cos(angle), np.sin(angle)])
    return Push(float(start_s + rng.uniform(0, 1)), 0.1, (float(force[0]), float(force[1]), 0.0))


def vary_plant(simulated: SimulatedRobot, rng: np.random.Generator) -> None:
    """Another robot of the same make: masses, joint friction, floor."""
    model = simulated.model
    model.body_mass[1:] *= rng.uniform(0.95, 1.05, model.nbody - 1)
    model.body_mass[1] += rng.uniform(-0.5, 2.0)
    model.dof_frictionloss[6:] *= rng.uniform(0.5, 2.0)
    model.pair_friction[:, :2] *= rng.uniform(0.6, 1.25)
    model.pair_solref[:, 0] *= rng.uniform(0.8, 1.5)


def vary_sensors(states: F32, motors: int, rng: np.random.Generator) -> F32:
    """The same states as a worse robot's sensors had told them: orientation, accelerometer and torques off."""
    out: F32 = states.copy()
    torque, quat, accel = out[:, 2 * motors : 3 * motors], out[:, 3 * motors : 3 * motors + 4], out[:, -3:]
    torque *= rng.uniform(0.85, 1.15)
    torque += rng.normal(0, rng.uniform(0, 1.0), torque.shape)
    askew = rotation.quat_from_rpy(float(rng.normal(0, 0.008)), float(rng.normal(0, 0.008)), 0.0)
    quat[:] = rotation.multiply_many(quat.astype(np.float64), askew)
    accel += rng.normal(0, 0.1, 3) + rng.normal(0, rng.uniform(0, 0.4), accel.shape)
    return np.asarray(out)


def write_squats(path: Path, manifest: Manifest, seconds: float, rng: np.random.Generator) -> None:
    """A clip of knee bends: feet flat and in place, hips over the ankles, knees down and up again."""
    fps, order = 50.0, manifest.order
    time = np.arange(round(seconds * fps) + 1) / fps
    straight, bent = rng.uniform(0.15, 0.35), rng.uniform(0.8, 1.5)
    phase = 2 * np.pi * time / rng.uniform(2.0, 4.0)
    knee = straight + (bent - straight) * 0.5 * (1 - np.cos(phase))
    pose = np.tile(manifest.default_pose.astype(np.float64), (len(time), 1))
    names = {name: i for i, name in enumerate(order.names)}
    for side in ("left", "right"):
        pose[:, names[f"{side}_knee_joint"]] = knee
        pose[:, names[f"{side}_hip_pitch_joint"]] = pose[:, names[f"{side}_ankle_pitch_joint"]] = -knee / 2
    root = _root_over_feet(pose, order, manifest.robot)
    quat = np.tile([1.0, 0.0, 0.0, 0.0], (len(time), 1))
    save_clip(path, replace(make_clip(path.stem, fps, order, pose, root, quat)))


def _root_over_feet(pose: F64, order: JointOrder, robot: Robot) -> F64:
    """(N, 3): where the base of an upright robot is if its first pose stands at the origin and its feet stay there."""
    legs = Legs(robot)
    index = order.index_of(legs.joints)
    root = np.zeros((len(pose), 3))
    for i, row in enumerate(pose):
        legs.update(row[index], np.zeros(len(index)))
        root[i, :2] = -legs.position[:, :2].mean(axis=0)
        root[i, 2] = (legs.sole_radius_m - legs.sole[..., 2].min(axis=1)).max()
    root[:, :2] -= root[0, :2]
    return root


def file_name(scenario: Scenario) -> str:
    """Where a scenario's rollout is kept."""
    return f"{scenario.kind}-{scenario.seed}.npz"


def collect(scenarios: Sequence[Scenario], folder: Path, progress: Any = iter) -> list[Rollout]:
    """Every scenario's rollout; those that `folder` holds already are taken from there."""
    folder.mkdir(parents=True, exist_ok=True)
    rollouts = []
    for scenario in progress(scenarios):
        path = folder / file_name(scenario)
        if not path.is_file():
            play(scenario, folder).save(path)
        rollouts.append(Rollout.load(path))
    return rollouts
