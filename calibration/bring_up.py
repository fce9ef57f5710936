"""First bring-up of a robot that hangs: what has to be so before anything else is calibrated, in order.

Communication, IMU against gravity, zeros against the pose it hangs in, then joint by joint a small motion (it moves,
and it alone, and the way it was told, as far as its own encoder shows), what damping does, and last what the firmware
does when commands stop coming: a lifted forearm either stays or falls.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from calibration.bench import Bench, Recording, Steps, Stopped
from calibration.envelope import Envelope
from calibration.routine import Found, Verdict
from firmware_bridge.motor_bus import KD, KP, Q
from runtime.errors import Refused
from runtime.preflight_pose import GRAVITY_M_S2, GRAVITY_RAD, GRAVITY_SLACK_M_S2
from runtime.robot import Joint, Robot
from runtime.rotation import gravity_in_base

F64 = npt.NDArray[np.float64]
Rows = npt.NDArray[np.void]
REST_S, SLOWEST_HZ, MOST_LOST = 2.0, 90.0, 0.01
STEP_RAD, STEP_RAD_S, STEP_S = 0.12, 0.3, 0.3
MOVED_RATIO, STILL_RATIO = 0.5, 0.5
"""Of the step a joint has to move, and of what it moved any other joint may."""
LIFT_RAD, LIFT_RAD_S = 0.6, 0.5
FALLEN_RAD = 0.05
SILENCE_S, SILENT_WITHIN_S = 0.5, 2.0
"""A watchdog of a motor drive that is slower than this is not one that a limb could rely on."""
DAMPED_S, DAMPED_RAD_S = 1.5, 3.5
LIFTED = ("left_elbow_joint", "right_elbow_joint", "left_knee_joint", "right_knee_joint")
"""Joints that gravity pulls back once they are lifted; the first that a robot has is used."""


class BringUp:
    """The routine; it finds no values, but facts and verdicts that a person signs."""

    name, version = "bring-up", "1"
    summary = "first checks of a hanging robot: wire, IMU, zeros, every joint, damping, what silence does"
    envelope = Envelope(velocity_rad_s=3.0, effort_ratio=0.6)
    hangs = True
    is_signed = True
    """A person answers for each line of its report."""

    def prepare(self, robot: Robot, joints: Sequence[str], offsets: F64) -> None:
        self._robot = robot
        self._joints: list[Joint] = [row for row in robot.joints if row.name in joints]
        known = {row.name: row for row in robot.joints}
        lifted = [known[name] for name in LIFTED if name in known]
        if not lifted:
            raise Refused("bring-up", expected=f"a joint among {', '.join(LIFTED)}", found="none",
                          what_to_do="this robot's limbs are not known: check it by hand")
        self._lifted = lifted[0]

    def plan(self) -> list[str]:
        return [f"rest for {REST_S:g} s, then {len(self._joints)} joints, one after the other, by {STEP_RAD:g} rad",
                f"{self._lifted.name} is lifted by {LIFT_RAD:g} rad and let down damped; lifted again, the gate then "
                f"falls silent for {SILENCE_S:g} s, and the limb may fall",
                f"about {0.04 * len(self._joints) + 0.5:.0f} min; the robot hangs, nothing stands within its reach"]

    def steps(self, bench: Bench) -> Steps[None]:
        bench.begin("rest")
        yield from bench.hold(REST_S)
        bench.end()
        for done, joint in enumerate(self._joints):
            bench.progress = done / (len(self._joints) + 2)
            if bench.is_finished(joint.name):
                continue
            bench.said.append(f"{joint.name}: {done + 1} of {len(self._joints)}")
            yield from _nudge(bench, joint)
            bench.finish(joint.name)
        motor, kp = self._lifted.motor, float(bench.target[self._lifted.motor, KP])
        at = yield from self._lift(bench)
        bench.begin("damped")
        bench.target[motor, [KP, KD]] = 0.0, self._lifted.damping_kd
        for _ in range(round(DAMPED_S / bench.period_s)):
            bench.target[motor, Q] = bench.state.q[motor]  # where it will be taken over from
            yield
        bench.end()
        bench.gains(self._lifted.name, kp, self._lifted.kd)
        yield from bench.move({self._lifted.name: at}, LIFT_RAD_S)
        yield from self._lift(bench)
        bench.silence_s = SILENCE_S
        left = round(SILENT_WITHIN_S / bench.period_s)
        while not _nobody_writes(bench):
            left -= 1
            if left < 0:
                raise Stopped("the gate did not fall silent")
            yield
        bench.begin("silence")
        gains = bench.target[:, [KP, KD]].copy()
        bench.target[:, KP], bench.target[:, KD] = 0.0, bench.robot.column("damping_kd")
        while _nobody_writes(bench):  # for the moment after it: what fell is damped
            bench.target[:, Q] = bench.state.q
            yield
        bench.end()
        for _ in range(round(DAMPED_S / bench.period_s)):
            bench.target[:, Q] = bench.state.q
            yield
        bench.target[:, [KP, KD]] = gains
        yield from bench.move({self._lifted.name: at}, LIFT_RAD_S)
        bench.progress = 1.0

    def _lift(self, bench: Bench) -> Steps[float]:
        """The limb lifted; returns where it was."""
        joint = self._lifted
        at = float(bench.target[joint.motor, Q])
        sign = 1.0 if joint.upper_rad - at > LIFT_RAD else -1.0
        yield from bench.move({joint.name: at + sign * LIFT_RAD}, LIFT_RAD_S)
        yield from bench.hold(0.5)
        return at

    def fit(self, recording: Recording) -> Found:
        found = Found()
        rest = recording.of("rest")
        found.verdicts += [*_communication(rest), *_imu(rest), *self._zeros(rest)]
        for joint in self._joints:
            found.verdicts += _moved(recording.of(f"nudge/{joint.name}"), joint)
        found.verdicts.append(self._damping(recording.of("damped")))
        found.facts["of_this_robot"] = self._silence(recording.of("silence"))
        return found

    def _zeros(self, rest: Rows) -> list[Verdict]:
        limit = self._robot.limits.preflight_pose_rad
        q = rest["q"].astype(np.float64).mean(axis=0)
        off = [f"{row.name} {q[row.motor]:+.2f}" for row in self._robot.joints
               if not row.lower_rad - limit <= q[row.motor] <= row.upper_rad + limit]
        legs = [f"{row.name} {q[row.motor]:+.2f}" for row in self._robot.joints
                if "knee" in row.name or "hip" in row.name if abs(q[row.motor]) > limit]
        return [Verdict("zeros: within range", not off, ", ".join(off) or "all joints", f"range + {limit:g} rad",
                        "check joint order and zeros: mapping and joint-zero find them"),
                Verdict("zeros: legs hang straight", not legs, ", ".join(legs) or "all of hips and knees",
                        f"within {limit:g} rad of zero", "straighten them, or calibrate their zeros first")]

    def _damping(self, rows: Rows) -> Verdict:
        """Let go of, the limb has to come down slowly, its drive holding against the motion."""
        motor = self._lifted.motor
        dq, tau = (rows[key][:, motor].astype(np.float64) for key in ("dq", "tau"))
        moving = np.abs(dq) > 0.1
        against = float((dq * tau < 0)[moving].mean()) if moving.any() else 0.0
        fastest = float(np.abs(dq).max())
        return Verdict("damping", bool(moving.any()) and fastest <= DAMPED_RAD_S and against > 0.9,
                       f"{self._lifted.name} came down at {fastest:.2f} rad/s at most, {100 * against:.0f} % of it "
                       "against its drive", f"<= {DAMPED_RAD_S:g} rad/s, 90 %",
                       "its damping gain does not reach the drive, or the limb did not move: look before anything else")

    def _silence(self, rows: Rows) -> dict[str, object]:
        """What the firmware does: whether the limb stayed while nobody commanded."""
        motor = self._lifted.motor
        moved = np.abs(rows["q"][:, motor].astype(np.float64) - float(rows["q"][0, motor]))
        times = (rows["received_ns"] - rows["received_ns"][0]).astype(np.float64) * 1e-9
        fell = np.flatnonzero(moved > FALLEN_RAD)
        return {"when_commands_stop": "lets go" if len(fell) else "holds the last command",
                "silent_s": round(float(times[-1]), 3), "moved_rad": round(float(moved.max()), 4),
                "fell_after_s": round(float(times[fell[0]]), 3) if len(fell) else None, "joint": self._lifted.name}


def _nobody_writes(bench: Bench) -> bool:
    return bench.is_silent


def _nudge(bench: Bench, joint: Joint) -> Steps[None]:
    """A small motion inside the joint's range, and back."""
    at = float(bench.target[joint.motor, Q])
    sign = 1.0 if joint.upper_rad - at > at - joint.lower_rad else -1.0
    bench.begin(f"nudge/{joint.name}")
    yield from bench.hold(0.1)
    yield from bench.move({joint.name: at + sign * STEP_RAD}, STEP_RAD_S)
    yield from bench.hold(STEP_S)
    bench.end()
    yield from bench.move({joint.name: at}, STEP_RAD_S)
    yield from bench.hold(STEP_S)


def _moved(rows: Rows, joint: Joint) -> list[Verdict]:
    motor = joint.motor
    told = float(rows["target"][-1, motor, Q] - rows["target"][0, motor, Q])
    q = rows["q"].astype(np.float64)
    moved = q[-20:].mean(axis=0) - q[:20].mean(axis=0)
    others = np.abs(np.delete(moved, motor))
    found = f"{moved[motor]:+.3f} rad, told {told:+.3f}"
    does, alone = abs(moved[motor]) > MOVED_RATIO * abs(told), others.max() < STILL_RATIO * abs(moved[motor])
    return [
        Verdict(f"{joint.name}: moves", bool(does), found, f"> {MOVED_RATIO:g} of it",
                "is the drive on, is it this joint's, does friction hold it?"),
        Verdict(f"{joint.name}: moves alone", bool(alone), f"others {others.max():.3f} rad",
                f"< {STILL_RATIO:g} of it", "another joint moved: run mapping before anything else"),
        Verdict(f"{joint.name}: moves the right way", bool(moved[motor] * told > 0), found, "as told",
                "its encoder counts against its drive: run mapping before anything else"),
    ]


def _communication(rest: Rows) -> list[Verdict]:
    seconds = float(rest["received_ns"][-1] - rest["received_ns"][0]) * 1e-9
    rate_hz = (len(rest) - 1) / max(seconds, 1e-9)
    ticks = np.diff(rest["tick"].astype(np.int64))
    step = float(np.median(ticks)) if len(ticks) else 0.0
    lost = float((ticks[ticks > 0] / step - 1).clip(0).sum() / len(rest)) if step > 0 else 1.0
    return [Verdict("communication: rate", rate_hz >= SLOWEST_HZ, f"{rate_hz:.0f} states a second",
                    f">= {SLOWEST_HZ:g}", "look at cable, port and load"),
            Verdict("communication: lost", lost <= MOST_LOST, f"{100 * lost:.2f} %", f"<= {100 * MOST_LOST:g} %",
                    "look at cable, port and load")]


def _imu(rest: Rows) -> list[Verdict]:
    accel, quat = (rest[key].astype(np.float64).mean(axis=0) for key in ("accel", "quat_wxyz"))
    size = float(np.linalg.norm(accel))
    down = np.asarray(gravity_in_base((quat / np.linalg.norm(quat)).tolist()))
    angle = float(np.arccos(np.clip(-accel @ down / max(size, 1e-9), -1, 1)))
    return [Verdict("IMU against gravity", abs(size - GRAVITY_M_S2) <= GRAVITY_SLACK_M_S2 and angle <= GRAVITY_RAD,
                    f"{np.degrees(angle):.1f} deg at {size:.2f} m/s^2",
                    f"<= {np.degrees(GRAVITY_RAD):.0f} deg, {GRAVITY_M_S2} +- {GRAVITY_SLACK_M_S2:g} m/s^2",
                    "axes, units or quaternion order are not as assumed; or let it hang still")]
