"""What makes a gate ill: for each flag what raises it, and the next lesser thing that does not."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from firmware_bridge.motor_bus import KP, Q, Reading
from runtime.faults import BIT
from tests.gate_rig import G1, MS, PERIOD, Rig, press, tilted

# One test a flag: what raises it, within how many ticks, and the next lesser thing that does not. The table of faults
# and this one have the same keys, which a test holds.


def no_state(ticks: int) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.sends = False
        rig.ticks(ticks)

    return act


def frozen(ticks: int) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.counts = False
        rig.ticks(ticks)

    return act


def rejected(rig: Rig) -> None:
    rig.tick(reading=Reading.REJECTED)


def not_finite(ticks: int) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.sample.dq[7] = np.nan
        rig.ticks(ticks)

    return act


def tilt(angle: float) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.sample.quat_wxyz[:] = tilted(angle)
        rig.tick()

    return act


FAST = G1.limits.overspeed_ratio


def overspeed(ratio: float, ticks: int) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.sample.dq[3] = ratio * G1.joints[3].velocity_rad_s
        rig.ticks(ticks)

    return act


def mode_machine(mode: int) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.sample.mode_machine[0] = mode
        rig.tick()

    return act


def old_target(ticks: int) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.thinks = False
        rig.ticks(ticks)

    return act


def bad_target(ticks: int) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.target[5, KP] = np.inf
        rig.ticks(ticks)

    return act


def far_target(extra: float) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        for q in np.linspace(rig.pose[0], G1.joints[0].upper_rad + extra, 60):  # slowly: a jump is limited as well
            rig.target[0, Q] = q
            rig.tick()

    return act


def event(flag: str | None) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.events = BIT[flag] if flag else 0
        rig.tick()

    return act


def remote(mask: int) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        press(rig.sample, mask)
        rig.tick()

    return act


def crooked_quat(ticks: int) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.sample.quat_wxyz[:] = 0
        rig.ticks(ticks)

    return act


def lost(ratio: float) -> Callable[[Rig], None]:
    """States lost for more than a second, evenly."""
    def act(rig: Rig) -> None:
        for i in range(550):
            rig.sends = int(i * ratio) == int((i - 1) * ratio)
            rig.tick()

    return act


def back(ticks: int) -> Callable[[Rig], None]:
    """The counter goes back by so many of its own steps."""
    def act(rig: Rig) -> None:
        rig.count -= ticks + 2
        rig.tick()

    return act


def drifting(rate: float) -> Callable[[Rig], None]:
    """The gyro says nothing while the base turns."""
    def act(rig: Rig) -> None:
        for i in range(120):
            rig.sample.quat_wxyz[:] = tilted(rate * i * PERIOD * 1e-9, 3)
            rig.tick()

    return act


def torso(angle: float, ticks: int = 60) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        waist = rig.pose[[joint.motor for joint in G1.joints if joint.name == "waist_pitch_joint"]][0]
        rig.sample.torso_quat_wxyz[:] = tilted(float(waist) + angle, 2)
        rig.ticks(ticks)

    return act


def numb(ticks: int) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.trembles = False
        rig.ticks(ticks)

    return act


def spinning(rate: float, ticks: int) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.sample.gyro[1] = rate
        rig.ticks(ticks)

    return act


def motor_error(joint: str, ticks: int) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.sample.motor_error[next(row.motor for row in G1.joints if row.name == joint)] = 4
        rig.ticks(ticks)

    return act


def losing_words(ticks: int) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        for _ in range(ticks):
            rig.sample.motor_lost[4] += 1
            rig.tick()

    return act


def hot(celsius: int) -> Callable[[Rig], None]:
    """A motor that has been so hot since before anybody looked: its filter begins there."""

    def act(rig: Rig) -> None:
        rig.sample.temperature_c[3] = celsius
        rig.ticks(10)

    return act


def charged(percent: float) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.sample.battery_percent[0] = percent
        rig.ticks(40)

    return act


def strong(ratio: float, ticks: int) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.sample.tau[2] = -ratio * G1.joints[2].effort_n_m
        rig.ticks(ticks)

    return act


def jumping(rad: float, ticks: int) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.sample.q[6] += rad
        rig.ticks(ticks)

    return act


def flailing(joints: int, ticks: int, rate: float = 8.1) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.sample.dq[:joints] = rate
        rig.ticks(ticks)

    return act


def beyond_range(rad: float) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        for q in np.linspace(rig.pose[0], G1.joints[0].upper_rad + rad, 60):
            rig.sample.q[0] = q
            rig.tick()
        rig.ticks(12)

    return act


def absurd_target(rad: float, ticks: int) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.target[0, Q] = G1.joints[0].upper_rad + rad
        rig.ticks(10)  # on the way the rate limit is at work too
        rig.ticks(ticks)

    return act


def pauses(count: int, ms: float) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        for _ in range(count):
            rig.ticks(3)
            rig.now += round((ms - 2) * MS)
            rig.tick()

    return act


def remote_goes_off(ticks: int) -> Callable[[Rig], None]:
    def act(rig: Rig) -> None:
        rig.sample.remote[0] = 0x55
        rig.tick()
        rig.sample.remote[0] = 0
        rig.skip(ticks - 1)
        rig.tick()

    return act


SIDES: dict[str, tuple[Callable[[Rig], None], Callable[[Rig], None]]] = {
    "STATE_LATE": (no_state(6), no_state(5)),  # 12 and 10 ms
    "STATE_STALE": (no_state(21), no_state(20)),  # 42 and 40 ms
    "STATE_LOST": (no_state(51), no_state(50)),  # 102 and 100 ms
    "STATE_LOSSY": (lost(0.06), lost(0.04)),
    "STATE_REORDERED": (back(1), event(None)),
    "STATE_FROZEN": (frozen(6), frozen(5)),  # 12 and 10 ms
    "STATE_CRC": (rejected, event(None)),
    "STATE_NON_FINITE": (not_finite(3), not_finite(2)),
    "IMU_NON_FINITE": (crooked_quat(3), crooked_quat(2)),
    "IMU_INCONSISTENT": (drifting(0.95), drifting(0.8)),  # 5 degrees in 0.1 s are 0.87 rad/s
    "TORSO_IMU": (torso(math.radians(5.5)), torso(math.radians(4.5))),
    "TORSO_IMU_FAR": (torso(math.radians(15.5)), torso(math.radians(14.5))),
    "IMU_FROZEN": (numb(20), numb(19)),
    "GYRO_SATURATED": (spinning(35.0, 3), spinning(35.0, 2)),
    "MOTOR_ERROR": (motor_error("left_elbow_joint", 2), motor_error("left_elbow_joint", 1)),
    "LEG_MOTOR_ERROR": (motor_error("left_knee_joint", 2), motor_error("left_elbow_joint", 5)),
    "MOTOR_SILENT": (losing_words(60), losing_words(40)),
    "TEMPERATURE_WARN": (hot(81), hot(79)),
    "TEMPERATURE_HIGH": (hot(91), hot(89)),
    "TEMPERATURE_CRITICAL": (hot(111), hot(109)),
    "TORQUE_HIGH": (strong(1.21, 2), strong(1.21, 1)),
    "TORQUE_SUSTAINED": (strong(1.21, 252), strong(1.19, 260)),
    "ENCODER_JUMP": (jumping(0.4, 2), jumping(0.15, 20)),
    "OVERSPEED": (overspeed(1.01 * FAST, 2), overspeed(0.99 * FAST, 20)),
    "FLAIL": (flailing(6, 11), flailing(5, 30)),
    "JOINT_RANGE": (beyond_range(0.06), beyond_range(0.04)),
    "TILT": (tilt(math.radians(45.1)), tilt(math.radians(44.9))),
    **{flag: (event(flag), event(None)) for flag in (
        "REFERENCE_LATE", "REFERENCE_LOST", "REFERENCE_JUMP", "REFERENCE_NON_FINITE", "REFERENCE_LIMITED",
        "STREAM_FLOOD", "STREAM_MALFORMED", "STREAM_VERSION")},
    "TARGET_NON_FINITE": (bad_target(3), bad_target(2)),
    "TARGET_LIMITED": (far_target(0.001), far_target(-0.001)),
    "TARGET_FAR": (absurd_target(1.05, 110), absurd_target(0.95, 130)),
    "POLICY_SLOW": (event("POLICY_SLOW"), event(None)),
    "TARGET_STALE": (old_target(21), old_target(20)),  # 42 and 40 ms
    "POLICY_FAULT": (event("POLICY_FAULT"), event(None)),
    "GATE_OVERRUN": (pauses(4, 6), pauses(3, 6)),
    "GATE_PAUSE": (pauses(1, 6), pauses(1, 5)),
    "GATE_RESTARTED": (event("GATE_RESTARTED"), event(None)),
    "INTERNAL_ERROR": (event("INTERNAL_ERROR"), event(None)),
    "ROBOT_RESTARTED": (back(1001), back(1000)),
    "SECOND_WRITER": (event("SECOND_WRITER"), event(None)),
    "LINK_DOWN": (event("LINK_DOWN"), event(None)),
    "BATTERY_LOW": (charged(19.9), charged(20.1)),
    "BATTERY_NO_MOTION": (charged(14.9), charged(15.1)),
    "BATTERY_CRITICAL": (charged(9.9), charged(10.1)),
    "MODE_MACHINE": (mode_machine(4), mode_machine(5)),
    "OPERATOR_LATE": (event("OPERATOR_LATE"), event(None)),
    "OPERATOR_LOST": (event("OPERATOR_LOST"), event(None)),
    "DEADMAN_RELEASED": (event("DEADMAN_RELEASED"), event(None)),
    "REMOTE_STOP": (remote(1 << 5 | 1 << 9), remote(1 << 5)),  # L2 + B, and L2 alone
    "ESTOP": (event("ESTOP"), event(None)),
    "ESTOP_SILENT": (event("ESTOP_SILENT"), event(None)),
    "OPERATOR_STOP": (event("OPERATOR_STOP"), event(None)),
    "REMOTE_OFF": (remote_goes_off(1501), remote_goes_off(1500)),
    "UNAUTHORISED": (event("UNAUTHORISED"), event(None)),
    "REPLAYED": (event("REPLAYED"), event(None)),
}
