"""What a routine may do at most, as a robot that is weaker, slower and softer than the real one.

The gate knows one kind of limit, those of the robot's table. An envelope is that table with smaller numbers, so the
very same gate enforces it, and its log proves it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import Refused
from runtime.robot import Robot, read_robot, robot_path

OBSERVED_RATIO = 1.5
"""Speeds beyond the envelope's by this are a fault; what is asked for stays below it by itself."""
SLACK_RAD = 0.6
"""Readings so far beyond the table's range are believed: an encoder without its zero reads there."""
TARGET_S = 0.016
"""A target older than this damps: a routine makes one every gate period, and whatever stops it is answered in 20 ms."""

LOST_S = 0.016
"""No state for so long damps: eight periods of a robot that speaks 500 times a second."""


@dataclass(frozen=True)
class Envelope:
    """One routine's.

    Attributes:
        velocity_rad_s: of any joint.
        effort_ratio: share of each joint's effort that a drive may be asked for.
        kp_max, kd_max: gains.
        margin_rad: how far beyond the table's range a target may go, for encoders whose zero is not known yet.
        tilt_rad: of the base.
    """

    velocity_rad_s: float
    effort_ratio: float
    kp_max: float = 150.0
    kd_max: float = 10.0
    margin_rad: float = 0.0
    tilt_rad: float = 0.785

    def lines(self) -> list[str]:
        """For a person to read before anything moves."""
        return [
            f"at most {self.velocity_rad_s:g} rad/s, {100 * self.effort_ratio:.0f} % of each joint's torque, "
            f"kp {self.kp_max:g}, kd {self.kd_max:g}",
            f"targets within the joints' range + {self.margin_rad:g} rad",
        ]


def enclosed(robot: str, envelope: Envelope) -> bytes:
    """The file of a robot, by name or path, within an envelope.

    Raises:
        Refused: an unknown robot, or an envelope that is wider than its table.
    """
    data: dict[str, Any] = json.loads(Path(robot_path(robot)).read_bytes())
    before = read_robot(robot, json.dumps(data).encode())
    columns = {name: place for place, name in enumerate(data["joint_columns"])}
    if not 0 < envelope.effort_ratio <= 1 or envelope.velocity_rad_s > min(j.velocity_rad_s for j in before.joints):
        raise Refused("envelope", expected=f"within the limits of {before.name}", found="; ".join(envelope.lines()),
                      what_to_do="ask for less speed or effort")
    for row in data["joints"]:
        row[columns["velocity_rad_s"]] = envelope.velocity_rad_s
        row[columns["effort_n_m"]] = envelope.effort_ratio * row[columns["effort_n_m"]]
    data["gain_limits"] = {"kp": min(before.kp_max, envelope.kp_max), "kd": min(before.kd_max, envelope.kd_max)}
    data["limits"] = {
        **data["limits"], "target_rate_ratio": 1.0, "target_margin_rad": envelope.margin_rad, "spring_ratio": 1.0,
        "overspeed_ratio": OBSERVED_RATIO, "range_slack_rad": SLACK_RAD, "target_far_rad": 10.0,
        "tilt_rad": envelope.tilt_rad, "target_s": TARGET_S, "state_hold_s": LOST_S, "state_damp_s": LOST_S,
        "encoder_jump_ratio": _jump_ratio(before, envelope),
    }
    return json.dumps(data, indent=1).encode()


def _jump_ratio(robot: Robot, envelope: Envelope) -> float:
    """Jumps are measured in the table's speeds: as many rad per second as before."""
    fastest = max(joint.velocity_rad_s for joint in robot.joints)
    return robot.limits.encoder_jump_ratio * fastest / envelope.velocity_rad_s


def enclose(robot: str, envelope: Envelope) -> Robot:
    """The robot that `enclosed` describes."""
    return read_robot(robot, enclosed(robot, envelope))
