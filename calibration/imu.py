"""The base's IMU: gyro bias at rest, accelerometer bias and scale from poses, mounting from turns of the waist.

Rest: the mean of a still gyro is its bias. Poses: in at least six attitudes, held still, the specific force is g
long whichever way it points, |(a - b) / s| = g, six unknowns (imu_tk's model without cross axes: D. Tedaldi, A. Pretto,
E. Menegatti, ICRA 2014). Mounting: the robot hangs by its torso, so each turn of a waist joint turns the base against
the world by an axis that the table knows; the rotation that brings what the gyro saw onto what the joints did is
Wahba's problem, solved by SVD (F. L. Markley, J. Astronautical Sciences 1988).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from calibration.bench import Bench, Question, Recording, Steps
from calibration.envelope import Envelope
from calibration.routine import Curve, Found, Value, Verdict, least_squares
from runtime.bodies import Turn
from runtime.errors import Refused
from runtime.robot import Robot
from runtime.rotation import conjugate_many, multiply_many, quat_from_matrix_many, quat_from_vector_many

F64 = npt.NDArray[np.float64]
GRAVITY_M_S2 = 9.81
REST_S, POSE_S = 8.0, 1.0
SETTLED_RAD_S, SETTLED_S, SETTLE_MOST_S = 0.03, 0.5, 20.0
"""Still: turn rates vary by less for so long; a mean force over a swing would come out too short."""
DAMPED_KD, STRONG_N_M = 8.0, 20.0
"""Joints of at least that effort within the envelope are damped so: waist and legs, whose swings turn the base."""
STILL_RAD_S = 0.02
"""Standard deviation of a gyro that counts as still."""
SWING_RAD, SWING_S, SWINGS = 0.35, 1.6, 3
MOST_ACCEL_BIAS_M_S2, MOST_ACCEL_SCALE = 0.1, 0.01
"""Half-widths beyond which attitudes have not determined an accelerometer: its numbers are then left as they were."""
MOST_BIAS_RAD_S, MOST_MOUNTING_RAD = 0.2, 0.5
TILTS = ((0.0, 0.0, 0.0), (0.7, 0.0, 0.0), (1.5, 0.0, 0.0), (-0.7, 0.0, 0.0), (-1.5, 0.0, 0.0), (0.0, 0.7, 0.0),
         (0.0, 1.5, 0.0), (0.0, -0.7, 0.0), (0.0, -1.5, 0.0), (2.1, 0.0, 0.0), (-2.1, 0.0, 0.0), (0.0, 2.1, 0.0))
"""Rotation vectors of the gantry, or of the robot on a bench: upright, half-way, flat, its head 30 degrees lower."""
HELD_OUT = ((0.5, -0.5, 0.0), (-1.0, -0.6, 0.0))
TORSO = "torso_link"
MOST_CONDITION = 1e4
RATE_TAU_S = 0.02
"""Differences of orientation are taken over this long: the joints' rates without their noise."""


class Imu:
    """The routine; values are `imu.*`, the mounting as a rotation vector."""

    name, version = "imu", "1"
    summary = "gyro bias and noise, accelerometer bias and scale, and how the IMU is mounted"
    envelope = Envelope(velocity_rad_s=3.0, effort_ratio=0.5, tilt_rad=float(np.pi))
    hangs = True

    def prepare(self, robot: Robot, joints: Sequence[str], offsets: F64) -> None:
        turns = robot.bodies.get(TORSO, ())
        axes = np.array([turn.axis for turn in turns]).reshape(-1, 3)
        if len(axes) < 2 or np.linalg.matrix_rank(axes, tol=0.3) < 2:
            raise Refused("imu", expected=f"a waist that turns about two axes (`bodies.{TORSO}`)",
                          found=f"{len(axes)} joints between base and torso",
                          what_to_do="this robot's IMU cannot be found by its waist")
        self._turns: tuple[Turn, ...] = turns
        rows = {row.name: row for row in robot.joints}
        self._waist = [rows[turn.joint] for turn in turns]
        self._offsets = offsets

    def plan(self) -> list[str]:
        names = ", ".join(row.name for row in self._waist)
        return [f"rest for {REST_S:g} s; {names} swing by {SWING_RAD:g} rad, {SWINGS} times each and once together",
                f"then you turn what the robot hangs on into {len(TILTS) + len(HELD_OUT)} attitudes",
                "the torso has to hang still while the waist swings: hold it, or tie it to the gantry"]

    def steps(self, bench: Bench) -> Steps[None]:
        straight = {row.name: min(max(0.0, row.lower_rad), row.upper_rad) for row in bench.robot.joints}
        yield from bench.move(straight, 0.4)
        for row in bench.robot.joints:
            if row.effort_n_m >= STRONG_N_M:
                bench.gains(row.name, row.kp, DAMPED_KD)
        if not bench.is_finished("waist"):
            yield from self._waist_steps(bench)
            bench.finish("waist")
        tilts = [*(("pose", tilt) for tilt in TILTS), *(("held-out pose", tilt) for tilt in HELD_OUT)]
        for i, (kind, tilt) in enumerate(tilts):
            bench.progress = i / len(tilts)
            if bench.is_finished(f"attitude {i}"):
                continue
            degrees = ", ".join(f"{np.degrees(angle):.0f}" for angle in tilt[:2])
            yield from bench.ask(Question(f"attitude {i + 1} of {len(tilts)}: turn it by about {degrees} degrees "
                                          "(to its right side, forwards) and let it come to rest", tilt))
            yield from _settle(bench)
            bench.begin(f"{kind}/{i}")
            yield from bench.hold(POSE_S)
            bench.end()
            bench.finish(f"attitude {i}")
        yield from bench.ask(Question("let the robot hang upright again", (0.0, 0.0, 0.0)))
        bench.progress = 1.0

    def _waist_steps(self, bench: Bench) -> Steps[None]:
        """Rest, and the swings."""
        yield from _settle(bench)
        bench.begin("rest")
        yield from bench.hold(REST_S)
        bench.end()
        for row in self._waist:
            yield from _swing(bench, {row.name: _reach(row.lower_rad, row.upper_rad)}, f"swing/{row.name}")
        all_at_once = {row.name: 0.6 * _reach(row.lower_rad, row.upper_rad) for row in self._waist}
        yield from _swing(bench, all_at_once, "held-out swing")

    def fit(self, recording: Recording) -> Found:
        found = Found()
        bias = self._fit_gyro(recording, found)
        self._fit_accelerometer(recording, found)
        self._fit_mounting(recording, bias, found)
        return found

    def _fit_gyro(self, recording: Recording, found: Found) -> F64:
        gyro = recording.of("rest")["gyro"].astype(np.float64)
        bias, deviation = gyro.mean(axis=0), gyro.std(axis=0, ddof=1)
        taus, allan = allan_deviation(gyro, _period_s(recording.of("rest")))
        # The mean of the whole stretch is uncertain by the Allan deviation at its length, not by white noise alone.
        width = 1.96 * np.maximum(deviation / np.sqrt(len(gyro)), allan[-1])
        for axis in range(3):
            found.values.append(Value(f"imu.gyro_bias_rad_s.{axis}", float(bias[axis]), float(width[axis])))
        found.facts["gyro_noise_rad_s"] = deviation.tolist()
        found.verdicts += [
            Verdict("gyro at rest", bool((deviation < STILL_RAD_S).all()), f"{deviation.max():.4f} rad/s",
                    f"< {STILL_RAD_S} rad/s", "let the robot hang still and repeat"),
            Verdict("gyro bias", bool((np.abs(bias) < MOST_BIAS_RAD_S).all()), f"{np.abs(bias).max():.4f} rad/s",
                    f"< {MOST_BIAS_RAD_S} rad/s", "the sensor is faulty, or still cold: wait and repeat"),
        ]
        found.curves.append(Curve("Allan deviation of the gyro at rest", "averaging time, s", "rad/s",
                                  {"xyz"[axis]: (taus, allan[:, axis]) for axis in range(3)}))
        return np.asarray(bias, np.float64)

    def _fit_accelerometer(self, recording: Recording, found: Found) -> None:
        poses = np.array([_mean_force(recording, name) for name in recording.named("pose/")])
        bias, scale, width = fit_accelerometer(poses)
        if (width[:3] > MOST_ACCEL_BIAS_M_S2).any() or (width[3:] > MOST_ACCEL_SCALE).any():
            found.facts["accelerometer"] = f"not determined, bias +- {width[:3].max():.3f} m/s2: left as it was"
            return
        for axis in range(3):
            found.values += [Value(f"imu.accel_bias_m_s2.{axis}", float(bias[axis]), float(width[axis])),
                             Value(f"imu.accel_scale.{axis}", float(scale[axis]), float(width[3 + axis]))]
        others = np.array([_mean_force(recording, name) for name in recording.named("held-out pose/")])
        before = float(np.abs(np.linalg.norm(others, axis=1) - GRAVITY_M_S2).max())
        after = float(np.abs(np.linalg.norm((others - bias) / scale, axis=1) - GRAVITY_M_S2).max())
        found.verdicts.append(Verdict(
            "gravity in held-out attitudes", after <= max(0.02, before), f"off by {after:.3f} m/s2, once {before:.3f}",
            "<= 0.02 m/s2, or better than before", "hold the robot stiller in every attitude and repeat"))

    def _fit_mounting(self, recording: Recording, bias: F64, found: Found) -> None:
        swings = [self._increments(recording.of(name), bias) for name in recording.named("swing/")]
        seen, made = (np.concatenate([pair[i] for pair in swings]) for i in (0, 1))
        turn, width = wahba(seen, made)
        vector = _rotation_vector(turn)
        for axis in range(3):
            found.values.append(Value(f"imu.mounting_rad.{axis}", float(vector[axis]), float(width[axis])))
        seen, made = self._increments(recording.of("held-out swing"), bias)
        before, after = (float(np.sqrt(np.mean((made - seen @ m.T) ** 2)) / np.sqrt(np.mean(made**2)))
                         for m in (np.eye(3), turn))
        angle = float(np.linalg.norm(vector))
        found.verdicts += [
            Verdict("mounting", angle < MOST_MOUNTING_RAD, f"{np.degrees(angle):.2f} degrees",
                    f"< {np.degrees(MOST_MOUNTING_RAD):.0f} degrees", "it lies on its side, or its axes are swapped"),
            Verdict("held-out swing", after <= max(0.1, before), f"{100 * after:.1f} % unexplained, before "
                    f"{100 * before:.1f} %", "<= 10 %, or better than before", "hold the torso stiller and repeat"),
        ]

    def _increments(self, rows: npt.NDArray[np.void], bias: F64) -> tuple[F64, F64]:
        """Turns over short times, (k, 3) rad: as the gyro saw them in its axes, as the waist made them in the base."""
        step = max(1, round(RATE_TAU_S / _period_s(rows)))
        at = np.arange(0, len(rows) - step, step)
        dt_s = np.diff(rows["received_ns"].astype(np.int64)) * 1e-9
        turned = np.concatenate([np.zeros((1, 3)), np.cumsum(
            0.5 * (rows["gyro"][1:].astype(np.float64) + rows["gyro"][:-1] - 2 * bias) * dt_s[:, None], axis=0)])
        base_in_torso = conjugate_many(self._torso_in_base(rows["q"].astype(np.float64)))
        made = _vectors(multiply_many(conjugate_many(base_in_torso[at]), base_in_torso[at + step]))
        return turned[at + step] - turned[at], made

    def _torso_in_base(self, q: F64) -> F64:
        """(T, 4) w first, torso fixed in the world or not."""
        found = np.tile([1.0, 0.0, 0.0, 0.0], (len(q), 1))
        for turn, row in zip(self._turns, self._waist, strict=True):
            angle = (q[:, row.motor] - self._offsets[row.motor])[:, None]
            found = multiply_many(found, np.tile(turn.turn_wxyz, (len(q), 1)))
            found = multiply_many(found, quat_from_vector_many(angle * np.array(turn.axis)))
        return found


def allan_deviation(values: F64, period_s: float) -> tuple[F64, F64]:
    """Overlapping Allan deviation of rates (n, k) at octaves up to a third of the record (IEEE Std 952, annex C)."""
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    lengths = 2 ** np.arange(0, max(1, int(np.log2(len(values) / 3)) + 1))
    found: list[F64] = []
    for m in lengths:
        second = sums[2 * m:] - 2 * sums[m:-m] + sums[: -2 * m]
        found.append(np.sqrt(0.5 * (second**2).mean(axis=0)) / m)
    return np.asarray(lengths * period_s, np.float64), np.array(found)


def fit_accelerometer(poses: F64) -> tuple[F64, F64, F64]:
    """Bias (3,), scale (3,), and half-widths (6,) from mean specific forces (k, 3) of still attitudes, m/s^2.

    Raises:
        ValueError: the attitudes do not show all axes.
    """
    bias, scale, width = np.zeros(3), np.ones(3), np.full(6, np.inf)
    for _ in range(8):
        true = (poses - bias) / scale
        length = np.linalg.norm(true, axis=1)
        along = true / length[:, None]
        slope = np.concatenate([along / scale, along * true / scale], axis=1)  # of -length by bias and scale
        step, width = least_squares(slope, length - GRAVITY_M_S2)
        bias, scale = bias + step[:3], scale + step[3:]
    return bias, scale, width


def wahba(seen: F64, made: F64) -> tuple[F64, F64]:
    """The rotation R (3, 3) with made = R seen, (k, 3) each, and half-widths (3,) of its error as a rotation vector.

    Raises:
        ValueError: everything turns about one axis.
    """
    u, _, vt = np.linalg.svd(made.T @ seen)
    turn = u @ np.diag([1.0, 1.0, float(np.sign(np.linalg.det(u @ vt)))]) @ vt
    residual = made - seen @ turn.T
    variance = float((residual**2).sum()) / max(1, 3 * len(made) - 3)
    information = float((made**2).sum()) * np.eye(3) - made.T @ made
    if np.linalg.cond(information) > MOST_CONDITION:
        raise ValueError("the waist turned about one axis only: a rotation needs two")
    return turn, np.asarray(1.96 * np.sqrt(np.diag(np.linalg.inv(information)) * variance), np.float64)


def _swing(bench: Bench, reach: dict[str, float], name: str) -> Steps[None]:
    """Sines about zero with a soft start and end."""
    motors = {bench.motor(joint): size for joint, size in reach.items()}
    start = {motor: float(bench.target[motor, 0]) for motor in motors}
    ticks = round(SWINGS * SWING_S / bench.period_s)
    bench.begin(name)
    for tick in range(ticks):
        soft = min(1.0, 2 * tick / ticks * SWINGS / 2, 2 * (ticks - tick) / ticks * SWINGS / 2)
        for k, (motor, size) in enumerate(motors.items()):
            phase = 2 * np.pi * tick / ticks * (SWINGS + k)
            bench.target[motor, 0] = start[motor] + soft * size * np.sin(phase)
        yield
    bench.end()
    yield from bench.hold(0.5)


def _settle(bench: Bench) -> Steps[None]:
    """Until the base is still, or for as long as one waits for that."""
    ticks = round(SETTLED_S / bench.period_s)
    seen = np.zeros((ticks, 3))
    for tick in range(round(SETTLE_MOST_S / bench.period_s)):
        seen[tick % ticks] = bench.state.gyro
        if tick >= 2 * ticks and tick % 25 == 0 and np.ptp(_smooth(seen), axis=0).max() < SETTLED_RAD_S:
            return
        yield


def _smooth(values: F64) -> F64:
    """Means of tenths: what is left of turn rates without their noise."""
    return np.asarray(values.reshape(10, -1, values.shape[1]).mean(axis=1))


def _reach(lower_rad: float, upper_rad: float) -> float:
    return min(SWING_RAD, 0.7 * min(-lower_rad, upper_rad))


def _mean_force(recording: Recording, name: str) -> F64:
    return np.asarray(recording.of(name)["accel"].astype(np.float64).mean(axis=0))


def _period_s(rows: npt.NDArray[np.void]) -> float:
    return float(np.median(np.diff(rows["received_ns"].astype(np.int64)))) * 1e-9


def _vectors(quats: F64) -> F64:
    """(T, 3) rotation vectors of small turns."""
    quats = quats * np.sign(quats[:, :1])
    return 2 * quats[:, 1:]


def _rotation_vector(turn: F64) -> F64:
    quat = quat_from_matrix_many(turn[None])[0]
    quat = quat * np.sign(quat[0])
    sine = float(np.linalg.norm(quat[1:]))
    return np.asarray(quat[1:] * (2 * np.arctan2(sine, quat[0]) / sine if sine > 1e-12 else 2.0))
