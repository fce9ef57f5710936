"""Whether an IMU is believed: every axis, both ways, and what begins a judgement anew."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from firmware_bridge.motor_bus import MotorSample
from runtime.fault_table import BIT, PLACE
from runtime.findings import Findings
from runtime.imu_checks import ImuChecks
from runtime.rotation import multiply
from tests.gate_rig import G1

DT_S = 0.002
UPRIGHT = [1.0, 0.0, 0.0, 0.0]


class Imu:
    """The checks of one robot's IMU, told by hand what it reads."""

    def __init__(self) -> None:
        self.findings = Findings()
        self.checks = ImuChecks(G1, self.findings)
        self.sample = MotorSample.zeros(G1.motors)
        self.q = np.zeros(G1.motors, np.float32)
        self.quat: tuple[float, ...] | list[float] = UPRIGHT
        self.count = 0

    def look(self, rates: tuple[float, float, float] = (0, 0, 0), dt_s: float = DT_S, *, tracks: bool = True,
             trembles: bool = True) -> int:
        self.count += trembles
        self.sample.accel[0] = self.count % 1000
        self.sample.gyro[:] = rates
        return self.checks.look(self.sample, self.q, [*self.quat, *rates, 0, 0, 9.81], dt_s, tracks=tracks)

    def turn(self, said: tuple[float, float, float], done: tuple[float, float, float], steps: int = 52,
             dt_s: float = DT_S) -> int:
        """Flags after turning at one rate while the gyro says another, both in the base."""
        flags = 0
        for _ in range(steps):
            rate = math.hypot(*done)
            half = 0.5 * rate * dt_s
            axis = [one / rate * math.sin(half) if rate else 0.0 for one in done]
            self.quat = multiply(self.quat, (math.cos(half), *axis))
            flags = self.look(said, dt_s)
        return flags

    def measured(self, flag: str) -> float:
        return float(self.findings.measured[PLACE[flag]])


AXES = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("axis", AXES)
def test_a_rate_beyond_the_sensor_is_none_about_any_axis(axis: tuple[int, int, int], sign: int) -> None:
    imu = Imu()
    limit = G1.limits.gyro_max_rad_s
    within, beyond = ([*UPRIGHT, *(sign * factor * limit * one for one in axis), 0, 0, 0] for factor in (0.999, 1.0))
    assert imu.checks.is_in_range(within)
    for count in range(1, 5):
        assert not imu.checks.is_in_range(beyond)
        assert imu.checks.saturation() == (BIT["GYRO_SATURATED"] if count >= 3 else 0)
    assert imu.measured("GYRO_SATURATED") == 4
    assert imu.checks.is_in_range(within)
    assert imu.checks.saturation() == 0
    for _ in range(2):
        imu.checks.is_in_range(beyond)
    assert imu.checks.saturation() == 0, "a good one begins the count anew"


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("axis", [*AXES, (1, 1, 0), (0, 1, 1), (1, 0, 1)])
def test_turning_as_the_gyro_says_is_consistent_and_turning_otherwise_is_not(
    axis: tuple[int, int, int], sign: int
) -> None:
    rates = tuple(sign * 3.0 * one for one in axis)
    imu = Imu()
    assert imu.turn(rates, rates, 260) == 0
    half = tuple(0.5 * one for one in rates)
    assert imu.turn(half, rates, 104) == BIT["IMU_INCONSISTENT"]
    assert imu.measured("IMU_INCONSISTENT") == pytest.approx(0.1 * math.hypot(*half), rel=0.05)
    assert imu.turn(rates, rates, 104) == 0, "and is believed again after a window that agrees"


def test_a_turn_about_changing_axes_is_followed_in_the_bases_own_frame() -> None:
    imu = Imu()
    for phase in range(8):
        rates = tuple(6 * math.sin(phase + shift) for shift in (0, 2, 4))
        assert imu.turn(rates, rates, 25) == 0
    assert imu.measured("IMU_INCONSISTENT") == 0


@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1)])
@pytest.mark.parametrize("first", AXES)
@pytest.mark.parametrize("second", AXES)
def test_turns_within_one_window_add_up_in_their_order(
    first: tuple[int, int, int], second: tuple[int, int, int], signs: tuple[int, int]
) -> None:
    """A radian about one axis, then one about another: the order matters, and so does every sign."""
    imu = Imu()
    for _ in range(6):
        for axis, sign in zip((first, second), signs, strict=True):
            rates = tuple(20.0 * sign * one for one in axis)
            assert imu.turn(rates, rates, 25) == 0


def test_a_window_is_judged_as_soon_as_it_is_a_tenth_of_a_second_long() -> None:
    imu = Imu()
    seen = [imu.turn((0, 0, 0), (0, 0, 2), 1, 0.02) for _ in range(6)]
    assert [bool(flag) for flag in seen] == [False] * 5 + [True]


@pytest.mark.parametrize(("ratio", "flag"), [(1.03, True), (0.97, False)])
@pytest.mark.parametrize("dt_s", [0.002, 0.015])
def test_the_allowed_drift_is_a_rate_whatever_the_length_of_a_window(dt_s: float, ratio: float, flag: bool) -> None:
    """7 samples of 15 ms make a window of 105 ms."""
    rate = ratio * G1.limits.imu_drift_rad / 0.1
    assert bool(Imu().turn((0, 0, 0), (0, 0, rate), 120, dt_s)) is flag


def test_a_quaternion_that_changes_its_sign_has_not_turned() -> None:
    imu = Imu()
    for i in range(160):
        imu.quat = [(-1.0) ** (i // 20), 0.0, 0.0, 0.0]
        assert imu.look() == 0


@pytest.mark.parametrize(("gap_s", "flag"), [(0.02, True), (0.021, False)])
def test_a_gap_between_samples_begins_a_window_anew(gap_s: float, flag: bool) -> None:
    """Over a gap nobody knows how it turned: each third sample comes late here, and none of them is judged."""
    imu = Imu()
    flags = 0
    for _ in range(60):
        imu.turn((0, 0, 0), (0, 0, 1.5), 2)
        flags |= imu.turn((0, 0, 0), (0, 0, 1.5), 1, gap_s)
    assert bool(flags) is flag


def test_an_inconsistency_stands_until_a_whole_window_has_been_consistent() -> None:
    imu = Imu()
    imu.turn((0, 0, 0), (0, 0, 2))
    assert imu.turn((0, 0, 2), (0, 0, 2), 40), "within the next window"
    assert imu.look((0, 0, 0), 0.05), "a gap acquits nobody"
    assert imu.turn((0, 0, 2), (0, 0, 2), 52) == 0


def test_a_sample_that_repeats_itself_twenty_times_is_frozen() -> None:
    imu = Imu()
    imu.look((0.1, 0, 0))
    repeats = [imu.look((0.1, 0, 0), trembles=False) for _ in range(21)]
    assert [bool(flag) for flag in repeats] == [False] * 19 + [True] * 2
    assert imu.measured("IMU_FROZEN") == 21
    assert imu.look((0.1, 0, 0)) == 0
    assert not any(imu.look((0.1, 0, 0), trembles=False) for _ in range(19))


def test_a_robot_at_rest_that_is_not_tracking_may_repeat_itself() -> None:
    """A simulated one on its gantry turns at exactly zero."""
    imu = Imu()
    assert not any(imu.look(tracks=False, trembles=False) for _ in range(60))
    assert any(imu.look(tracks=True, trembles=False) for _ in range(20))
    turning = Imu()
    assert any(turning.look((0.1, 0, 0), tracks=False, trembles=False) for _ in range(21))


def torso_flags(imu: Imu, looks: int) -> list[int]:
    """Flags after each ten samples."""
    return [[imu.look() for _ in range(10)][-1] for _ in range(looks)]


def test_the_torso_must_disagree_four_times_in_a_row_each_tenth_sample() -> None:
    imu = Imu()
    imu.sample.torso_quat_wxyz[:] = (math.cos(0.05), math.sin(0.05), 0, 0)
    assert not any(imu.look() for _ in range(39))
    assert imu.look() == BIT["TORSO_IMU"]
    assert torso_flags(imu, 2) == [BIT["TORSO_IMU"]] * 2
    assert imu.measured("TORSO_IMU") == pytest.approx(0.1, abs=1e-4)
    assert not any(imu.look() != BIT["TORSO_IMU"] for _ in range(9)), "it stands between two looks"
    imu.sample.torso_quat_wxyz[:] = UPRIGHT
    assert torso_flags(imu, 1) == [0]
    imu.sample.torso_quat_wxyz[:] = (math.cos(0.05), math.sin(0.05), 0, 0)
    assert torso_flags(imu, 3) == [0, 0, 0], "the count has begun anew"


def test_a_torso_that_disagrees_widely_raises_both_flags() -> None:
    imu = Imu()
    imu.sample.torso_quat_wxyz[:] = (math.cos(0.2), 0, math.sin(0.2), 0)
    assert torso_flags(imu, 4)[-1] == BIT["TORSO_IMU"] | BIT["TORSO_IMU_FAR"]
    assert imu.measured("TORSO_IMU") == imu.measured("TORSO_IMU_FAR") == pytest.approx(0.4, abs=1e-4)


def test_the_yaws_of_pelvis_and_torso_may_drift_apart() -> None:
    imu = Imu()
    imu.quat = [math.cos(0.5), 0, 0, math.sin(0.5)]
    imu.sample.torso_quat_wxyz[:] = (math.cos(-0.7), 0, 0, math.sin(-0.7))
    assert torso_flags(imu, 5) == [0] * 5


def test_a_tilted_pelvis_is_expected_to_tilt_the_torso() -> None:
    imu = Imu()
    imu.quat = [math.cos(0.15), math.sin(0.15), 0, 0]
    imu.sample.torso_quat_wxyz[:] = imu.quat
    assert torso_flags(imu, 5) == [0] * 5
    imu.sample.torso_quat_wxyz[:] = UPRIGHT
    assert torso_flags(imu, 4)[-1] & BIT["TORSO_IMU_FAR"]


@pytest.mark.parametrize("quat", [(0, 0, 0, 0), (math.nan, 0, 0, 0), (0.5, 0.8, 0, 0), (0.5, 0.95, 0, 0)])
def test_a_torso_that_says_nothing_readable_is_not_compared(quat: tuple[float, ...]) -> None:
    """Squared norms 0, NaN, 0.89 and 1.15: the robot has no such IMU, or it is not there yet."""
    imu = Imu()
    imu.sample.torso_quat_wxyz[:] = quat
    assert torso_flags(imu, 5) == [0] * 5


@pytest.mark.parametrize("quat", [(0.5, 0.82, 0, 0), (0.5, 0.91, 0, 0)])
def test_a_torso_whose_quaternion_is_nearly_unit_is_compared(quat: tuple[float, ...]) -> None:
    """Squared norms 0.92 and 1.08."""
    imu = Imu()
    imu.sample.torso_quat_wxyz[:] = quat
    assert torso_flags(imu, 4)[-1]


def test_a_robot_without_a_torso_has_nothing_to_compare() -> None:
    imu = Imu()
    imu.checks = ImuChecks(replace(G1, bodies={}), imu.findings)
    imu.sample.torso_quat_wxyz[:] = (math.cos(0.4), math.sin(0.4), 0, 0)
    assert torso_flags(imu, 5) == [0] * 5
