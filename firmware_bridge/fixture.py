"""Fixtures of known geometry that hold two limbs' ends to each other: a plate under both feet, a bar in both hands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fixture:
    """One fixture.

    Attributes:
        name: for people and options.
        bodies: the two that it holds.
        position_m: of the second body's origin, in the first one's axes.
        quat_wxyz: of the second body, in the first one's axes, unit.
        position_tolerance_m, angle_tolerance_rad: standard deviations, each axis, of one that was made with care.
    """

    name: str
    bodies: tuple[str, str]
    position_m: tuple[float, float, float]
    quat_wxyz: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    position_tolerance_m: float = 0.0002
    angle_tolerance_rad: float = 0.0005


FIXTURES = {fixture.name: fixture for fixture in (
    Fixture("feet", ("left_ankle_roll_link", "right_ankle_roll_link"), (0.0, -0.23701, 0.0)),
    Fixture("hands", ("left_wrist_yaw_link", "right_wrist_yaw_link"), (0.0, -0.29731, 0.0)),
)}
"""Of a G1: what it holds stands as it does with all joints at zero."""
