"""Planner messages as velocities: in whose axes, how fast, and when nobody speaks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from runtime import rotation
from runtime.planner_command import SPEEDS_M_S, TURN_PER_S, PlannerCommand
from runtime.records import STREAM_DTYPE

MS = 1_000_000
RANGES = ((-1.0, 1.5), (-0.5, 0.5), (-1.0, 1.0))


class Talk:
    """A sender of planner messages and a robot that faces `heading`."""

    def __init__(self, heading: float = 0.0) -> None:
        self.command = PlannerCommand(RANGES, 0.02)
        self.record = np.zeros(1, STREAM_DTYPE)[0]
        self.now, self.heading, self.speaks = 10**12, heading, True
        self.say()

    def say(self, mode: int = 2, movement: Any = (1, 0, 0), facing: Any = (1, 0, 0), speed: float = -1.0) -> Talk:
        self.record["planner_mode"], self.record["movement"], self.record["facing"] = mode, movement, facing
        self.record["speed_m_s"] = speed
        return self

    def after(self, seconds: float = 2.0) -> Any:
        for _ in range(round(seconds * 50)):
            self.now += 20 * MS
            if self.speaks:
                self.record["planner_ns"] = self.now
            command = self.command.tick(self.record, rotation.quat_about_z(self.heading), self.now)
        return command.tolist()


def test_a_mode_without_a_speed_has_its_own_and_a_named_one_counts() -> None:
    for mode, speed in SPEEDS_M_S.items():
        assert Talk().say(mode).after() == pytest.approx([speed, 0, 0], abs=1e-6)
    assert Talk().say(2, (3, 0, 0), speed=0.4).after() == pytest.approx([0.4, 0, 0], abs=1e-6)


def test_directions_are_the_sender_s_whatever_way_the_robot_faced_first() -> None:
    for heading in (0.0, 2.0):
        talk = Talk(heading)
        talk.after(0.1)
        talk.heading += 0.5  # it has turned since
        command = talk.say(2, (0, 1, 0), (math.cos(0.5), math.sin(0.5), 0), 0.4).after()
        assert command == pytest.approx([0.4 * math.sin(0.5), 0.4 * math.cos(0.5), 0], abs=1e-5)


def test_it_turns_the_short_way_to_where_it_shall_face_within_its_range() -> None:
    assert Talk().say(2, (0, 0, 0), (math.cos(0.2), math.sin(0.2), 0)).after()[2] == pytest.approx(0.2 * TURN_PER_S)
    assert Talk().say(2, (0, 0, 0), (-1, -0.1, 0)).after()[2] == pytest.approx(-1.0)


def test_silence_of_a_second_and_modes_that_no_walking_controller_has_stand() -> None:
    talk = Talk().say(2)
    talk.after()
    talk.speaks = False
    assert talk.after(0.9)[0] == pytest.approx(SPEEDS_M_S[2])
    assert talk.after(1.0) == [0, 0, 0]
    for mode in (0, 4, 8, -1):
        assert Talk().say(mode).after() == [0, 0, 0]


def test_the_command_is_ramped_and_within_the_controller_s_ranges() -> None:
    talk = Talk().say(3, (1, 1, 0), speed=9.0)
    assert 0 < talk.after(0.02)[0] <= 0.021
    assert talk.after(5.0)[:2] == pytest.approx([1.5, 0.5])
