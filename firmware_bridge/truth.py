"""What is true of a simulated robot and unknown to whoever calibrates it: a file of deviations from the perfect one.

    {"schema": "exoactor-truth/1", "seed": 3,
     "joints": {"left_knee_joint": {"encoder_offset_rad": 0.08, "sign": -1, "coulomb_n_m": 0.4, ...}},
     "swapped": [["left_elbow_joint", "right_elbow_joint"]],
     "imu": {"mounting_wxyz": [1, 0, 0, 0], "gyro_bias_rad_s": [0.01, 0, 0], ...},
     "noise": {"q_rad": 2e-4, ...}, "delay": {"command_s": 0.004, ...}, "heat": {"c_per_n2m2s": 0.05, ...}}

What a file leaves out is perfect. `docs/calibration.md` says what each key does.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from firmware_bridge.errors import BridgeError

SCHEMA = "exoactor-truth/1"
UNIT_TOLERANCE = 1e-3
T = TypeVar("T")
Vector = tuple[float, float, float]
ZEROS: Vector = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class JointTruth:
    """One motor slot and the joint behind it; None is what the plant has.

    Attributes:
        encoder_offset_rad: the drive reads q + this, and takes targets in the same frame.
        command_offset_rad: the drive goes where it is told, less this, besides.
        sign: -1: it turns and reads the other way round.
        torque_scale: true torque over the one it reports and thinks it gives.
        coulomb_n_m, viscous_n_m_s_rad: friction; with `stribeck_n_m` above Coulomb's at rest, fading over
            `stribeck_rad_s`.
        armature_kg_m2: reflected inertia.
        backlash_rad: free play between encoder and joint.
        lower_rad, upper_rad: hard stops.
        heat_c_per_n2m2s, heat_cooling_per_s: of this motor, where it differs from `Heat`.
    """

    encoder_offset_rad: float = 0.0
    command_offset_rad: float = 0.0
    sign: float = 1.0
    torque_scale: float = 1.0
    coulomb_n_m: float | None = None
    viscous_n_m_s_rad: float | None = None
    stribeck_n_m: float = 0.0
    stribeck_rad_s: float = 0.1
    armature_kg_m2: float | None = None
    backlash_rad: float = 0.0
    lower_rad: float | None = None
    upper_rad: float | None = None
    heat_c_per_n2m2s: float | None = None
    heat_cooling_per_s: float | None = None


@dataclass(frozen=True)
class HandJointTruth:
    """One joint of a hand: what its drive reads besides the true angle, and its hard stops; None is the table's."""

    encoder_offset_rad: float = 0.0
    lower_rad: float | None = None
    upper_rad: float | None = None


@dataclass(frozen=True)
class ImuTruth:
    """The IMU of the base.

    Attributes:
        mounting_wxyz: turns vectors of the IMU's axes into the base's.
        gyro_bias_rad_s, accel_bias_m_s2: added to what is measured, in the IMU's axes.
        accel_scale: measured over true, an axis each.
        gyro_noise_rad_s, accel_noise_m_s2: standard deviations of a sample.
        gyro_walk_rad_s2: of the bias, standard deviation after one second.
    """

    mounting_wxyz: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    gyro_bias_rad_s: Vector = ZEROS
    gyro_noise_rad_s: float = 0.0
    gyro_walk_rad_s2: float = 0.0
    accel_bias_m_s2: Vector = ZEROS
    accel_scale: Vector = (1.0, 1.0, 1.0)
    accel_noise_m_s2: float = 0.0


@dataclass(frozen=True)
class Noise:
    """Standard deviations of what the drives say."""

    q_rad: float = 0.0
    dq_rad_s: float = 0.0
    tau_n_m: float = 0.0


@dataclass(frozen=True)
class Delay:
    """From a written command to the drive, and from the joints to a state; without a command for `let_go_s` the drives
    let go, 0 for never."""

    command_s: float = 0.0
    state_s: float = 0.0
    let_go_s: float = 0.0

    def is_odd(self, period_s: float) -> bool:
        """Whether it is no whole number of control periods."""
        return any(abs(delay / period_s - round(delay / period_s)) > 1e-6 for delay in (self.command_s, self.state_s))


@dataclass(frozen=True)
class Heat:
    """dT/dt = c_per_n2m2s tau^2 - cooling_per_s (T - ambient_c), of every motor."""

    ambient_c: float = 35.0
    c_per_n2m2s: float = 0.0
    cooling_per_s: float = 0.02


@dataclass(frozen=True)
class Truth:
    """All of it.

    Attributes:
        joints: by name.
        swapped: pairs of joints whose motors hang on each other's slot.
        hands: side -> joint, without the side.
    """

    joints: dict[str, JointTruth] = field(default_factory=dict)
    swapped: tuple[tuple[str, str], ...] = ()
    imu: ImuTruth = ImuTruth()
    noise: Noise = Noise()
    delay: Delay = Delay()
    heat: Heat = Heat()
    seed: int = 0
    hands: dict[str, dict[str, HandJointTruth]] = field(default_factory=dict)

    def needs_fine_physics(self, period_s: float) -> bool:
        """Whether physics at the control period would blur it: rotors, or delays of parts of a period."""
        return self.delay.is_odd(period_s) or any(
            joint.armature_kg_m2 is not None for joint in self.joints.values())


_BOUNDS: dict[str, tuple[float, float]] = {
    "encoder_offset_rad": (-7, 7), "command_offset_rad": (-7, 7), "sign": (-1, 1), "torque_scale": (0.1, 10),
    "coulomb_n_m": (0, 100), "viscous_n_m_s_rad": (0, 100), "stribeck_n_m": (0, 100), "stribeck_rad_s": (1e-3, 10),
    "armature_kg_m2": (0, 10), "backlash_rad": (0, 0.5), "lower_rad": (-10, 10), "upper_rad": (-10, 10),
    "command_s": (0, 0.1), "state_s": (0, 0.1), "let_go_s": (0, 10), "ambient_c": (-40, 80), "c_per_n2m2s": (0, 100),
    "cooling_per_s": (0, 10), "heat_c_per_n2m2s": (0, 100), "heat_cooling_per_s": (0, 10),
    "accel_scale": (0.5, 2), "mounting_wxyz": (-1, 1),
}
_ANY = (-100.0, 100.0)
_NOISES = (0.0, 10.0)


def load_truth(path: Path | str) -> Truth:
    """A truth from its file.

    Raises:
        BridgeError: no such file, no JSON, unknown keys, or impossible values.
    """
    try:
        data = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _refuse(f"{path}", "a readable JSON file", str(error)) from error
    return read_truth(data)


def read_truth(data: Any) -> Truth:
    """A truth from parsed JSON; refuses as `load_truth`."""
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise _refuse("schema", SCHEMA, f"{data!r}")
    unknown = sorted(set(data) - {"schema", *(one.name for one in fields(Truth))})
    if unknown:
        raise _refuse("keys", ", ".join(one.name for one in fields(Truth)), ", ".join(unknown))
    joints = data.get("joints", {})
    if not isinstance(joints, dict):
        raise _refuse("joints", "an object of joints", f"{joints!r}")
    seed = data.get("seed", 0)
    if type(seed) is not int or seed < 0:
        raise _refuse("seed", "a whole number from 0 on", f"{seed!r}")
    return Truth(
        {name: _joint(name, row) for name, row in joints.items()}, _pairs(data.get("swapped", [])),
        _imu(data.get("imu", {})), _part(Noise, "noise", data.get("noise", {})),
        _part(Delay, "delay", data.get("delay", {})), _part(Heat, "heat", data.get("heat", {})), seed,
        _hands(data.get("hands", {})),
    )


def _hands(found: Any) -> dict[str, dict[str, HandJointTruth]]:
    if not isinstance(found, dict) or not all(isinstance(rows, dict) for rows in found.values()):
        raise _refuse("hands", "an object of sides, each an object of joints", f"{found!r}")
    return {side: {name: _part(HandJointTruth, f"hands.{side}.{name}", row) for name, row in rows.items()}
            for side, rows in found.items()}


def _joint(name: str, row: Any) -> JointTruth:
    joint = _part(JointTruth, f"joints.{name}", row)
    if abs(joint.sign) != 1:
        raise _refuse(f"joints.{name}.sign", "1 or -1", f"{joint.sign!r}")
    return joint


def _imu(row: Any) -> ImuTruth:
    imu = _part(ImuTruth, "imu", row)
    norm = math.sqrt(sum(x * x for x in imu.mounting_wxyz))
    if abs(norm - 1) > UNIT_TOLERANCE:
        raise _refuse("imu.mounting_wxyz", "a unit quaternion, w first", f"norm {norm:.4f}")
    return imu


def _pairs(found: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(found, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(name, str) for name in pair) for pair in found
    ):
        raise _refuse("swapped", "a list of pairs of joints", f"{found!r}")
    names = [name for pair in found for name in pair]
    if len(set(names)) < len(names):
        raise _refuse("swapped", "each joint once", ", ".join(names))
    return tuple((first, second) for first, second in found)


def _part(kind: type[T], key: str, row: Any) -> T:
    """One of the dataclasses from its object: numbers, or lists as long as the default."""
    known: dict[str, Any] = {one.name: one.default for one in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(row, dict) or not set(row) <= set(known):
        raise _refuse(key, f"an object with keys among {', '.join(known)}", f"{row!r}")
    values: dict[str, Any] = {}
    for name, found in row.items():
        low, high = _BOUNDS.get(name, _NOISES if "noise" in f"{key}.{name}" or "walk" in name else _ANY)
        length = len(known[name]) if isinstance(known[name], tuple) else 0
        listed = found if length and isinstance(found, list) else [found]
        if len(listed) != max(length, 1) or not all(type(x) in (int, float) and low <= x <= high for x in listed):
            raise _refuse(f"{key}.{name}", f"{length or 'a'} number{'s' * (length > 0)} from {low:g} to {high:g}",
                          f"{found!r}")
        values[name] = tuple(float(x) for x in listed) if length else float(found)
    return kind(**values)


def _refuse(what: str, expected: str, found: str) -> BridgeError:
    return BridgeError(f"truth: {what}", expected=expected, found=found[:200], what_to_do="correct the truth's file")
