"""Every ailment harms what it names and nothing else, from its moment on, and the same for the same seed."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="missing dependency: mujoco")

from firmware_bridge.ailment_kit import NAMES, copy_sample
from firmware_bridge.ailments import AILMENTS, Ailment, Ailments, parse_ailment
from firmware_bridge.errors import BridgeError
from firmware_bridge.motor_bus import Reading
from firmware_bridge.simulated_robot import SimulatedRobot

HARMS = {
    "restart": {"tick"}, "counter": {"tick"}, "imu-nan": {"imu"}, "quat-zero": {"imu"}, "quat-xyzw": {"imu"},
    "gyro-bias": {"imu"}, "gyro-spike": {"imu"}, "torso": {"torso_quat_wxyz"}, "motor-error": {"motor_error"},
    "motor-lost": {"motor_lost"}, "heat": {"temperature_c"}, "torque": {"tau"}, "encoder": {"q"}, "overspeed": {"dq"},
    "flail": {"dq"}, "range": {"q"}, "battery": {"battery_percent"}, "remote-off": {"remote"}, "press": {"remote"},
    "variant": {"mode_machine"},
}
"""Ailment: the only parts of a state that it may change."""


def carry(name: str, states: int = 20, seed: int = 0, **options: float) -> list[tuple[Reading, dict[str, Any], Any]]:
    """(reading, what arrived, what the robot said) of states of which the first ten are healthy."""
    robot = SimulatedRobot()
    ailments = Ailments(robot, [Ailment(name, 0.0199, options)], seed)
    seen = []
    for _ in range(states):
        sample = robot.step()
        robot.sense_accelerometer()
        truth = copy_sample(sample)
        truth.torso_quat_wxyz[:] = robot.torso_imu()[0]
        reading, arrived = ailments.carry(Reading.NEW, sample)
        assert all(np.array_equal(getattr(sample, part), getattr(truth, part)) or part == "torso_quat_wxyz"
                   for part in NAMES), "the robot's own state was touched"
        seen.append((reading, {part: getattr(arrived, part).copy() for part in NAMES}, truth))
    return seen


def changed(arrived: dict[str, Any], truth: Any) -> set[str]:
    return {part for part in NAMES if not np.array_equal(arrived[part], getattr(truth, part))}


@pytest.mark.parametrize("name", HARMS)
def test_an_ailment_harms_what_it_names_from_its_moment_on(name: str) -> None:
    seen = carry(name)
    assert all(changed(arrived, truth) == set() for _, arrived, truth in seen[:9])
    late = [changed(arrived, truth) for _, arrived, truth in seen[12 if name != "gyro-spike" else 9 :]]
    assert set().union(*late) == HARMS[name]
    assert all(reading is Reading.NEW for reading, _, _ in seen)


def test_one_that_lasts_ends() -> None:
    seen = carry("heat", lasts=0.01)
    assert [bool(changed(arrived, truth)) for _, arrived, truth in seen] == [False] * 9 + [True] * 5 + [False] * 6


@pytest.mark.parametrize(("name", "reading"), [("silence", Reading.NONE), ("crc", Reading.REJECTED)])
def test_readings_that_bring_nothing(name: str, reading: Reading) -> None:
    assert [one for one, _, _ in carry(name)] == [Reading.NEW] * 9 + [reading] * 11


def test_a_share_of_the_states_is_lost() -> None:
    readings = [one for one, _, _ in carry("loss", states=1009, p=0.1)][9:]
    assert 60 < readings.count(Reading.NONE) < 140


def test_reordered_states_are_older_than_the_newest() -> None:
    ticks = [int(arrived["tick"][0]) for reading, arrived, _ in carry("reorder", 30) if reading is Reading.NEW]
    assert sum(after < before for before, after in itertools.pairwise(ticks)) == 2


def test_a_duplicate_is_the_same_to_the_bit() -> None:
    seen = carry("duplicate")
    first = seen[9][1]
    parts = ("q", "imu", "tick")
    assert all(np.array_equal(arrived[part], first[part]) for _, arrived, _ in seen[9:] for part in parts)


def test_jitter_keeps_the_order_and_loses_nothing_for_good() -> None:
    seen = carry("jitter", states=400, s=0.005)
    ticks = [int(arrived["tick"][0]) for reading, arrived, _ in seen if reading is Reading.NEW]
    assert ticks == sorted(ticks)
    assert len(ticks) > 200
    assert max(np.diff(ticks)) <= 10
    assert all(int(truth.tick[0]) - int(arrived["tick"][0]) <= 8 for reading, arrived, truth in seen[20:])


@pytest.mark.parametrize("name", ["joint-nan", "imu-nan"])
@pytest.mark.parametrize("seed", range(5))
def test_what_is_not_finite_is_somewhere(name: str, seed: int) -> None:
    arrived = carry(name, seed=seed)[-1][1]
    values = np.concatenate([arrived["q"], arrived["dq"], arrived["tau"]]) if name == "joint-nan" else arrived["imu"]
    assert np.count_nonzero(~np.isfinite(values)) == 1


@pytest.mark.parametrize(("name", "parts"), [("imu-frozen", ("imu",)), ("motor-frozen", ("q", "dq", "tau"))])
def test_what_is_frozen_repeats_itself(name: str, parts: tuple[str, ...]) -> None:
    seen = carry(name, states=40, motor=3)
    for part in parts:
        values = [arrived[part] if part == "imu" else arrived[part][3] for _, arrived, _ in seen[10:]]
        assert all(np.array_equal(value, values[0]) for value in values)


def test_a_push_moves_the_robot() -> None:
    free = SimulatedRobot(gantry=False)
    ailments = Ailments(free, [Ailment("push", 0.0)])
    for _ in range(100):
        ailments.carry(Reading.NEW, free.step())
    assert np.hypot(*free.base_velocity[:2]) > 0.5


def test_the_same_seed_ails_the_same() -> None:
    first, second, other = (carry("encoder", seed=seed)[-1][1]["q"] for seed in (4, 4, 5))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_things_beside_the_states_are_told() -> None:
    robot = SimulatedRobot()
    ailments = Ailments(robot, [Ailment("link-down", 0.01, {"lasts": 0.01})])
    told = []
    for _ in range(15):
        robot.step()
        told.append(ailments.has("link-down"))
    assert told == [False] * 4 + [True] * 5 + [False] * 6
    assert not ailments.has("second-writer")


def test_slow_topics_hold_what_was_heard_last() -> None:
    robot = SimulatedRobot()
    ailments = Ailments(robot, [Ailment("battery", 0.01, {"rate": 100.0})], holds=True)
    heard = []
    for _ in range(300):
        heard.append(float(ailments.carry(Reading.NEW, robot.step())[1].battery_percent[0]))
    assert set(heard) == {80.0}
    assert ailments.charge_percent < 30


@pytest.mark.parametrize("text", ["", "silence", "silence@", "plague@3", "heat@3,c=hot", "heat@nan", "heat@3,c"])
def test_what_is_no_ailment_is_refused(text: str) -> None:
    with pytest.raises(BridgeError, match="--ailment"):
        parse_ailment(text)


def test_an_ailment_is_typed_as_it_is_shown() -> None:
    assert parse_ailment("heat@3.5,c=95,motor=4") == Ailment("heat", 3.5, {"c": 95.0, "motor": 4.0})
    assert all(parse_ailment(f"{name}@1").name == name for name in AILMENTS)
